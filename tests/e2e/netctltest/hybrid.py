# SPDX-License-Identifier: MIT
"""A VMM's side of Firecracker's hybrid vsock, as its docs/vsock.md describes it.

The VMM owns the mux. Towards the guest: it listens on PATH, reads `CONNECT PORT\\n` from whoever connects,
asks the guest, and says `OK HOSTPORT\\n` where the guest accepts, or hangs up. From the guest: a connection to
port P becomes one to the unix socket PATH_P; where nobody listens there, the guest is refused.

The guest's programs are TCP sockets of this host's loopback: so an end and a reset are told apart.
"""

import collections
import os
import selectors
import socket
import struct
import threading

from .process import SLOW

CHUNK = 1 << 18


def hang_up(sock, abrupt=False):
    if abrupt and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Half:
    """One direction between two sockets: what was read and is not yet written."""

    def __init__(self, source, sink):
        self.source, self.sink = source, sink
        self.data = memoryview(b"")
        self.ended = self.told = False

    def move(self):
        for _ in range(8):
            if not self.data and not self.ended:
                try:
                    self.data = memoryview(self.source.recv(CHUNK))
                except BlockingIOError:
                    return
                self.ended = not self.data
            if self.data:
                try:
                    self.data = self.data[self.sink.send(self.data):]
                except BlockingIOError:
                    return
            if self.ended and not self.data:
                if not self.told:
                    self.sink.shutdown(socket.SHUT_WR)
                self.told = True
                return


class Pair:
    """Two sockets whose bytes and ends go over to each other."""

    def __init__(self, one, other):
        self.socks = (one, other)
        self.halves = (Half(one, other), Half(other, one))
        for sock in self.socks:
            sock.setblocking(False)

    def move(self):
        """False: it is over."""
        try:
            for half in self.halves:
                half.move()
        except OSError:
            self.close(abrupt=True)
            return False
        if all(half.told for half in self.halves):
            self.close()
            return False
        return True

    def wanted(self, sock):
        events = 0
        for half in self.halves:
            if half.source is sock and not half.data and not half.ended:
                events |= selectors.EVENT_READ
            if half.sink is sock and half.data:
                events |= selectors.EVENT_WRITE
        return events

    def close(self, abrupt=False):
        for sock in self.socks:
            hang_up(sock, abrupt)


class VMM:
    """A Firecracker with a guest whose programs listen on TCP ports of ours: listen(port, (addr, port))."""

    def __init__(self, path):
        self.path = path
        self.programs = {}  # guest port → address of the program, or None: the guest never answers
        self.doors = {}
        self.lines = {}
        self.asked = collections.Counter()
        self.next_port = 1 << 30
        self.pairs = {}
        self.held = []
        self.work = collections.deque()
        self.selector = selectors.DefaultSelector()
        if os.path.exists(path):
            os.unlink(path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1024)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        self.wake_r, self.wake_w = socket.socketpair()
        self.wake_r.setblocking(False)
        self.selector.register(self.wake_r, selectors.EVENT_READ, self._woken)
        self.stopped = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    # -- what the guest's programs may ask --------------------------------------------------------

    def listen(self, port, bridge_to):
        self.programs[port] = bridge_to

    def connect_to(self, port):
        """A program of the guest's connects to the host. Returns its socket; ConnectionRefusedError."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10 * SLOW)
        try:
            sock.connect("%s_%d" % (self.path, port))
        except OSError:
            sock.close()
            raise ConnectionRefusedError("port %d" % port) from None
        return sock

    def bridge_door(self, port):
        """A TCP port whose clients are guest's programs that connect to the host's vsock port."""
        door = socket.create_server(("127.0.0.1", 0), backlog=1024)
        door.setblocking(False)
        self.doors[door] = port
        self._do(lambda: self.selector.register(door, selectors.EVENT_READ, self._open_door))
        return door.getsockname()[1]

    def close(self):
        self.stopped = True
        self.wake_w.send(b"w")
        self.thread.join(5)
        for sock in [self.listener, self.wake_r, self.wake_w, *self.doors, *self.lines, *self.held]:
            sock.close()
        for pair in set(self.pairs.values()):
            pair.close(abrupt=True)
        os.unlink(self.path)

    # -- inside --------------------------------------------------------------------------------

    def _do(self, work):
        self.work.append(work)
        self.wake_w.send(b"w")

    def _woken(self, sock):
        sock.recv(4096)
        while self.work:
            self.work.popleft()()

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setblocking(False)
            self.lines[sock] = b""
            self.selector.register(sock, selectors.EVENT_READ, self._line)

    def _line(self, sock):
        """A byte at a time: what follows the line is the guest's."""
        try:
            byte = sock.recv(1)
        except OSError:
            byte = b""
        self.lines[sock] += byte
        line = self.lines[sock]
        if byte and byte != b"\n" and len(line) < 32:
            return
        del self.lines[sock]
        self.selector.unregister(sock)
        words = line.split()
        if not byte or len(words) != 2 or words[0].upper() != b"CONNECT":
            sock.close()
            return
        self._to_guest(sock, int(words[1]))

    def _to_guest(self, sock, port):
        self.asked[port] += 1
        if port in self.programs and self.programs[port] is None:
            self.held.append(sock)
            return
        program = socket.socket()
        try:
            program.connect(self.programs[port])
        except (KeyError, OSError):
            program.close()
            sock.close()
            return
        self.next_port += 1
        sock.send(b"OK %d\n" % self.next_port)
        self._pair(sock, program)

    def _open_door(self, door):
        while True:
            try:
                program, _ = door.accept()
            except OSError:
                return
            try:
                self._pair(self.connect_to(self.doors[door]), program)
            except ConnectionRefusedError:
                hang_up(program, abrupt=True)

    def _pair(self, one, other):
        pair = Pair(one, other)
        for sock in pair.socks:
            self.pairs[sock] = pair
        self._serve(pair)

    def _serve(self, pair):
        known = self.selector.get_map()
        numbers = [sock.fileno() for sock in pair.socks]
        if not pair.move():
            for sock, number in zip(pair.socks, numbers):
                if number in known:
                    self.selector.unregister(number)
                del self.pairs[sock]
            return
        for sock in pair.socks:
            wanted = pair.wanted(sock)
            if sock.fileno() in known:
                if not wanted:
                    self.selector.unregister(sock)
                else:
                    self.selector.modify(sock, wanted, self._ready)
            elif wanted:
                self.selector.register(sock, wanted, self._ready)

    def _ready(self, sock):
        if sock in self.pairs:
            self._serve(self.pairs[sock])

    def _run(self):
        while not self.stopped:
            for key, _ in self.selector.select(1):
                if key.fileobj in self.pairs or key.data != self._ready:
                    key.data(key.fileobj)
