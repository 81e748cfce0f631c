# SPDX-License-Identifier: MIT
"""UDP flows, ping, and DHCP, with programs that are not ours."""

import os
import socket

import pytest

from netctltest.process import ROOT, SLOW, wait_for

UDP_CLIENT = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.bind(("0.0.0.0", int(sys.argv[1])))
size = int(sys.argv[2])
for port in sys.argv[3:]:
    data = bytes((i * 7 + size) % 251 for i in range(size))
    s.sendto(data, ("10.0.2.2", int(port)))
    back, sender = s.recvfrom(65536)
    assert back == data, "what came is not what went"
    assert sender == ("10.0.2.2", int(port)), sender
print("ok")
"""


def ask(guest, own_port, size, *ports):
    return guest.run(["/usr/bin/python3", "-c", UDP_CLIENT, str(own_port), str(size), *map(str, ports)])


@pytest.mark.parametrize("size", [0, 1, 1472, 8192, 65000])
def test_datagram_and_answer(guest, udp_echo, size):
    assert ask(guest, 0, size, udp_echo.port) == (0, "ok\n")


def test_one_socket_keeps_one_port(guest, udp_echo):
    """As STUN needs: the same host port towards every destination, the guest's where it is free."""
    from netctltest.servers import UdpEcho
    other = UdpEcho()
    try:
        assert ask(guest, 41234, 64, udp_echo.port, other.port, udp_echo.port) == (0, "ok\n")
        senders = {s for e in (udp_echo, other) for s in e.senders}
        assert len(senders) == 1, senders
        assert senders.pop()[1] == 41234
    finally:
        other.close()


def test_datagrams_through_a_forward(daemon, guest):
    """From 1 byte to 8 KiB, both ways."""
    port = guest.forward("udp:0:5005")
    guest.popen(["socat", "-b65536", "UDP4-RECVFROM:5005,fork", "EXEC:cat"])
    wait_for(lambda: guest.run("ss -Hlun sport = :5005")[1].strip(), 5, "socat")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        for size in (1, 512, 8192):
            data = os.urandom(size)
            sock.sendto(data, ("127.0.0.1", port))
            assert sock.recv(65536) == data


def test_port_unreachable_is_relayed(guest):
    """A UDP port where nobody listens: the guest's socket learns of it."""
    from netctltest.servers import free_port
    script = ("import socket,sys\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.settimeout(3)\n"
              "s.connect(('10.0.2.2',%d))\ns.send(b'x')\n"
              "try: s.recv(10)\nexcept ConnectionRefusedError: print('refused')\n"
              % free_port(socket.SOCK_DGRAM))
    assert guest.run(["/usr/bin/python3", "-c", script]) == (0, "refused\n")


def test_ping(guest):
    assert "5 received" in guest.sh("ping -c 5 -i 0.1 -W 2 10.0.2.2")


def test_big_ping(guest):
    assert "3 received" in guest.sh("ping -c 3 -i 0.1 -s 8000 -W 2 10.0.2.2")


def test_dhcp(daemon):
    """busybox's client, in a namespace without an address."""
    from netctltest.namespace import TapGuest
    guest = TapGuest(daemon, address=False, dns={"search": ["corp.internal"]})
    try:
        guest.sh("ip link set eth0 up")
        seen = os.path.join(daemon.directory, "lease")
        script = os.path.join(daemon.directory, "udhcpc")
        with open(script, "w") as f:
            f.write("#!/bin/sh\n[ $1 = bound ] && env >%s\ntrue\n" % seen)
        os.chmod(script, 0o755)
        guest.sh("busybox udhcpc -i eth0 -f -q -n -t 5 -T 1 -O mtu -O search -s " + script)
        with open(seen) as f:
            lease = dict(line.rstrip("\n").split("=", 1) for line in f if "=" in line)
        assert lease["ip"] == "10.0.2.15"
        assert lease["router"] == lease["dns"] == lease["serverid"] == "10.0.2.2"
        assert lease["mtu"] == "65520"
        assert "corp.internal" in lease.get("search", "") + lease.get("domain", "")
        # A worker tells of leases ten times a second at most.
        lease = wait_for(lambda: daemon.vm("guest")["lease"], 2, "the lease in the VM's document")
        assert lease["addr"] == "10.0.2.15"
    finally:
        guest.close()


assert ROOT and SLOW
