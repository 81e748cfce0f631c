# SPDX-License-Identifier: MIT
"""A guest that sends any packet: it is answered by RST, counted, and the worker goes on."""

import os
import random
import socket
import struct
import threading
import time

import pytest

from netctltest.process import Process, SANITIZED, SLOW, tool, wait_for
from netctltest.vsock import (BOTH, CREDIT_REQUEST, CREDIT_UPDATE, DGRAM, HOST, NONE, REQUEST,
                              RESPONSE, RST, RW, SEND, SEQPACKET, SHUTDOWN, STREAM, Link, Packet)

MiB = 1024 * 1024
CID = 3
ECHO = 5000
CREDIT = 262144
EVERY_OP = range(1, 8)


class Hostile:
    """A VM whose guest has an echo at port 5000 of the host's, and a link of its own to it."""

    def __init__(self, daemon, name="hostile"):
        self.daemon, self.name = daemon, name
        record = daemon.ask("POST", "/v1/vms", {"name": name, "link": {"kind": "none"}, "policy": "open",
                                                "vsock": {"kind": "stream", "cid": CID}})
        self.path = record["vsock"]["path"]
        self.echo = Process("echo", [tool("flows"), "serve", "127.0.0.1", "0"], daemon.directory)
        port = wait_for(lambda: self.echo.log().startswith("port ") and self.echo.log().split()[1], 5, "echo")
        daemon.netctl("vsock", "map", name, ECHO, "tcp:127.0.0.1:" + port)
        self.worker = daemon.worker_pid(name)
        self.link = None
        self.port = 1000

    def counters(self):
        return self.daemon.counters(self.name)

    def connect(self):
        wait_for(lambda: not self.daemon.vm(self.name)["vsock"]["connected"], 5, "no VMM is connected")
        self.link = Link(self.path)
        assert self.link.cid == CID
        return self.link

    def packet(self, op, port=None, to=ECHO, **fields):
        return Packet(src_port=port or self.port, dst_port=to, op=op, **fields)

    def open(self, **fields):
        """A connection to the echo. Its guest's port is then self.port."""
        self.port += 1
        self.link.send(self.packet(REQUEST, **fields))
        answer = self.link.recv_op(RESPONSE, RST)
        while answer.dst_port != self.port:  # to what was sent before
            answer = self.link.recv_op(RESPONSE, RST)
        assert answer.op == RESPONSE
        return answer

    def gets_rst(self, *packets, port=None):
        """They are answered by RST for the port."""
        self.link.send(*packets)
        while True:
            answer = self.link.recv()
            assert answer is not None, "the link has ended"
            if answer.op == RST and answer.dst_port == (port or self.port):
                return answer

    def works(self):
        """A new connection echoes, in the same worker."""
        self.open()
        data = os.urandom(1000)
        self.link.send(self.packet(RW, payload=data))
        got = b""
        while len(got) < len(data):
            got += self.link.recv_op(RW).payload
        assert got == data
        self.link.send(self.packet(SHUTDOWN, flags=BOTH, fwd_cnt=1000))
        while self.link.recv_op(RST).dst_port != self.port:
            pass
        assert self.daemon.worker_pid(self.name) == self.worker
        return True


@pytest.fixture(scope="module")
def shared_hostile(shared_daemon):
    it = Hostile(shared_daemon)
    yield it
    it.echo.stop()


@pytest.fixture
def it(shared_hostile):
    shared_hostile.connect()
    yield shared_hostile
    try:
        assert shared_hostile.works()
    finally:
        shared_hostile.link.close()


def counted(it, name, packets, times=1):
    """Sends them and waits until they are counted."""
    before = it.counters()[name]
    it.link.send(*packets)
    wait_for(lambda: it.counters()[name] >= before + times, 3, "%s has grown" % name)


# --- on no connection ----------------------------------------------------------------------------

@pytest.mark.parametrize("op", [op for op in range(2, 20) if op != RST] + [0xffff])
def test_on_no_connection(it, op):
    before = it.counters()["vsock.bad_packets"]
    it.gets_rst(it.packet(op, port=77), port=77)
    assert it.counters()["vsock.bad_packets"] == before + 1


def test_rst_on_no_connection_is_not_answered(it):
    it.link.send(it.packet(RST, port=77))
    it.open()


def test_data_on_no_connection(it):
    it.gets_rst(it.packet(RW, port=77, payload=b"x" * 65536), port=77)


@pytest.mark.parametrize("port", [0, 1, 619, 1025, 0xffffffff])
def test_request_where_nobody_listens(it, port):
    before = it.counters()["vsock.refused"]
    it.gets_rst(it.packet(REQUEST, port=78, to=port), port=78)
    assert it.counters()["vsock.refused"] == before + 1


@pytest.mark.parametrize("kind", [0, SEQPACKET, 4, 0xffff])
@pytest.mark.parametrize("op", [REQUEST, RW])
def test_other_type(it, kind, op):
    before = it.counters()["vsock.bad_packets"]
    answer = it.gets_rst(it.packet(op, port=79, type=kind), port=79)
    assert answer.type == kind
    assert it.counters()["vsock.bad_packets"] == before + 1


@pytest.mark.parametrize("op", [REQUEST, RESPONSE, RST, SHUTDOWN, CREDIT_UPDATE, CREDIT_REQUEST, 99])
def test_datagram_of_another_operation(it, op):
    counted(it, "vsock.bad_packets", [it.packet(op, port=80, type=DGRAM)])


# --- addresses -----------------------------------------------------------------------------------

@pytest.mark.parametrize("cid", [0, 1, 2, 4, 0xffffffff, 1 << 32 | CID, (1 << 64) - 1])
@pytest.mark.parametrize("op", [REQUEST, RW])
def test_cid_not_its_own(it, cid, op):
    """It is not answered: whoever that is, nobody is there but the guest."""
    counted(it, "vsock.bad_packets", [it.packet(op, port=81, src_cid=cid)])
    it.open()


@pytest.mark.parametrize("cid", [0, 1, 3, 4, 0xffffffff, 1 << 32 | HOST, (1 << 64) - 1])
def test_to_another_than_the_host(it, cid):
    answer = it.gets_rst(it.packet(REQUEST, port=82, dst_cid=cid), port=82)
    assert answer.src_cid == cid


def test_cid_of_another_on_a_connection(it):
    """A stranger ends nobody's connection."""
    it.open()
    for op in (RST, SHUTDOWN, RW):
        counted(it, "vsock.bad_packets", [it.packet(op, src_cid=9, flags=BOTH)])
    it.link.send(it.packet(RW, payload=b"alive"))
    assert it.link.recv_op(RW).payload == b"alive"


# --- on a connection -----------------------------------------------------------------------------

def test_request_twice(it):
    before = it.counters()["vsock.bad_packets"]
    it.open()
    it.gets_rst(it.packet(REQUEST))
    assert it.counters()["vsock.bad_packets"] == before + 1


def test_response_to_nothing_asked(it):
    it.open()
    it.gets_rst(it.packet(RESPONSE))


@pytest.mark.parametrize("op", [8, 9, 255, 0x8005, 0xffff])
def test_unknown_operation(it, op):
    it.open()
    it.gets_rst(it.packet(op))


@pytest.mark.parametrize("op", [op for op in EVERY_OP if op not in (RW, RST)])
def test_payload_where_there_is_none(it, op):
    it.open()
    it.gets_rst(it.packet(op, payload=b"x" * 100))


def test_shutdown_twice(it):
    """Of one direction, again and again: it has ended, that is all."""
    it.open()
    it.link.send(*[it.packet(SHUTDOWN, flags=SEND)] * 5)
    assert it.link.recv_op(SHUTDOWN).flags & SEND
    it.link.send(it.packet(SHUTDOWN, flags=BOTH))
    it.gets_rst(it.packet(SHUTDOWN, flags=BOTH))


def test_shutdown_of_both_twice(it):
    it.open()
    it.gets_rst(it.packet(SHUTDOWN, flags=BOTH), it.packet(SHUTDOWN, flags=BOTH))


@pytest.mark.parametrize("flags", [0, 4, 0xfffffffc])
def test_shutdown_of_nothing(it, flags):
    """Ends nothing, or the connection: never half of it."""
    it.open()
    it.link.send(it.packet(SHUTDOWN, flags=flags), it.packet(RW, payload=b"x"))
    answer = it.link.recv_op(RW, RST)
    assert answer.dst_port == it.port
    if answer.op == RW:
        it.gets_rst(it.packet(SHUTDOWN, flags=BOTH))


def test_data_after_its_end(it):
    it.open()
    it.gets_rst(it.packet(SHUTDOWN, flags=SEND), it.packet(RW, payload=b"too late"))


def test_after_rst(it):
    it.open()
    it.link.send(it.packet(RST))
    it.gets_rst(it.packet(RW, payload=b"x"))


# --- credit --------------------------------------------------------------------------------------

@pytest.fixture
def stuck(it):
    """A connection whose destination never reads. Yields the guest's port of it."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    server.bind(("127.0.0.1", 0))
    server.listen(5)
    it.daemon.netctl("vsock", "map", it.name, 5001, "tcp:127.0.0.1:%d" % server.getsockname()[1])
    it.port += 1
    it.link.send(it.packet(REQUEST, to=5001))
    it.link.recv_op(RESPONSE)
    client, _ = server.accept()
    yield it.port
    client.close()
    server.close()
    it.daemon.netctl("vsock", "unmap", it.name, 5001)


def test_credit_overrun(it, stuck):
    before = it.counters()["vsock.credit_overruns"]
    chunk = it.packet(RW, port=stuck, to=5001, payload=b"x" * 65536)
    for _ in range(400):
        it.link.send(chunk)
        if it.counters()["vsock.credit_overruns"] > before:
            break
    while it.link.recv_op(RST).dst_port != stuck:
        pass
    assert it.counters()["vsock.credit_overruns"] == before + 1


def test_credit_that_is_kept_is_kept(it, stuck):
    """As far as it was given, nothing is reset: what the destination does not take waits."""
    sent = taken = 0
    while sent - taken < CREDIT:
        size = min(65536, CREDIT - (sent - taken))
        it.link.send(it.packet(RW, port=stuck, to=5001, payload=b"x" * size),
                     it.packet(CREDIT_REQUEST, port=stuck, to=5001))
        sent += size
        # An update of its own accord may come before the one that was asked for.
        time.sleep(0.02)
        answer = it.link.recv_op(CREDIT_UPDATE, RST)
        assert answer.op == CREDIT_UPDATE and answer.buf_alloc == CREDIT
        taken = answer.fwd_cnt
    it.link.send(it.packet(CREDIT_REQUEST, port=stuck, to=5001))
    assert it.link.recv_op(CREDIT_UPDATE, RST).op == CREDIT_UPDATE
    it.link.send(it.packet(RST, port=stuck, to=5001))


@pytest.mark.parametrize("alloc, fwd", [(0, 0), (0, 1 << 31), (10, 0), (0xffffffff, 0xffffffff), (100, 1 << 30)])
def test_credit_of_no_sense(it, alloc, fwd):
    """Claims of a guest about itself harm nobody but itself: never more than it said on the way."""
    it.open(buf_alloc=alloc, fwd_cnt=fwd)
    it.link.send(*[it.packet(RW, payload=b"y" * 1000, buf_alloc=alloc, fwd_cnt=fwd) for _ in range(20)])
    if alloc == 10 and fwd == 0:
        got = 0
        while got < 10:
            got += it.link.recv_op(RW).len
        assert got == 10
    time.sleep(0.05)
    it.link.send(it.packet(RST))


def test_empty_data(it):
    it.open()
    it.link.send(*[it.packet(RW)] * 100)
    it.link.send(it.packet(RW, payload=b"x"))
    answer = it.link.recv_op(RW, RST)
    assert answer.op == RST or answer.payload == b"x"


# --- the framing of the stream -------------------------------------------------------------------

@pytest.mark.parametrize("length", [65537, 100000, 1 << 20])
def test_longer_than_a_packet_can_be(it, length):
    """Skipped as far as it says; the connection that it names is ended."""
    it.open()
    it.link.sock.sendall(it.packet(RW, length=length).pack() + b"z" * length)
    assert it.link.recv_op(RST).dst_port == it.port


def test_length_of_four_gigabytes(shared_hostile):
    """The rest never comes: nothing is allocated for it, and the next VMM is served."""
    link = shared_hostile.connect()
    link.sock.sendall(shared_hostile.packet(RW, length=0xffffffff).pack())
    link.recv_op(RST)
    link.close()
    shared_hostile.connect()
    assert shared_hostile.works()
    shared_hostile.link.close()


@pytest.mark.parametrize("size", [1, 43, 44, 100])
def test_link_that_ends_within_a_packet(shared_hostile, size):
    link = shared_hostile.connect()
    link.sock.sendall(shared_hostile.packet(RW, payload=b"x" * 1000).pack()[:size])
    link.close()
    shared_hostile.connect()
    assert shared_hostile.works()
    shared_hostile.link.close()


def test_operation_of_the_transports_own(it):
    """Is the host's to send: skipped."""
    before = it.counters()["vsock.bad_packets"]
    it.link.send(Packet(op=NONE, payload=struct.pack("<Q", 99)), Packet(op=NONE, payload=b"\0" * 4),
                 Packet(op=NONE))
    it.open()
    assert it.counters()["vsock.bad_packets"] == before + 3


def test_byte_by_byte(it):
    it.port += 1
    for byte in it.packet(REQUEST).pack():
        it.link.sock.sendall(bytes([byte]))
    assert it.link.recv_op(RESPONSE, RST).op == RESPONSE


# --- many ----------------------------------------------------------------------------------------

def test_requests_beyond_the_bound(it):
    """Ten thousand connections; the rest is refused, none of the old ends."""
    count = 600 if SANITIZED else 10200
    it.link.sock.settimeout(60)
    opened, refused = 0, 0
    first = it.port + 1
    for start in range(0, count, 100):
        it.link.send(*[it.packet(REQUEST, port=first + start + i) for i in range(100)])
        for _ in range(100):
            answer = it.link.recv_op(RESPONSE, RST)
            opened, refused = opened + (answer.op == RESPONSE), refused + (answer.op == RST)
    it.port = first + count
    assert opened + refused == count
    assert opened == min(count, 10000)
    it.link.send(it.packet(RW, port=first, payload=b"first"))
    assert it.link.recv_op(RW, RST).payload == b"first"
    it.link.close()
    it.connect()


def test_any_packets(it):
    """A hundred thousand of them, from a seed."""
    dice = random.Random(42)
    count = 10000 if SANITIZED else 100000
    stop = []

    def drain():
        try:
            while not stop and it.link.recv() is not None:
                pass
        except (OSError, ValueError):
            pass
    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    for _ in range(count // 100):
        it.link.send(*[Packet(
            src_cid=dice.choice((CID, CID, CID, CID, 2, 9)), dst_cid=dice.choice((HOST, HOST, HOST, HOST, 3)),
            src_port=dice.randrange(2000, 2010), dst_port=dice.choice((ECHO, ECHO, 620, 1026, 1024, 1025, 1029, 7)),
            type=dice.choice((STREAM, STREAM, STREAM, STREAM, DGRAM, SEQPACKET)),
            op=dice.choice((REQUEST, RESPONSE, RST, SHUTDOWN, RW, RW, RW, CREDIT_UPDATE, CREDIT_REQUEST, 0, 99)),
            flags=dice.randrange(5), buf_alloc=dice.choice((0, 1, CREDIT, 0xffffffff)),
            fwd_cnt=dice.choice((0, 0, 1, 0x80000000)),
            payload=b"?" * dice.choice((0, 0, 0, 1, 20, 136, 144, 3000))) for _ in range(100)])
    assert it.daemon.worker_pid(it.name) == it.worker
    it.link.sock.shutdown(socket.SHUT_RDWR)
    stop.append(True)
    reader.join(10 * SLOW)
    it.link.close()
    it.connect()
