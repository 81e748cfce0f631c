# SPDX-License-Identifier: MIT
"""Names in the policy, as far as DNS decides: real resolvers and servers in a namespace, netctld beside them.

What a flow's own bytes must say of the server is test_names_wire.py's.
"""

import errno
import json
import os
import signal
import socket
import struct
import subprocess
import tempfile
import time

import pytest

from netctltest import tsi
from netctltest.namespace import GATEWAY, TapGuest
from netctltest.process import wait_for
from netctltest.servers import A, CNAME, _name
from netctltest.world import World

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="dnsmasq wants to be root")

RESOLVER, OTHER_RESOLVER = "203.0.113.53", "203.0.113.54"
API, CDN, OTHER, PRIVATE = "203.0.113.80", "203.0.113.81", "203.0.113.82", "10.99.1.2"
LIE = "203.0.113.66"  # what the other resolver says of every name
ECHO = 4040

ZONE = """$ORIGIN example.com.
$TTL 300
@       IN SOA ns root 1 3600 600 86400 60
@       IN NS ns
ns      IN A %(RESOLVER)s
api     IN A %(API)s
api     IN HTTPS 1 . alpn=h2 ipv4hint=%(API)s ech=AEX+DQBBHgAgACDz
other   IN A %(OTHER)s
www     IN CNAME cdn.example.net.
short 1 IN A %(API)s
rebind  IN A %(PRIVATE)s
local   IN A 127.0.0.1
gateway IN A %(GATEWAY)s
xn--bcher-kva IN A %(API)s
a.wild  IN A %(API)s
b.a.wild IN A %(API)s
""" % globals()
NET = """$ORIGIN example.net.
$TTL 300
@       IN SOA ns root 1 3600 600 86400 60
@       IN NS ns
ns      IN A %(RESOLVER)s
cdn     IN CNAME edge
edge    IN A %(CDN)s
evil    IN A %(OTHER)s
""" % globals()


@pytest.fixture(scope="module")
def world():
    with tempfile.TemporaryDirectory(prefix="nctw.") as directory:
        it = World(directory, [RESOLVER, OTHER_RESOLVER, API, CDN, OTHER, PRIVATE, LIE])
        try:
            it.unbound(RESOLVER, {"example.com": ZONE, "example.net": NET}, tls=True)
            it.dnsmasq(OTHER_RESOLVER, "--address=/#/" + LIE, "--local-ttl=60")
            it.nginx()
            it.echo(ECHO)
            yield it
        finally:
            it.close()


@pytest.fixture
def daemon(world):
    it = world.daemon()
    try:
        it.start()
        yield it
        it.stop()
        assert not it.complaints(), it.complaints()[:5]
    finally:
        it.stop()
        it.cleanup()


def allow(*names, **more):
    return dict({"action": "allow", "to": list(names), "verify": "dns"}, **more)


def policy(*rules, default="deny"):
    return {"default": default, "rules": list(rules)}


def tap(daemon, rules, **more):
    more.setdefault("dns", {"upstreams": [RESOLVER]})
    return TapGuest(daemon, policy=rules, host_access=False, **more)


@pytest.fixture
def guest(daemon):
    it = tap(daemon, policy(allow("api.example.com")))
    yield it
    it.close()


def dig(guest, words, resolver=GATEWAY):
    return guest.sh("dig @%s +time=3 +tries=1 %s" % (resolver, words), 15).strip()


def reaches(guest, addr, name="api.example.com"):
    """Whether HTTP to the address works, or is refused at once."""
    status, text = guest.run("curl -sS --max-time 10 --resolve %s:80:%s http://%s/" % (name, addr, name))
    if status == 0:
        assert text == "%s at %s\n" % (name, addr), text
        return True
    assert status in (7, 56), (status, text)  # refused, reset
    return False


def put(vm, rules, cut=False):
    vm.daemon.ask("PUT", "/v1/vms/guest/policy" + ("?cut_existing=1" if cut else ""), rules)


def refusals(daemon, **want):
    """The flow.refused events that have these values."""
    text = daemon.api("GET", "/v1/events?since=0").body.decode()
    found = [e["data"] for e in map(json.loads, text.splitlines()) if e["type"] == "flow.refused"]
    return [e for e in found if all(e.get(k) == v for k, v in want.items())]


class Flow:
    """A connection to ECHO: send and recv are its ends."""

    def __init__(self, send, recv, close):
        self.send, self.recv, self.close = send, recv, close

    def echoes(self):
        self.send(b"x\n")
        return self.recv() == b"x\n"


class NicVM:
    """What a guest behind a NIC asks and reaches."""

    def __init__(self, daemon, rules):
        self.daemon = daemon
        self.guest = tap(daemon, rules)

    def lookup(self, name):
        """The names and addresses of an answer, in order."""
        return dig(self.guest, "+short " + name).split()

    def reaches(self, addr, name="api.example.com"):
        return reaches(self.guest, addr, name)

    def flow(self, addr):
        client = subprocess.Popen([*self.guest.nsenter, "socat", "-", "TCP:%s:%d" % (addr, ECHO)], bufsize=0,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def close():
            client.stdin.close()
            client.wait(5)
            client.stdout.close()

        return Flow(client.stdin.write, client.stdout.readline, close)

    def close(self):
        self.guest.close()


class TsiVM:
    """The same of one that has TSI instead."""

    def __init__(self, daemon, rules):
        record = daemon.ask("POST", "/v1/vms", {
            "name": "guest", "link": {"kind": "none"}, "vsock": {"kind": "stream", "cid": 3},
            "dns": {"upstreams": [RESOLVER]}, "policy": rules})
        self.daemon = daemon
        self.guest = tsi.Guest(record["vsock"]["path"])

    def ask(self, resolver, name, tcp=False):
        """(rcode, names and addresses) of an A query."""
        query = struct.pack(">HHHHHH", 77, 0x0100, 1, 0, 0, 0) + _name(name) + struct.pack(">HH", A, 1)
        if tcp:
            sock = self.guest.connect_tsi(resolver, 53)
            sock.stream.send(struct.pack(">H", len(query)) + query)
            size, = struct.unpack(">H", sock.stream.recv_exact(2))
            answer = sock.stream.recv_exact(size)
        else:
            sock = self.guest.udp()
            sock.connect(resolver, 53)
            sock.send(query)
            answer = sock.recv()
        sock.close()
        ident, flags, _, count, _, _ = struct.unpack(">HHHHHH", answer[:12])
        assert ident == 77
        found, at = [], len(query)
        for _ in range(count):
            _, at = name_at(answer, at)
            kind, _, _, size = struct.unpack(">HHIH", answer[at:at + 10])
            at += 10
            if kind == A:
                found.append(socket.inet_ntoa(answer[at:at + 4]))
            elif kind == CNAME:
                found.append(name_at(answer, at)[0])
            at += size
        return flags & 15, found

    def lookup(self, name):
        return self.ask(GATEWAY, name)[1]

    def connects(self, addr, port=80):
        with self.guest.tcp() as sock:
            return sock.connect_result(addr, port)

    def reaches(self, addr, name=None):
        """Whether a connection is made, or refused at once."""
        result = self.connects(addr)
        assert result in (0, -errno.EACCES), result
        return result == 0

    def flow(self, addr):
        sock = self.guest.connect_tsi(addr, ECHO)
        return Flow(sock.stream.send, lambda: sock.stream.recv_exact(2), sock.close)

    def close(self):
        self.guest.close()


def name_at(message, at):
    """(a name as dig prints it, where it ends)."""
    text, end = "", None
    while message[at]:
        if message[at] >= 192:
            end = end or at + 2
            at = struct.unpack(">H", message[at:at + 2])[0] & 0x3fff
        else:
            text += message[at + 1:at + 1 + message[at]].decode() + "."
            at += message[at] + 1
    return text, end or at + 1


@pytest.fixture(params=[NicVM, TsiVM])
def vm_of(request, daemon):
    """Makes a VM of either kind with some rules."""
    made = []

    def make(rules):
        made.append(request.param(daemon, rules))
        return made[-1]

    yield make
    for vm in made:
        vm.close()


# ---- which addresses ----

def test_by_name_yes_by_its_bare_address_before_no(guest):
    assert not reaches(guest, API)
    assert dig(guest, "+short api.example.com") == API
    assert reaches(guest, API)
    assert not reaches(guest, OTHER, "other.example.com")
    event = wait_for(lambda: refusals(guest.daemon, to=API), 5, "the first refusal")[0]
    assert (event["proto"], event["port"], event["by"]) == ("tcp", 80, "default")


def test_other_names_do_not_exist_and_the_operator_hears_of_it(guest):
    assert "status: NXDOMAIN" in dig(guest, "other.example.com")
    assert "status: NXDOMAIN" in dig(guest, "+tcp secret-data.evil.example.net TXT")
    assert not reaches(guest, OTHER, "other.example.com")
    event = wait_for(lambda: refusals(guest.daemon, name="other.example.com"), 5, "the refusal")[0]
    assert (event["to"], event["port"], event["by"]) == (GATEWAY, 53, "default")
    assert wait_for(lambda: refusals(guest.daemon, name="secret-data.evil.example.net"), 5, "TCP's")
    assert guest.daemon.counters("guest")["dns.unlisted"] == 2


def test_names_that_no_rule_admits_may_be_answered(guest):
    guest.daemon.ask("PATCH", "/v1/vms/guest", {"dns": {"upstreams": [RESOLVER], "unlisted": "answer"}})
    assert dig(guest, "+short other.example.com") == OTHER
    assert not reaches(guest, OTHER, "other.example.com")
    event = wait_for(lambda: refusals(guest.daemon, to=OTHER), 5, "the refusal")[0]
    assert event["name"] == "other.example.com"
    guest.daemon.ask("PATCH", "/v1/vms/guest", {"dns": {"upstreams": [RESOLVER], "unlisted": None}})
    assert "status: NXDOMAIN" in dig(guest, "other.example.com")


def test_chain_of_cnames(vm_of):
    vm = vm_of(policy(allow("www.example.com")))
    assert not vm.reaches(CDN, "www.example.com")
    assert vm.lookup("www.example.com") == ["cdn.example.net.", "edge.example.net.", CDN]
    assert vm.reaches(CDN, "www.example.com")
    put(vm, policy(allow("edge.example.net")))  # what it is in the end counts as well
    assert vm.reaches(CDN, "www.example.com")
    put(vm, policy(allow("elsewhere.example.net")))
    assert not vm.reaches(CDN, "www.example.com")


def test_case_dots_punycode_and_wildcards_are_as_in_certificates(daemon):
    guest = tap(daemon, policy(allow("API.Example.COM."), allow("*.wild.example.com"),
                               allow("xn--bcher-kva.example.com")))
    try:
        for name in ("api.EXAMPLE.com", "Api.example.com.", "XN--BCHER-KVA.example.com", "a.Wild.example.com"):
            assert dig(guest, "+short " + name) == API, name
        for name in ("b.a.wild.example.com", "wild.example.com", "x.api.example.com", "example.com"):
            assert "status: NXDOMAIN" in dig(guest, name), name
        assert reaches(guest, API)
    finally:
        guest.close()
    answer = daemon.api("PUT", "/v1/vms/guest/policy", policy(allow("b\u00fccher.example.com")))
    assert answer.status == 400 and "rules[0].to[0]" in str(answer.json)


def test_rebinding_is_refused_unless_a_prefix_admits_it(vm_of, daemon):
    rules = policy(allow("*.example.com"))
    vm = vm_of(rules)
    for name, addr in (("rebind", PRIVATE), ("local", "127.0.0.1"), ("gateway", GATEWAY)):
        assert vm.lookup("%s.example.com" % name) == [addr]
    assert not vm.reaches(PRIVATE, "rebind.example.com")
    assert not vm.reaches(GATEWAY, "gateway.example.com")
    event = wait_for(lambda: refusals(daemon, to=PRIVATE), 5, "the refusal")[0]
    assert (event["name"], event["by"]) == ("rebind.example.com", "default")
    check = daemon.netctl("policy", "check", "guest", PRIVATE + ":80")
    assert check["verdict"] == "deny"
    put(vm, policy(*rules["rules"], {"action": "allow", "to": ["10.99.0.0/16"]}))
    assert vm.reaches(PRIVATE, "rebind.example.com")
    put(vm, rules)
    assert not vm.reaches(PRIVATE, "rebind.example.com")
    # The operator's own word is no rebinding.
    daemon.netctl("hosts", "set", "guest", "db.example.com=" + PRIVATE)
    assert vm.lookup("db.example.com") == [PRIVATE]
    assert vm.reaches(PRIVATE, "db.example.com")


def test_the_hosts_loopback_has_no_name_for_tsi(daemon, tsi_vm):
    """A guest's 127.0.0.1 is the host's by TSI, so rebinding could lead there, where a server listens."""
    put(tsi_vm, policy(allow("*.example.com")))
    assert tsi_vm.lookup("local.example.com") == ["127.0.0.1"]
    assert tsi_vm.connects("127.0.0.1") == -errno.ECONNREFUSED
    assert wait_for(lambda: refusals(daemon, to="127.0.0.1", name="local.example.com"), 5, "the refusal")


def test_names_of_the_hosts_own_addresses_admit_nothing(world, guest):
    """Whoever owns the name could point it at the host. What interfaces have is watched."""
    assert dig(guest, "+short api.example.com") == API
    assert reaches(guest, API)
    world.sh("ip addr add %s/32 dev lo" % API)
    try:
        wait_for(lambda: not reaches(guest, API), 10, "a refusal")
        event = wait_for(lambda: refusals(guest.daemon, to=API), 5, "the refusal")[0]
        assert (event["name"], event["by"]) == ("api.example.com", "default")
        assert guest.daemon.netctl("policy", "check", "guest", API + ":80")["verdict"] == "deny"
    finally:
        world.sh("ip addr del %s/32 dev lo; ip route replace local %s/32 dev lo" % (API, API))
    wait_for(lambda: reaches(guest, API), 10, "the way back")


# ---- for how long ----

def test_a_flow_outlives_the_ttl_that_admitted_it(vm_of):
    """The answer's TTL is 1 s, which counts as 30."""
    vm = vm_of(policy(allow("short.example.com")))
    assert vm.lookup("short.example.com") == [API]
    began = time.monotonic()
    flow = vm.flow(API)
    assert flow.echoes()
    time.sleep(max(0, 27 - (time.monotonic() - began)))
    assert time.monotonic() - began > 29 or vm.reaches(API, "short.example.com")
    time.sleep(max(0, 31 - (time.monotonic() - began)))
    assert not vm.reaches(API, "short.example.com")
    assert flow.echoes()
    put(vm, policy(allow("short.example.com"), allow("api.example.com")), cut=True)
    assert flow.echoes()
    assert vm.lookup("short.example.com") == [API]
    assert vm.reaches(API, "short.example.com")
    assert flow.echoes()
    flow.close()


def test_the_name_log_outlives_its_worker(guest):
    assert dig(guest, "+short api.example.com") == API
    time.sleep(1.5)  # names are told once a second
    old = guest.daemon.vm("guest")["worker"]["pid"]
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: (guest.daemon.vm("guest")["worker"] or {"pid": old})["pid"] != old, 10, "another worker")
    wait_for(lambda: reaches(guest, API), 5, "the flow")
    assert not reaches(guest, CDN)


# ---- which resolver ----

def test_whatever_resolver_is_asked_ours_answers(world, guest):
    lying = [p for p in world.processes if p.name == "world.dnsmasq"][0]
    assert world.sh("dig @%s +short api.example.com" % OTHER_RESOLVER).strip() == LIE
    heard = lying.log().count("query[")
    assert heard > 0
    # dig takes an answer from the address and port that it asked only.
    assert dig(guest, "+short api.example.com", OTHER_RESOLVER) == API
    assert dig(guest, "+tcp +short api.example.com", OTHER_RESOLVER) == API
    assert dig(guest, "+short api.example.com", "198.51.100.99") == API  # where nobody is
    assert "NXDOMAIN" in dig(guest, "+tcp other.example.com", OTHER_RESOLVER)
    assert lying.log().count("query[") == heard
    assert reaches(guest, API)
    event = wait_for(lambda: refusals(guest.daemon, name="other.example.com"), 5, "the refusal")[0]
    assert event["proto"] == "tcp"


def test_without_names_a_guests_resolver_is_its_own(daemon):
    guest = tap(daemon, policy({"action": "allow", "to": [OTHER_RESOLVER]}))
    try:
        assert dig(guest, "+short api.example.com", OTHER_RESOLVER) == LIE
        put(guest, policy({"action": "allow", "to": [OTHER_RESOLVER]}, allow("api.example.com")))
        assert dig(guest, "+short api.example.com", OTHER_RESOLVER) == API
        assert dig(guest, "+tcp +short api.example.com", OTHER_RESOLVER) == API
    finally:
        guest.close()


def test_dns_over_tls_is_refused(world, guest):
    words = "dig @%s +tls +time=3 +tries=1 +short api.example.com"
    assert world.sh(words % RESOLVER).strip() == API
    dig(guest, "+short api.example.com")
    status, text = guest.run(words % RESOLVER)
    assert status != 0 and API not in text, text
    assert wait_for(lambda: refusals(guest.daemon, to=RESOLVER, port=853), 5, "the refusal")


def test_keys_for_encrypted_hellos_are_taken_out(guest, world):
    assert "ech=" in world.sh("dig @%s +short api.example.com HTTPS" % RESOLVER)
    text = dig(guest, "+short api.example.com HTTPS")
    assert "ech" not in text and 'alpn="h2"' in text and "ipv4hint=" + API in text, text
    assert reaches(guest, API)  # the hint is an address of that name
    put(guest, policy(default="allow"))
    assert "ech=" in dig(guest, "+short api.example.com HTTPS")


def test_asked_again_it_is_not_asked_of_others(guest):
    before = guest.daemon.counters("guest")["dns.forwarded"]
    for _ in range(3):
        assert dig(guest, "+short api.example.com") == API
        assert "NOERROR" in dig(guest, "api.example.com AAAA") # nothing is an answer, too
    counters = guest.daemon.counters("guest")
    assert counters["dns.forwarded"] - before == 2
    assert counters["dns.answered_from_cache"] == 4


# ---- TSI ----

@pytest.fixture
def tsi_vm(daemon):
    it = TsiVM(daemon, policy(allow("api.example.com")))
    yield it
    it.close()


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("resolver", [GATEWAY, OTHER_RESOLVER, "127.0.0.53"])
def test_tsi(tsi_vm, resolver, tcp):
    """By name yes, by its bare address before no, whatever resolver is asked."""
    assert tsi_vm.connects(API) == -13
    assert tsi_vm.ask(resolver, "other.example.com", tcp) == (3, [])
    assert tsi_vm.ask(resolver, "api.example.com", tcp) == (0, [API])
    assert tsi_vm.connects(API) == 0
    assert tsi_vm.connects(OTHER) == -13
    assert tsi_vm.connects(RESOLVER, 853) == -13
