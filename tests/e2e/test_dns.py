# SPDX-License-Identifier: MIT
"""The resolver on the gateway's address."""

import os

import pytest

from netctltest.namespace import TapGuest
from netctltest.process import SLOW
from netctltest.servers import DnsServer, loopback

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


@pytest.mark.parametrize("name", ["host.internal", "host.docker.internal", "host.containers.internal",
                                  "gateway.containers.internal"])
def test_names_of_the_gateway(guest, name):
    assert dig(guest, "+short " + name) == "10.0.2.2"


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
