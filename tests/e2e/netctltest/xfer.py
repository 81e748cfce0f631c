# SPDX-License-Identifier: MIT
"""Streams whose every byte is known: tests/tools/xfer.c at both ends, on the host or in a guest."""

import json
import os

from .process import Process, SLOW, tool, wait_for

_count = 0


def parse(text):
    """The connections that an xfer reported, in the order of their ends."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


class Listener:
    """An xfer that listens: on the host, or in a namespace guest."""

    def __init__(self, directory, *options, guest=None, addr=None, port=0):
        global _count
        _count += 1
        self.addr = addr or ("0.0.0.0" if guest else "127.0.0.1")
        argv = [tool("xfer"), "listen", self.addr, str(port), *map(str, options)]
        name = "xfer-listen%d" % _count
        if guest:
            self.process = guest.popen(argv, name)
        else:
            self.process = Process(name, argv, directory)
        if self.addr == "unix":
            wait_for(lambda: os.path.exists(str(port)), 5, str(port))
            self.port = port
        else:
            self.port = int(wait_for(self._port, 5, "xfer listens"))

    def _port(self):
        for line in self.process.log().splitlines():
            if line.startswith("port "):
                return line.split()[1]
            raise AssertionError(line)

    def results(self, timeout=60):
        """Waits for its end (--count connections) and returns what it saw."""
        self.process.wait(timeout)
        return parse(self.process.log())

    def stop(self):
        self.process.stop(2)


def start(directory, addr, port, *options, guest=None):
    """An xfer that connects, in the background."""
    global _count
    _count += 1
    argv = [tool("xfer"), "connect", addr, str(port), *map(str, options)]
    name = "xfer-connect%d" % _count
    return guest.popen(argv, name) if guest else Process(name, argv, directory)


def connect(directory, addr, port, *options, guest=None, timeout=60):
    """An xfer that connects, to its end. Returns the connections' reports."""
    process = start(directory, addr, port, *options, guest=guest)
    process.wait(timeout)
    found = parse(process.log())
    assert found, "xfer said nothing: " + process.log()
    return found


def same(one, other):
    """What each connection of `one` sent is what one of `other` received, byte for byte."""
    bad = [c for c in one + other if c["end"] not in ("eof", "aborted") or c["bad_at"] != -1]
    assert not bad, "%d of %d connections went wrong: %r" % (len(bad), len(one + other), bad[:3])
    sent = sorted((c["tx"], c["tx_hash"]) for c in one)
    received = sorted((c["rx"], c["rx_hash"]) for c in other)
    assert sent == received, "what was sent is not what came: %r, %r" % (sent[:3], received[:3])


def both_same(one, other):
    same(one, other)
    same(other, one)


assert SLOW
