# SPDX-License-Identifier: MIT
"""The dgram link: a virtual machine, peers that come and go, vfkit's greeting."""

import os
import socket
import time

import pytest

from netctltest.process import wait_for
from netctltest.vm import DgramVM

GATEWAY_MAC_QUERY = (b"\xff" * 6 + b"\x52\x54\0\x12\x34\x56" + b"\x08\x06" + b"\0\1\x08\0\6\4\0\1"
                     + b"\x52\x54\0\x12\x34\x56" + bytes([10, 0, 2, 15]) + bytes(6) + bytes([10, 0, 2, 2]))


@pytest.fixture(scope="module")
def dgram_vm(shared_daemon):
    it = DgramVM(shared_daemon, "dvm")
    try:
        yield it.boot()
    finally:
        it.close()


def test_vm(dgram_vm):
    assert dgram_vm.lease()["mtu"] == "1500"
    assert "0% packet loss" in dgram_vm.sh("ping -c 3 -W 2 10.0.2.2")


def test_vm_fetches(dgram_vm, web):
    assert "hello" in dgram_vm.sh("curl -sS --max-time 10 http://10.0.2.2:%d/" % web.port)


def test_vm_moves_bytes(dgram_vm):
    from netctltest import xfer
    listener = xfer.Listener(dgram_vm.daemon.directory, "--send", 8 << 20, "--count", 1)
    out = dgram_vm.sh("xfer connect 10.0.2.2 %d --send %d" % (listener.port, 8 << 20), 90)
    xfer.both_same(xfer.parse(out), listener.results())


class Peer:
    """A VMM of a few lines: a bound datagram socket that asks for the gateway's MAC."""

    def __init__(self, daemon, path, name):
        self.path = os.path.join(daemon.directory, name)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.sock.settimeout(5)
        self.to = path

    def ask(self):
        """As a guest does: again and again, until there is an answer."""
        def sent():
            try:
                return self.sock.sendto(GATEWAY_MAC_QUERY, self.to)
            except (PermissionError, ConnectionRefusedError, BlockingIOError):
                return 0
        wait_for(sent, 5, "the link takes a new peer", 0.2)
        while True:
            frame = self.sock.recv(65536)
            if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\2":
                return frame[6:12]

    def close(self):
        self.sock.close()
        os.unlink(self.path)


def test_peers_come_and_go(daemon):
    record = daemon.ask("POST", "/v1/vms", {"name": "d", "link": {"kind": "dgram"}})
    path = record["link"]["path"]
    macs = set()
    for number in range(3):
        peer = Peer(daemon, path, "peer%d" % number)
        macs.add(peer.ask())
        peer.close()
        time.sleep(0.1)
    assert len(macs) == 1


def test_vfkit_greeting(daemon):
    record = daemon.ask("POST", "/v1/vms", {"name": "d", "link": {"kind": "dgram"}})
    peer = Peer(daemon, record["link"]["path"], "vfkit")
    peer.sock.sendto(b"VFKT", record["link"]["path"])
    assert len(peer.ask()) == 6
    peer.close()


def test_attached_socketpair(daemon):
    """As Apple's Virtualization.framework wants it."""
    daemon.ask("POST", "/v1/vms", {"name": "d", "link": {"kind": "attach"}})
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours:
        answer = daemon.attach().ask({"op": "link", "vm": "d", "kind": "dgram"}, [theirs.fileno()])
        theirs.close()
        assert answer["ok"], answer
        wait_for(lambda: daemon.vm("d")["state"] == "running", 5, "VM d runs")
        ours.settimeout(5)
        ours.send(GATEWAY_MAC_QUERY)
        assert ours.recv(65536)[12:14] == b"\x08\x06"
