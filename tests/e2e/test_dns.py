# SPDX-License-Identifier: MIT
"""The resolver on the gateway's address."""

import os
import re
import socket
import tempfile

import pytest

from netctltest.namespace import TapGuest
from netctltest.process import SLOW
from netctltest.servers import DnsServer, loopback
from netctltest.world import World

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="servers on port 53")


@pytest.fixture
def guest(daemon, dns_server):
    it = TapGuest(daemon, dns={"upstreams": [dns_server.addr]})
    yield it
    it.close()


def dig(guest, *words, timeout=10):
    return guest.sh("dig @10.0.2.2 +time=5 +tries=1 " + " ".join(words), timeout).strip()


def test_forwards(guest):
    assert dig(guest, "+short page.example") == "192.0.2.80"


def test_over_tcp(guest):
    assert dig(guest, "+tcp +short page.example") == "192.0.2.80"


def test_chain(guest):
    assert dig(guest, "+short alias.example").split() == ["page.example.", "192.0.2.80"]


def test_unknown_name(guest):
    assert "status: NXDOMAIN" in dig(guest, "nothing.example")


def test_broken_name(guest):
    assert "status: SERVFAIL" in dig(guest, "broken.example")


def test_truncation_goes_to_tcp(guest, dns_server):
    """An answer too big for UDP comes whole, whichever way the guest asks."""
    text = dig(guest, "+short TXT big.example")
    assert text.count("x") == 8 * 255
    assert ("tcp", "big.example", 16) in [q[:3] for q in dns_server.queries]


class Holding(DnsServer):
    """Answers nobody until it has heard of so many names, then all."""

    def __init__(self, wanted, **options):
        self.wanted = wanted
        super().__init__({}, **options)

    def _serve_udp(self):
        self.udp.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        held = {}
        while not self.over:
            try:
                query, sender = self.udp.recvfrom(4096)
            except socket.timeout:
                continue
            held[query[2:]] = (query, sender)
            if len(held) == self.wanted:
                for query, sender in held.values():
                    self.udp.sendto(query[:2] + b"\x81\x80" + query[4:], sender)


# Asks for a thousand names from one socket, and counts the answers.
THOUSAND = """
import socket, struct, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
s.connect(("10.0.2.2", 53))
for i in range(1000):
    name = b"n%03d" % i
    s.send(struct.pack(">HHHHHH", i, 256, 1, 0, 0, 0) + bytes([4]) + name + b"\\7example\\0\\0\\1\\0\\1")
    if i % 50 == 49:
        time.sleep(0.005)
s.settimeout(5)
got = set()
try:
    while len(got) < 1000:
        answer = s.recv(512)
        if answer[3] & 15 == 0:
            got.add(answer[:2])
except socket.timeout:
    pass
print(len(got))
"""


def test_a_thousand_questions_under_way(daemon):
    upstream = Holding(1000, addr=loopback(3), port=53)
    guest = TapGuest(daemon, dns={"upstreams": [loopback(3)]})
    try:
        assert int(guest.sh("/usr/bin/python3 -c '%s'" % THOUSAND)) == 1000
    finally:
        guest.close()
        upstream.close()


def test_second_upstream_when_the_first_is_silent(daemon, dns_server):
    silent = DnsServer({}, addr=loopback(1), port=53, silent=["page.example"])
    guest = TapGuest(daemon, dns={"upstreams": [loopback(1), dns_server.addr]})
    try:
        assert dig(guest, "+short page.example", timeout=8 * SLOW) == "192.0.2.80"
    finally:
        guest.close()
        silent.close()


def test_no_upstream_is_servfail(daemon):
    guest = TapGuest(daemon, dns={"upstreams": [loopback(2)]})
    try:
        assert "status: SERVFAIL" in dig(guest, "page.example")
    finally:
        guest.close()


def test_local_names(daemon, guest):
    daemon.netctl("hosts", "set", "guest", "db.internal=192.0.2.33")
    assert dig(guest, "+short db.internal") == "192.0.2.33"
    assert dig(guest, "+tcp +short db.internal") == "192.0.2.33"
    daemon.netctl("hosts", "set", "guest", "db.internal=192.0.2.34")
    assert dig(guest, "+short db.internal") == "192.0.2.34"


def test_local_names_of_both_families(daemon, guest):
    """And of only one: the other is no data, which no upstream is asked for."""
    daemon.netctl("hosts", "set", "guest", "db.internal=192.0.2.33,2001:db8::33", "six.internal=2001:db8::6")
    assert dig(guest, "+short AAAA db.internal") == "2001:db8::33"
    assert dig(guest, "+tcp +short AAAA db.internal") == "2001:db8::33"
    assert dig(guest, "+short A db.internal") == "192.0.2.33"
    assert dig(guest, "+short AAAA six.internal") == "2001:db8::6"
    for words in ("A six.internal", "AAAA host.internal"):
        text = dig(guest, words)
        assert "status: NOERROR" in text and "ANSWER: 0" in text, text


def test_addresses_of_local_names(daemon, guest, dns_server):
    """PTR of what hosts says and of the gateway; others' are the upstream's."""
    daemon.netctl("hosts", "set", "guest", "db.internal=192.0.2.33,2001:db8::33", "two.internal=192.0.2.33")
    dns_server.queries.clear()
    assert sorted(dig(guest, "+short -x 192.0.2.33").split()) == ["db.internal.", "two.internal."]
    assert dig(guest, "+tcp +short -x 2001:db8::33") == "db.internal."
    assert dig(guest, "+short -x 10.0.2.2") == "_gateway."
    assert not [query for query in dns_server.queries if query[2] == 12]
    assert "status: NXDOMAIN" in dig(guest, "-x 192.0.2.34")
    assert [query[1] for query in dns_server.queries if query[2] == 12] == ["34.2.0.192.in-addr.arpa"]


@pytest.mark.parametrize("name", ["host.internal", "host.docker.internal", "host.containers.internal",
                                  "gateway.containers.internal"])
def test_names_of_the_gateway(guest, name):
    assert dig(guest, "+short " + name) == "10.0.2.2"


ZONE = """$ORIGIN example.com.
$TTL 300
@    IN SOA ns root 1 3600 600 86400 60
@    IN NS ns
ns   IN A 203.0.113.53
page IN A 192.0.2.80
page IN RRSIG A 8 3 300 20380101000000 20200101000000 4711 example.com. c2lnbmVk
"""


@pytest.fixture(scope="module")
def unbound():
    """The network of a resolver that has an identity and a signed name, at 203.0.113.53."""
    with tempfile.TemporaryDirectory(prefix="ncdw.") as directory:
        world = World(directory, ["203.0.113.53"])
        try:
            world.unbound("203.0.113.53", {"example.com": ZONE}, options="nsid: ascii_upstream-7")
            yield world
        finally:
            world.close()


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_edns_passes_through(unbound, transport):
    """Options and the DO bit reach the upstream, and what it says to them the guest; also of a name that
    was answered, and is kept, without."""
    daemon = unbound.daemon()
    try:
        daemon.start()
        guest = TapGuest(daemon, dns={"upstreams": ["203.0.113.53"]})
        try:
            for _ in range(2):
                text = dig(guest, transport, "page.example.com")
                assert "192.0.2.80" in text and "RRSIG" not in text and "NSID" not in text, text
                text = dig(guest, transport, "+nsid page.example.com")
                assert "192.0.2.80" in text and "upstream-7" in text, text
                text = dig(guest, transport, "+dnssec page.example.com")
                assert re.search(r"RRSIG\s+A 8 3 300 ", text) and "flags: do;" in text, text
            assert "EDNS" not in dig(guest, transport, "+noedns page.example.com")
        finally:
            guest.close()
        daemon.stop()
        assert not daemon.complaints(), daemon.complaints()[:5]
    finally:
        daemon.stop()
        daemon.cleanup()


def test_fresh_ids_and_ports(guest, dns_server):
    dns_server.queries.clear()
    for i in range(8):
        dig(guest, "n%d.example" % i)
    ports = {sender[1] for transport, _, _, sender in dns_server.queries if transport == "udp"}
    assert len(ports) > 4


def test_guest_cannot_reach_an_upstream_itself(daemon, dns_server):
    """The upstream is on the host's loopback: the resolver may ask it, the guest may not."""
    guest = TapGuest(daemon, policy="public", host_access=False,
                     dns={"upstreams": [dns_server.addr]})
    try:
        assert dig(guest, "+short page.example") == "192.0.2.80"
        status, _ = guest.run("dig @%s +time=1 +tries=1 page.example" % dns_server.addr)
        assert status != 0
    finally:
        guest.close()
