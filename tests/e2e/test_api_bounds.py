# SPDX-License-Identifier: MIT
"""Clients of api.sock that are slow, idle, many or send too much: others are answered all the while."""

import os
import select
import socket
import threading
import time

import pytest

from netctltest.process import SLOW, wait_for

MAX = 256
IDLE = 1000
MiB = 1 << 20
ROUTES = [("POST", "/v1/vms"), ("PATCH", "/v1/vms/vm"), ("POST", "/v1/vms/vm/forwards"),
          ("PUT", "/v1/vms/vm/policy"), ("POST", "/v1/vms/vm/policy/check"), ("PUT", "/v1/vms/vm/hosts"),
          ("PUT", "/v1/vms/vm/env"), ("PATCH", "/v1/vms/vm/env"), ("POST", "/v1/vms/vm/maps"),
          ("PUT", "/v1/vms/vm/secrets/A"), ("POST", "/v1/vms/vm/snapshots"), ("POST", "/v1/snapshots"),
          ("POST", "/v1/vms/vm/restore")]


def connect(daemon):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20 * SLOW)
    sock.connect(daemon.socket)
    return sock


def close_all(socks):
    for sock in socks:
        sock.close()


def is_open(sock):
    """The far end has neither closed nor answered."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    if not poll.poll(0):
        return True
    try:
        return sock.recv(1, socket.MSG_PEEK) != b""
    except OSError:
        return False


def fds(daemon):
    return len(os.listdir("/proc/%d/fd" % daemon.process.pid))


def rss(daemon):
    with open("/proc/%d/status" % daemon.process.pid) as f:
        return int(f.read().split("VmRSS:")[1].split()[0]) << 10


def answer_in(daemon, limit):
    """A client that comes now is answered within so many seconds."""
    start = time.monotonic()
    assert daemon.api("GET", "/v1/health").status == 200
    assert time.monotonic() - start < limit * SLOW


def test_a_thousand_idle_connections(daemon):
    """They keep nobody out, though no more than 256 are open at once, and nothing of them is left."""
    before = fds(daemon)
    idle = []
    try:
        for _ in range(IDLE):
            idle.append(connect(daemon))
        for _ in range(5):
            answer_in(daemon, 3)
        assert fds(daemon) <= before + MAX + 8
        wait_for(lambda: sum(map(is_open, idle)) <= MAX, 10, "the oldest make room")
        # Who has said something lately, says more, and is no idler.
        idle[-1].sendall(b"GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle[-1].recv(100).startswith(b"HTTP/1.1 200")
    finally:
        close_all(idle)
    wait_for(lambda: fds(daemon) <= before + 1, 15, "their descriptors are free")


def test_idle_ones_are_cut(daemon):
    with connect(daemon) as quiet:
        start = time.monotonic()
        assert quiet.recv(1) == b""
        assert 5 < time.monotonic() - start < 15 * SLOW


def test_slow_loris(daemon):
    """300 clients that say a byte now and then: each is cut after 10 s, and nobody else waits."""
    request = b"POST /v1/vms HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    socks = [connect(daemon) for _ in range(300)]
    start = time.monotonic()
    over = threading.Event()

    def drip():
        at = 0
        while not over.wait(0.5):
            for sock in socks:
                try:
                    sock.send(request[at:at + 1] or b" ")
                except OSError:
                    pass
            at += 1

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    try:
        while time.monotonic() - start < 4:
            answer_in(daemon, 3)
            time.sleep(0.2)
        wait_for(lambda: not any(map(is_open, socks)), 15, "all are cut")
    finally:
        over.set()
        thread.join(10)
        close_all(socks)
    assert daemon.ask("GET", "/v1/vms") == {"items": []}


def test_followers_of_events_are_no_idlers(daemon):
    """A stream that goes on stays, however many connect."""
    with connect(daemon) as follower:
        follower.sendall(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert follower.recv(1000).startswith(b"HTTP/1.1 200")
        idle = [connect(daemon) for _ in range(600)]
        answer_in(daemon, 3)
        daemon.ask("POST", "/v1/vms", {"name": "vm", "link": {"kind": "none"}})
        assert b"vm.created" in follower.recv(10000)
        close_all(idle)


def test_streams_leave_room(daemon):
    """128 streams of events at once, no more, and each that ends makes room for another."""
    def follow():
        sock = connect(daemon)
        sock.sendall(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        return sock, sock.recv(1000).split()[1]

    streams = []
    try:
        for _ in range(300):
            sock, status = follow()
            streams.append(sock)
            assert status == (b"200" if len(streams) <= 128 else b"503"), len(streams)
        answer_in(daemon, 3)
        assert daemon.api("GET", "/v1/events").json["status"] == 503
        streams.pop(0).close()

        def room():
            sock, status = follow()
            streams.append(sock)
            return status == b"200"

        wait_for(room, 5, "room for one")
        # Streams that end, too, give their place back, though the connection goes on.
        close_all(streams)
        wait_for(lambda: daemon.api("GET", "/v1/events").status == 200, 5, "room for all")
        with connect(daemon) as sock:
            for _ in range(200):
                sock.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
                data = b""
                while not data.endswith(b"0\r\n\r\n"):
                    more = sock.recv(10000)
                    assert more, data
                    data += more
                assert data.split()[1] == b"200", data
    finally:
        close_all(streams)


@pytest.mark.parametrize("method, path", ROUTES)
def test_oversized_body(shared_daemon, method, path):
    """More than 1 MiB: 413 with a problem document, on every route that takes a body."""
    shared_daemon.api("POST", "/v1/vms", {"name": "vm", "link": {"kind": "none"}})
    response = shared_daemon.api(method, path, b'"' + b"x" * MiB + b'"')
    assert response.status == 413 and response.json["status"] == 413, response
    assert shared_daemon.ask("GET", "/v1/vms/vm/env") == {}


def test_giant_bodies_by_length_and_by_chunks(daemon):
    """16 MiB is the end for any: it is not even waited for."""
    for head in (b"Content-Length: 99999999999\r\n", b"Content-Length: %d\r\n" % (17 * MiB),
                 b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n"):
        with connect(daemon) as sock:
            sock.sendall(b"PUT /v1/state HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n")
            answer = b""
            try:
                if b"chunked" in head:
                    for _ in range(20):
                        sock.sendall(b"100000\r\n" + b"x" * MiB + b"\r\n")
                answer = sock.recv(1000)
            except OSError:
                pass
            assert answer == b"" or answer.split()[1] in (b"413", b"400"), answer
        answer_in(daemon, 3)


def test_many_requests_that_are_not_there_in_full(daemon):
    """100 clients each send 15 MiB of 16: no more than 64 MiB are kept, and others are answered."""
    before = rss(daemon)
    socks = []
    peak = 0
    try:
        for _ in range(100):
            sock = connect(daemon)
            socks.append(sock)
            try:
                sock.sendall(b"PUT /v1/state HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (16 * MiB))
                sock.sendall(b" " * (15 * MiB))
            except OSError:
                pass
            peak = max(peak, rss(daemon) - before)
            if len(socks) % 10 == 0:
                answer_in(daemon, 3)
        assert sum(map(is_open, socks)) <= 5
        assert peak < 160 * MiB * SLOW, peak
    finally:
        close_all(socks)
    wait_for(lambda: daemon.api("PUT", "/v1/state?dry_run=1", {"vms": []}).status == 200, 5, "room again")


def test_long_heads(daemon):
    with connect(daemon) as sock:
        try:
            sock.sendall(b"GET /v1/vms HTTP/1.1\r\nX: " + b"x" * 100000 + b"\r\n\r\n")
            answer = sock.recv(1000)
        except OSError:
            answer = b""
        assert answer == b"" or answer.split()[1] in (b"400", b"413")
    answer_in(daemon, 3)


@pytest.mark.parametrize("path", ["/", "//", "/v1", "/v1/", "/v2/vms", "/v1/vms/", "/v1/vms/a/b/c/d",
                                  "/v1/state/x", "/v1/vms/%00", "/v1/vms/..%2f..", "/metrics/", "*",
                                  "/v1/vms/" + "x" * 5000, "/v1/%76ms"])
def test_unknown_route(shared_daemon, path):
    for method in ("GET", "POST", "DELETE"):
        response = shared_daemon.api(method, path)
        assert response.status in (400, 404, 405), response
        if response.status != 400:
            assert response.json["status"] == response.status and response.json["detail"]


def test_pipelined_and_broken_requests(daemon):
    """What is no HTTP gets 400 or an end; what follows a good request is read on its own."""
    for line in (b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                 b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/vms HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"):
        with connect(daemon) as sock:
            sock.sendall(line)
            sock.shutdown(socket.SHUT_WR)
            answer = sock.recv(1000)
            assert answer == b"" or answer.split()[1] in (b"400", b"404", b"413", b"505"), (line, answer)
    with connect(daemon) as sock:
        sock.sendall(b"GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        data = b""
        while data.count(b"HTTP/1.1 200") < 3:
            more = sock.recv(10000)
            assert more, data
            data += more
