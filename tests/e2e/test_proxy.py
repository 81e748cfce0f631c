# SPDX-License-Identifier: MIT
"""Flows that go by real proxies: microsocks, danted and tinyproxy, in a namespace with netctld.

The proxies' hosts(5) has other addresses for names than the guest's resolver: what a proxy was told by
name arrives elsewhere than what it was told by address, and than what went straight there.
"""

import contextlib
import errno
import json
import os
import signal
import socket
import struct
import tempfile
import time

import pytest

from netctltest import tsi
from netctltest.namespace import GATEWAY, TapGuest
from netctltest.process import run, wait_for
from netctltest.servers import A, _name
from netctltest.world import World

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the proxies want to be root")

RESOLVER, OTHER_RESOLVER = "203.0.113.53", "203.0.113.54"
HERE, THERE = "203.0.113.80", "203.0.113.81"  # page.example as the guest and the proxies know it
PROXY, NOBODY = "203.0.113.90", "203.0.113.99"
FAKE = "198.18.0.7"
SECRET = "pass%word:of@ours"
URL_SECRET = "pass%25word%3Aof%40ours"

DANTED = """
logoutput: stderr
internal: %(addr)s port = %(port)d
external: %(addr)s
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {
    from: 0.0.0.0/0 to: 0.0.0.0/0
    log: error connect
}
socks pass {
    from: 0.0.0.0/0 to: 0.0.0.0/0
    command: connect udpassociate udpreply
    log: error connect
}
"""
TINYPROXY = """
Port %(port)d
Listen %(addr)s
Timeout 60
LogLevel Connect
Allow 0.0.0.0/0
ConnectPort 80
ConnectPort 443
%(more)s
"""


class Proxies(World):
    def _proxy(self, argv, name, port):
        """With hosts(5) of its own."""
        hosts = self.file("hosts", "127.0.0.1 localhost\n%s page.example\n%s fake.example\n" % (THERE, THERE))
        script = "mount --bind %s /etc/hosts && exec %s" % (hosts, argv)
        proxy = self.popen(["unshare", "--mount", "sh", "-c", script], name)
        self.listens(PROXY, port)
        return proxy

    def microsocks(self, port=1081, auth=""):
        return self._proxy("microsocks -i %s -p %d %s" % (PROXY, port, auth), "microsocks%d" % port, port)

    def danted(self, port=1080):
        config = self.file("danted.conf", DANTED % {"addr": PROXY, "port": port})
        return self._proxy("danted -f %s -p %s/danted.pid" % (config, self.directory), "danted", port)

    def tinyproxy(self, port=3128, more=""):
        config = self.file("tinyproxy.%d" % port, TINYPROXY % {"addr": PROXY, "port": port, "more": more})
        return self._proxy("tinyproxy -d -c " + config, "tinyproxy%d" % port, port)


@pytest.fixture(scope="module")
def world():
    with tempfile.TemporaryDirectory(prefix="ncpx.") as directory:
        it = Proxies(directory, [RESOLVER, OTHER_RESOLVER, HERE, THERE, PROXY])
        try:
            it.dnsmasq(RESOLVER, "--address=/page.example/" + HERE, "--address=/fake.example/" + FAKE,
                       "--address=/proxy.example/" + PROXY, "--local-ttl=60")
            it.dnsmasq(OTHER_RESOLVER, "--address=/other.example/192.0.2.7", "--local-ttl=60")
            it.nginx()
            it.danted()
            yield it
        finally:
            it.close()


def finish(daemon):
    daemon.stop()
    assert not daemon.complaints(), daemon.complaints()[:5]
    with open(os.path.join(daemon.directory, "netctld.1.log")) as f:
        text = f.read()
    assert SECRET not in text and URL_SECRET not in text


@contextlib.contextmanager
def running(world, **options):
    it = world.daemon(**options)
    try:
        it.start()
        yield it
        finish(it)
    finally:
        it.stop()
        it.cleanup()


@pytest.fixture
def daemon(world):
    with running(world) as it:
        yield it


def url(kind, port, user=""):
    return "%s://%s%s:%d" % (kind, user and user + "@", PROXY, port)


@contextlib.contextmanager
def guest_of(daemon, proxy, **more):
    more.setdefault("dns", {"upstreams": [RESOLVER]})
    it = TapGuest(daemon, proxy=proxy if isinstance(proxy, dict) else {"url": proxy}, **more)
    try:
        yield it
    finally:
        it.close()


def curl(guest, target, timeout=20):
    """(status, what it printed) of curl in the guest, which asks the gateway for names."""
    path = os.path.join(guest.directory, "resolv.conf")
    with open(path, "w") as f:
        f.write("nameserver %s\n" % GATEWAY)
    return guest.run(["unshare", "--mount", "sh", "-c", "mount --bind %s /etc/resolv.conf && exec curl"
                      " -sS --max-time %d %s" % (path, timeout, target)], timeout + 5)


def page(guest, target="http://page.example/"):
    status, text = curl(guest, target)
    assert status == 0, text
    return text.strip()


def connect(guest, addr=HERE, port=80):
    """The name of the error that a connect gives at once; "0" for none."""
    script = ("import errno, socket; s = socket.socket(); s.settimeout(15);"
              " e = s.connect_ex(('%s', %d)); print(errno.errorcode.get(e, e))" % (addr, port))
    start = time.monotonic()
    answer = guest.sh("/usr/bin/python3 -c \"%s\"" % script).strip()
    assert time.monotonic() - start < 8
    return answer


def no_way(guest, addr=HERE):
    """The connection fails at once, with a word that is not the destination's."""
    assert connect(guest, addr) == "EHOSTUNREACH"


def events(daemon, kind):
    text = daemon.api("GET", "/v1/events?follow=false").body.decode()
    return [e for e in map(json.loads, filter(None, text.splitlines())) if e["type"] == kind]


# ---- TCP ----


@pytest.mark.parametrize("kind,port,start", [("socks5", 1080, None), ("socks5", 1081, "microsocks"),
                                             ("http", 3128, "tinyproxy")])
def test_curl_by_a_real_proxy(world, daemon, kind, port, start):
    """By name the proxy is told the name; by address the address."""
    proxy = getattr(world, start)() if start else None
    try:
        with guest_of(daemon, url(kind, port)) as guest:
            assert page(guest) == "page.example at " + THERE
            assert page(guest, "http://%s/" % THERE) == "%s at %s" % (THERE, THERE)
            counters = daemon.counters("guest")
            assert counters["proxy.tunnels"] == 2 and counters["proxy.failed"] == 0
    finally:
        if proxy:
            proxy.stop(2)


def test_much_is_carried_whole(world, daemon):
    """32 MiB each way through the splice behind a proxy."""
    sent, taken, got = (os.path.join(daemon.directory, name) for name in ("sent", "taken", "got"))
    world.sh("head -c 33554432 /dev/urandom >" + sent)
    takes = world.popen(["socat", "-u", "TCP-LISTEN:4041,reuseaddr", "CREATE:" + taken])
    gives = world.popen(["socat", "-u", "OPEN:" + sent, "TCP-LISTEN:4043,reuseaddr"])
    world.listens("0.0.0.0", 4041)
    world.listens("0.0.0.0", 4043)
    try:
        with guest_of(daemon, url("socks5", 1080)) as guest:
            guest.sh("socat -u OPEN:%s TCP:%s:4041" % (sent, HERE), 60)
            guest.sh("socat -u TCP:%s:4043 CREATE:%s" % (HERE, got), 60)
            wait_for(lambda: not takes.running(), 20, "the end of what was taken")
            world.sh("cmp %s %s && cmp %s %s" % (sent, taken, sent, got))
            assert daemon.counters("guest")["proxy.tunnels"] == 2
    finally:
        takes.stop(2)
        gives.stop(2)


@pytest.mark.parametrize("kind,port", [("socks5", 1082), ("http", 3129)])
def test_user_and_password(world, daemon, kind, port):
    """They come from a file; without or with wrong ones the flow fails, and is never direct."""
    if kind == "socks5":
        secret, proxy = URL_SECRET, world.microsocks(port, "-u joe -P '%s'" % SECRET)
    else:
        secret, proxy = "plainword77", world.tinyproxy(port, "BasicAuth joe plainword77")
    path = world.file("proxy.url", "%s://joe:%s@%s:%d\n" % (kind, secret, PROXY, port))
    try:
        with guest_of(daemon, url(kind, port)) as guest:
            no_way(guest)
            daemon.netctl("vm", "set", "guest", "--proxy-from", path)
            assert page(guest) == "page.example at " + THERE
            shown = daemon.vm("guest")["proxy"]
            assert shown["password"] and shown["url"] == url(kind, port, "joe")
            assert secret not in json.dumps(daemon.vm("guest"))
            daemon.api("PUT", "/v1/vms/guest/proxy/password", b"wrong")
            no_way(guest)
            wait_for(lambda: "user and password" in json.dumps(events(daemon, "proxy.failed")), 5,
                     "an event of the wrong password")
    finally:
        proxy.stop(2)


def test_a_password_survives_netctld(world, daemon):
    """Sealed in the store, it is told to a new worker; the store's file does not have it."""
    proxy = world.microsocks(1083, "-u joe -P '%s'" % SECRET)
    try:
        with guest_of(daemon, url("socks5", 1083, "joe")) as guest:
            daemon.api("PUT", "/v1/vms/guest/proxy/password", SECRET.encode())
            assert page(guest) == "page.example at " + THERE
            guest.forward("0:80")  # so that a worker is wanted
            daemon.kill()
            daemon.start()
            os.kill(daemon.worker_pid("guest"), signal.SIGKILL)
            wait_for(lambda: curl(guest, "http://page.example/")[1].strip() == "page.example at " + THERE,
                     15, "the page by a new worker")
            for name in os.listdir(daemon.state):
                with open(os.path.join(daemon.state, name), "rb") as f:
                    assert SECRET.encode() not in f.read(), name
    finally:
        proxy.stop(2)


def test_the_command_line_takes_no_password(daemon):
    text = daemon.fails("vm", "create", "web", "--link", "none", "--proxy", "socks5://joe:hunter22@192.0.2.1")
    assert "--proxy-from" in text and "hunter22" not in text
    answer = daemon.api("POST", "/v1/vms", {"name": "web", "link": {"kind": "none"},
                                            "proxy": {"url": "socks5://joe:hunter22@192.0.2.1"}})
    assert answer.status == 400 and answer.json["field"] == "proxy.url"
    assert b"hunter22" not in answer.body


def test_from_the_environment(world, daemon):
    """--proxy-env, and the VM's document says where its flows go."""
    daemon.env["OUR_PROXY"] = "socks5://joe:%s@proxy.example:1080" % URL_SECRET
    daemon.netctl("vm", "create", "web", "--link", "none", "--proxy-env", "OUR_PROXY",
                  "--no-proxy", "corp.example,10.0.0.0/8", "--proxy-failure", "direct")
    shown = daemon.vm("web")["proxy"]
    assert shown["url"] == "socks5://joe@proxy.example:1080" and shown["password"]
    assert shown["no_proxy"] == ["corp.example", "10.0.0.0/8"] and shown["on_failure"] == "direct"
    daemon.netctl("vm", "set", "web", "--proxy", "none")
    shown = daemon.vm("web")["proxy"]
    assert shown["url"] == "none" and not shown["password"]


# ---- which way ----


def test_no_proxy(daemon):
    """What is on the list goes straight there: by name, and by prefix."""
    proxy = {"url": url("socks5", 1080), "no_proxy": [".example", "203.0.113.81/32"]}
    with guest_of(daemon, proxy) as guest:
        assert page(guest) == "page.example at " + HERE
        assert page(guest, "http://%s/" % THERE) == "%s at %s" % (THERE, THERE)
        assert daemon.counters("guest")["proxy.tunnels"] == 0
        assert page(guest, "http://%s/" % PROXY) == "%s at %s" % (PROXY, PROXY)
        assert daemon.counters("guest")["proxy.tunnels"] == 1


def test_the_host_itself_is_reached_straight(daemon, world):
    with guest_of(daemon, url("socks5", 1080)) as guest:
        assert page(guest, "http://10.0.2.2/") == "10.0.2.2 at 127.0.0.1"
        assert daemon.counters("guest")["proxy.tunnels"] == 0


def test_hot_change(world, daemon):
    """The next flow goes the new way; one that stands goes on."""
    echo = world.echo(4042)
    with guest_of(daemon, "none") as guest:
        out = os.path.join(guest.directory, "echoed")
        stands = guest.popen("(echo one; while [ ! -e %s.go ]; do sleep 0.1; done; echo two)"
                             " | socat -t 5 - TCP:%s:4042 >%s" % (out, HERE, out))
        wait_for(lambda: os.path.exists(out) and open(out).read() == "one\n", 5, "an echo")
        assert page(guest) == "page.example at " + HERE
        daemon.ask("PATCH", "/v1/vms/guest", {"proxy": {"url": url("socks5", 1080)}})
        assert page(guest) == "page.example at " + THERE
        open(out + ".go", "w").close()
        wait_for(lambda: open(out).read() == "one\ntwo\n", 5, "the second echo")
        daemon.ask("PATCH", "/v1/vms/guest", {"proxy": {"url": "none"}})
        assert page(guest) == "page.example at " + HERE
        stands.stop(2)
    echo.stop(2)


def test_the_policy_comes_first(daemon):
    rules = {"default": "allow", "rules": [{"action": "deny", "to": [HERE]}]}
    with guest_of(daemon, url("socks5", 1080), policy=rules) as guest:
        status, text = curl(guest, "http://page.example/")
        assert status == 7, text
        assert daemon.counters("guest")["proxy.tunnels"] == 0


def test_an_address_that_a_rule_admits_is_told_as_that(daemon):
    """Or whoever owns a name could lead the proxy elsewhere than the policy has judged."""
    rules = {"default": "deny", "rules": [{"action": "allow", "to": [HERE]}]}
    with guest_of(daemon, url("socks5", 1080), policy=rules) as guest:
        assert page(guest) == "page.example at " + HERE
        assert daemon.counters("guest")["proxy.tunnels"] == 1


def test_the_proxy_has_a_name(world, daemon):
    """netctld asks the host's resolver for it, and says so where there is none."""
    with guest_of(daemon, "socks5://nowhere.invalid:1080") as guest:
        no_way(guest)
        wait_for(lambda: "does not resolve" in json.dumps(events(daemon, "proxy.failed")), 5, "an event")


# ---- host ----


def test_proxies_of_the_environment(world):
    """As curl(1) has them: by kind of flow, with exceptions."""
    env = {"http_proxy": PROXY + ":3130", "ALL_PROXY": "socks5://joe:%s@%s:1084" % (URL_SECRET, PROXY),
           "no_proxy": "localhost,203.0.113.81"}
    http, socks = world.tinyproxy(3130), world.microsocks(1084, "-u joe -P '%s'" % SECRET)
    try:
        with running(world, env=env) as daemon, guest_of(daemon, "host") as guest:
            assert page(guest) == "page.example at " + THERE
            assert "CONNECT page.example:80" in http.log()
            assert page(guest, "http://%s/" % THERE) == "%s at %s" % (THERE, THERE)
            assert daemon.counters("guest")["proxy.tunnels"] == 1
            status, text = curl(guest, "telnet://page.example:4040 </dev/null")
            assert daemon.counters("guest")["proxy.refused"] == 1, (status, text)
            shown = daemon.vm("guest")["proxy"]["host"]
            assert shown["http"] == "http://%s:3130" % PROXY
            assert shown["https"] == shown["other"] == "socks5://joe:***@%s:1084" % PROXY
            with open("/proc/%d/environ" % daemon.worker_pid("guest"), "rb") as f:
                assert URL_SECRET.encode() not in f.read()
    finally:
        http.stop(2)
        socks.stop(2)


def test_proxies_of_the_file(world):
    """netctld.conf over the environment, and watched."""
    config = world.file("netctld.conf", "all-proxy = %s\n" % url("socks5", 1080))
    env = {"all_proxy": "socks5://%s:1" % PROXY}
    with running(world, env=env, args=["--config", config]) as daemon, guest_of(daemon, "host") as guest:
        assert page(guest) == "page.example at " + THERE
        world.file("netctld.conf", "all-proxy = %s\nno-proxy = page.example\n" % url("socks5", 1080))
        wait_for(lambda: page(guest) == "page.example at " + HERE, 10, "the new file's exception")


# ---- a proxy that fails ----


@pytest.mark.parametrize("kind,port,start", [("socks5", 1085, "microsocks"), ("http", 3133, "tinyproxy")])
def test_a_killed_proxy(world, daemon, kind, port, start):
    """A clear failure, counted and told, and nothing goes straight there."""
    proxy = getattr(world, start)(port)
    with guest_of(daemon, url(kind, port)) as guest:
        assert page(guest) == "page.example at " + THERE
        proxy.kill()
        no_way(guest)
        counters = daemon.counters("guest")
        assert counters["proxy.failed"] == 1 and counters["proxy.fallbacks"] == 0
        event = wait_for(lambda: events(daemon, "proxy.failed"), 5, "an event")[0]
        assert event["vm"] == "guest" and event["data"]["proxy"] == url(kind, port)
        assert event["data"]["reason"] == "it cannot be reached" and event["data"]["count"] == 1
        daemon.ask("PATCH", "/v1/vms/guest", {"proxy": {"on_failure": "direct"}})
        assert page(guest) == "page.example at " + HERE
        assert daemon.counters("guest")["proxy.fallbacks"] == 1


# One end of a connection to port 4045: greets, sends more when FILE.go is there, and tells how it ended.
END = """
import errno, os, socket, sys, time
def tell(text):
    print(text, flush=True)
if sys.argv[2:]:
    sock = socket.create_connection((sys.argv[2], 4045), 10)
else:
    with socket.create_server(("0.0.0.0", 4045)) as server:
        tell("listens")
        sock, _ = server.accept()
sock.settimeout(30)
sock.sendall(b"one")
assert sock.recv(3) == b"one"
tell("stands")
while not os.path.exists(sys.argv[1]):
    time.sleep(0.05)
sock.sendall(b"more")
tell("sent")
try:
    tell("got %r" % sock.recv(9))
except OSError as e:
    tell(errno.errorcode.get(e.errno, e))
"""


@pytest.mark.parametrize("kind,port,start", [("socks5", 1089, "microsocks"), ("http", 3134, "tinyproxy")])
def test_a_proxy_killed_in_mid_flow(world, daemon, kind, port, start):
    """With bytes on their way in both directions: both ends are reset, and the flow is gone."""
    proxy = world.microsocks(port) if start == "microsocks" else world.tinyproxy(port, "ConnectPort 4045")
    go = os.path.join(daemon.directory, "go")
    there = world.popen(["/usr/bin/python3", "-c", END, go], "end%d" % port)
    wait_for(lambda: "listens" in there.log(), 5, "the server")
    with guest_of(daemon, url(kind, port)) as guest:
        here = guest.popen(["/usr/bin/python3", "-c", END, go, THERE], "end")
        for end in (here, there):
            wait_for(lambda: "stands" in end.log(), 10, "a connection")
        before = daemon.counters("guest")
        proxy.signal(signal.SIGSTOP)
        open(go, "w").close()
        for end in (here, there):
            wait_for(lambda: "sent" in end.log(), 5, "more")
        wait_for(lambda: daemon.counters("guest")["tcp.tx.bytes"] == before["tcp.tx.bytes"] + 4, 5, "four bytes")
        proxy.kill()
        for end in (here, there):
            assert end.wait(10) == 0
            assert end.log().split()[-1] == "ECONNRESET", end.log()
        wait_for(lambda: not daemon.ask("GET", "/v1/vms/guest/flows")["items"], 5, "the end of the flow")
        after = daemon.counters("guest")
        assert after["tcp.rst_sent"] == before["tcp.rst_sent"] + 1
        assert after["proxy.tunnels"] == 1 and after["proxy.fallbacks"] == 0
        no_way(guest)
        assert daemon.counters("guest")["proxy.failed"] == before["proxy.failed"] + 1


def test_what_a_proxy_refuses_is_not_its_failure(daemon):
    """Nobody listens there: that is the destination's answer."""
    with guest_of(daemon, url("socks5", 1080)) as guest:
        assert connect(guest, port=4999) == "ECONNREFUSED"
        counters = daemon.counters("guest")
        assert counters["proxy.refused"] == 1 and counters["proxy.failed"] == 0


def test_who_speaks_something_else(world, daemon):
    """A web server is no SOCKS proxy, and SMTP's greeting is no HTTP."""
    smtp = world.popen(["socat", "TCP-LISTEN:2525,fork,reuseaddr", "SYSTEM:echo 220 smtp.example ESMTP"])
    world.listens("0.0.0.0", 2525)
    try:
        for kind, port in (("socks5", 80), ("http", 2525)):
            with guest_of(daemon, url(kind, port)) as guest:
                no_way(guest)
                assert daemon.counters("guest")["proxy.failed"] == 1
            daemon.ask("DELETE", "/v1/vms/guest")
    finally:
        smtp.stop(2)


# ---- UDP ----


def dig(guest, words="+short other.example", resolver=OTHER_RESOLVER):
    return guest.run("dig @%s +time=3 +tries=1 %s" % (resolver, words), 15)


def test_udp_by_socks5(daemon):
    """DNS in an association: the resolver is asked by the proxy's address."""
    with guest_of(daemon, url("socks5", 1080)) as guest:
        status, text = dig(guest)
        assert status == 0 and text.strip() == "192.0.2.7", text
        counters = daemon.counters("guest")
        assert counters["proxy.associations"] == 1
        assert counters["proxy.udp.tx.datagrams"] == counters["proxy.udp.rx.datagrams"] == 1
        assert "192.0.2.7" in dig(guest)[1]


def test_udp_straight_after_a_change(daemon):
    with guest_of(daemon, url("socks5", 1080)) as guest:
        assert dig(guest)[0] == 0
        daemon.ask("PATCH", "/v1/vms/guest", {"proxy": {"no_proxy": [OTHER_RESOLVER]}})
        assert dig(guest)[0] == 0
        assert daemon.counters("guest")["proxy.associations"] == 1


@pytest.mark.parametrize("port,start", [(3131, "tinyproxy"), (1086, "microsocks")])
def test_udp_by_a_proxy_that_has_none(world, daemon, port, start):
    """Refused at once, and never sent straight there; unless that was asked for."""
    proxy = getattr(world, start)(port)
    kind = "http" if start == "tinyproxy" else "socks5"
    try:
        with guest_of(daemon, url(kind, port)) as guest:
            before = time.monotonic()
            status, text = dig(guest)
            assert status != 0 and "host unreachable" in text.lower(), text
            assert time.monotonic() - before < 3
            assert daemon.counters("guest")["proxy.unfit"] >= 1
            daemon.ask("PATCH", "/v1/vms/guest", {"proxy": {"on_failure": "direct"}})
            status, text = dig(guest)
            assert status == 0 and "192.0.2.7" in text, text
            assert daemon.counters("guest")["proxy.fallbacks"] >= 1
    finally:
        proxy.stop(2)


def test_udp_by_a_dead_proxy(daemon):
    with guest_of(daemon, url("socks5", 1087)) as guest:
        status, text = dig(guest)
        assert status != 0 and "host unreachable" in text.lower(), text
        assert daemon.counters("guest")["proxy.failed"] >= 1


def test_ping_has_no_proxy(daemon):
    with guest_of(daemon, url("socks5", 1080)) as guest:
        status, text = guest.run("ping -c 1 -W 2 " + HERE)
        assert status != 0 and "Host Unreachable" in text, text


# ---- fake addresses ----


def test_fake_addresses_are_names_again(daemon):
    """The preset lets them through, and the proxy is told the name."""
    proxy = {"url": url("socks5", 1080), "fake_ip": "on"}
    with guest_of(daemon, proxy, policy="public") as guest:
        assert page(guest, "http://fake.example/") == "fake.example at " + THERE
        no_way(guest, "198.18.0.9")  # which stands for no name that is known
        daemon.ask("PATCH", "/v1/vms/guest", {"proxy": {"fake_ip": "off"}})
        assert curl(guest, "http://fake.example/")[0] == 7


def test_fake_addresses_by_a_rule_of_names(daemon):
    """A name in the policy admits them, though they are private addresses."""
    rules = {"default": "deny", "rules": [{"action": "allow", "to": ["fake.example"]}]}
    with guest_of(daemon, {"url": url("socks5", 1080), "fake_ip": "on"}, policy=rules) as guest:
        assert connect(guest, FAKE) == "ECONNREFUSED"
        assert page(guest, "http://fake.example/") == "fake.example at " + THERE


# ---- names in the policy ----


def test_names_are_enforced_before_the_proxy(daemon):
    """The name that admits the flow is the one that the proxy is told, and the wire must bear it out."""
    rules = {"default": "deny", "rules": [{"action": "allow", "to": ["page.example"]}]}
    with guest_of(daemon, url("socks5", 1080), policy=rules) as guest:
        assert page(guest) == "page.example at " + THERE
        status, text = curl(guest, "-H 'Host: other.example' http://page.example/")
        assert status == 56, text  # reset
        assert connect(guest, THERE) == "ECONNREFUSED"


# ---- TSI ----


@contextlib.contextmanager
def tsi_guest(daemon, proxy):
    record = daemon.ask("POST", "/v1/vms", {
        "name": "guest", "link": {"kind": "none"}, "vsock": {"kind": "stream", "cid": 3}, "policy": "open",
        "dns": {"upstreams": [RESOLVER]}, "proxy": {"url": proxy}})
    guest = tsi.Guest(record["vsock"]["path"])
    try:
        yield guest
    finally:
        guest.close()
        assert not guest.violations, guest.violations[:5]


def dns_query(name):
    return struct.pack(">HHHHHH", 77, 0x0100, 1, 0, 0, 0) + _name(name) + struct.pack(">HH", A, 1)


@pytest.mark.parametrize("kind,port", [("socks5", 1080), ("http", 3132)])
def test_tsi_streams(world, daemon, kind, port):
    proxy = world.tinyproxy(port) if kind == "http" else None
    try:
        with tsi_guest(daemon, url(kind, port)) as guest:
            with guest.udp() as sock:  # so that the address has a name
                sock.connect(GATEWAY, 53)
                sock.send(dns_query("page.example"))
                assert socket.inet_aton(HERE) in sock.recv()
            with guest.connect_tsi(HERE, 80) as sock:
                sock.stream.send(b"GET / HTTP/1.0\r\nHost: page.example\r\n\r\n")
                assert ("page.example at " + THERE).encode() in sock.stream.recv_all()
            assert daemon.counters("guest")["proxy.tunnels"] == 1
    finally:
        if proxy:
            proxy.stop(2)


def test_tsi_without_a_way(daemon):
    with tsi_guest(daemon, url("socks5", 1087)) as guest, guest.tcp() as sock:
        assert sock.connect_result(HERE, 80) == -errno.EHOSTUNREACH
        assert daemon.counters("guest")["proxy.failed"] == 1


def test_tsi_datagrams(daemon):
    """What waits for the association goes when it stands."""
    with tsi_guest(daemon, url("socks5", 1080)) as guest, guest.udp() as sock:
        for _ in range(3):
            sock.sendto(dns_query("other.example"), OTHER_RESOLVER, 53)
        for _ in range(3):
            assert socket.inet_aton("192.0.2.7") in sock.recv()
        counters = daemon.counters("guest")
        assert counters["proxy.associations"] == 1 and counters["proxy.udp.rx.datagrams"] == 3


# ---- netctl run ----


def test_run(world, daemon):
    """The command's flows go by the proxy, and the variable with the password is not the command's."""
    proxy = world.microsocks(1088, "-u joe -P '%s'" % SECRET)
    env = dict(daemon.env, OUR_PROXY="socks5://joe:%s@%s:1088" % (URL_SECRET, PROXY))
    try:
        argv = daemon.netctl_argv("run", "--policy", "open", "--proxy-env", "OUR_PROXY", "--", "sh", "-c",
                                  "curl -sS --max-time 10 http://%s/; env" % THERE)
        status, out, err = run(argv, 30, env=env)
        assert status == 0, err
        assert out.splitlines()[0] == "%s at %s" % (THERE, THERE)
        assert "joe" not in out
        assert "connected to %s:80" % THERE in proxy.log()
    finally:
        proxy.stop(2)
