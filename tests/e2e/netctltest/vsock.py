# SPDX-License-Identifier: MIT
"""A guest that speaks vsock packets over a unix stream, as a VMM without vhost-user would for its guest.

    Packet      a header: what it says, to and from 44 bytes
    Link        the bare connection: packets out, packets in, nothing judged (for hostile guests)
    Guest       a guest's vsock: streams with credit both ways, listeners, datagrams
    Stream      a connection of it, with blocking calls, or bridged to a TCP socket of a program's

The guest holds its peer to the protocol: what that does wrong is in Guest.violations.
"""

import collections
import selectors
import socket
import struct
import threading
import time

from .process import SLOW, wait_for

HEADER = struct.Struct("<QQIIIHHIII")
HOST = 2
STREAM, SEQPACKET, DGRAM = 1, 2, 3
NONE, REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST = range(8)
RECEIVE, SEND, BOTH = 1, 2, 3  # SHUTDOWN's flags: what its sender will not do any more
PAYLOAD_MAX = 65536
EVENT_TRANSPORT_RESET = 0
BACKLOG = 1 << 20  # bytes to the peer that may wait here


class Refused(ConnectionRefusedError):
    """RST answered a REQUEST."""


Fields = collections.namedtuple(
    "Fields", "src_cid dst_cid src_port dst_port len type op flags buf_alloc fwd_cnt")


class Packet(Fields):
    """A header with its payload. len is that of the payload, unless it lies."""

    def __new__(cls, src_cid=3, dst_cid=HOST, src_port=0, dst_port=0, length=None, type=STREAM,
                op=RW, flags=0, buf_alloc=262144, fwd_cnt=0, payload=b""):
        length = len(payload) if length is None else length
        self = super().__new__(cls, src_cid, dst_cid, src_port, dst_port, length, type, op, flags,
                               buf_alloc, fwd_cnt)
        self.payload = payload
        return self

    def pack(self):
        return HEADER.pack(*self) + self.payload

    @classmethod
    def parse(cls, header, payload):
        (src_cid, dst_cid, src_port, dst_port, length, kind, op, flags, alloc,
         fwd) = HEADER.unpack(header)
        return cls(src_cid, dst_cid, src_port, dst_port, length, kind, op, flags, alloc, fwd, payload)


def connect_unix(path, timeout=5):
    """Connects to a socket that may not be there yet."""
    def attempt():
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            return None
        return sock
    return wait_for(attempt, timeout, "somebody listens at " + path)


class Link:
    """Bare packets. cid is what the greeting said."""

    def __init__(self, path, timeout=10):
        self.sock = connect_unix(path)
        self.sock.settimeout(timeout * SLOW)
        self.reader = self.sock.makefile("rb")
        greeting = self.recv()
        assert (greeting.op, greeting.len) == (NONE, 8), greeting
        self.cid = struct.unpack("<Q", greeting.payload)[0]

    def send(self, *packets):
        self.sock.sendall(b"".join(p.pack() for p in packets))

    def recv(self):
        """The next packet, or None where the connection has ended."""
        header = self.reader.read(HEADER.size)
        if len(header) < HEADER.size:
            return None
        length = struct.unpack_from("<I", header, 24)[0]
        assert length <= PAYLOAD_MAX, "a packet of %d bytes from the host" % length
        return Packet.parse(header, self.reader.read(length))

    def recv_op(self, *ops):
        """The next packet of one of these operations; others are passed over."""
        while True:
            packet = self.recv()
            assert packet is not None, "the connection has ended"
            if packet.op in ops:
                return packet

    def close(self):
        self.reader.close()
        self.sock.close()


class Stream:
    """One connection. Made by Guest.connect() and Listener.accept() only."""

    def __init__(self, guest, port, peer_port, buf_alloc):
        self.guest = guest
        self.port, self.peer_port = port, peer_port
        self.buf_alloc = buf_alloc
        self.opened = self.over = self.was_reset = False
        self.opener = False
        self.rx = collections.deque()
        self.rx_cnt = self.fwd_cnt = self.told = 0
        self.tx_cnt = self.peer_fwd_cnt = self.peer_buf_alloc = 0
        self.shut = self.peer_shut = 0
        self.closing = False
        self.local = None  # what it is bridged to
        self.local_ended = self.local_told = False

    # -- what a program may ask ----------------------------------------------------------------

    def send(self, data, timeout=30):
        """All of it, as fast as the peer's credit allows."""
        data = memoryview(bytes(data))
        with self.guest.changed:
            while data:
                self.guest.wait(lambda: self.over or (self.credit() > 0 and self.guest.room()),
                                timeout, "credit to send")
                if self.over or self.shut & SEND or self.peer_shut & RECEIVE:
                    raise BrokenPipeError("the stream has ended")
                size = min(len(data), self.credit(), PAYLOAD_MAX)
                self.packet(RW, payload=bytes(data[:size]))
                data = data[size:]

    def recv(self, size=PAYLOAD_MAX, timeout=10):
        """Some bytes; b"" at the end of the stream. ConnectionResetError where that was no end."""
        with self.guest.changed:
            self.guest.wait(lambda: self.rx or self.over or self.peer_shut & SEND, timeout, "data")
            if not self.rx:
                if self.peer_shut & SEND:
                    return b""
                raise ConnectionResetError("reset by the host")
            data = self.rx.popleft()
            if len(data) > size:
                self.rx.appendleft(data[size:])
                data = data[:size]
            self.taken(len(data))
            return bytes(data)

    def recv_exact(self, size, timeout=10):
        data = b""
        while len(data) < size:
            more = self.recv(size - len(data), timeout)
            if not more:
                raise EOFError("the stream ended after %d of %d bytes" % (len(data), size))
            data += more
        return data

    def recv_all(self, timeout=10):
        """Everything up to the end of the stream."""
        parts = []
        while True:
            data = self.recv(timeout=timeout)
            if not data:
                return b"".join(parts)
            parts.append(data)

    def shutdown(self, flags=SEND):
        with self.guest.changed:
            if not self.over and flags & ~self.shut:
                self.shut |= flags
                self.packet(SHUTDOWN, flags=self.shut)

    def close(self):
        """In order: the host answers with RST when it has taken everything."""
        with self.guest.changed:
            if self.over or self.closing:
                return
            self.closing = True
            self.shut = BOTH
            self.packet(SHUTDOWN, flags=BOTH)

    def abort(self):
        with self.guest.changed:
            if not self.over:
                self.packet(RST)
                self.finish()

    def wait_over(self, timeout=10):
        """Until the host has said RST."""
        with self.guest.changed:
            self.guest.wait(lambda: self.over, timeout, "the end of the connection")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- the protocol (with the guest's lock held) --------------------------------------------------

    def credit(self):
        return self.peer_buf_alloc - ((self.tx_cnt - self.peer_fwd_cnt) & 0xffffffff)

    def packet(self, op, flags=0, payload=b""):
        self.told = self.fwd_cnt
        self.tx_cnt = (self.tx_cnt + len(payload)) & 0xffffffff
        self.guest.emit(Packet(self.guest.cid, self.guest.peer_cid, self.port, self.peer_port, None, STREAM, op,
                               flags, self.buf_alloc, self.fwd_cnt, payload))

    def taken(self, size):
        """A program has got so many bytes of it."""
        self.fwd_cnt = (self.fwd_cnt + size) & 0xffffffff
        if not self.over and (self.fwd_cnt - self.told) & 0xffffffff >= self.buf_alloc // 4:
            self.packet(CREDIT_UPDATE)

    def finish(self, reset=False):
        self.over = True
        self.was_reset = reset
        self.guest.streams.pop((self.port, self.peer_port), None)

    def input(self, packet):
        self.peer_buf_alloc, self.peer_fwd_cnt = packet.buf_alloc, packet.fwd_cnt
        if packet.op == RESPONSE:
            if self.opened or not self.opener:
                self.guest.violation("RESPONSE out of place", packet)
            self.opened = True
        elif packet.op == RST:
            self.finish(reset=not self.closing and self.peer_shut != BOTH)
        elif packet.op == RW:
            self.rx_cnt = (self.rx_cnt + packet.len) & 0xffffffff
            if (self.rx_cnt - self.fwd_cnt) & 0xffffffff > self.buf_alloc:
                self.guest.violation("more than the credit", packet)
            if self.peer_shut & SEND or not self.opened:
                self.guest.violation("data where there can be none", packet)
            if packet.len == 0:
                self.guest.violation("RW without data", packet)
            self.rx.append(memoryview(packet.payload))
        elif packet.op == SHUTDOWN:
            self.peer_shut |= packet.flags & BOTH
            if not packet.flags & BOTH:
                self.guest.violation("SHUTDOWN of nothing", packet)
            # As Linux does: the last word is its RST, once everything has been read.
            if self.peer_shut == BOTH and not self.rx and not self.local:
                self.packet(RST)
                self.finish()
        elif packet.op == CREDIT_REQUEST:
            self.packet(CREDIT_UPDATE)
        elif packet.op != CREDIT_UPDATE:
            self.guest.violation("no operation of a connection's", packet)

    # -- bridged to a program's TCP socket ---------------------------------------------------------

    def pump(self):
        """Moves what can be moved between the stream and its local socket."""
        if not self.local:
            return
        try:
            self._to_local()
            self._from_local()
        except (ConnectionError, OSError) as error:
            if isinstance(error, BlockingIOError):
                raise
            self.guest.unbridge(self)
            if not self.over:
                self.packet(RST)
                self.finish()
            return
        if self.over and not self.rx:
            self.guest.unbridge(self, abrupt=self.was_reset)
        elif self.peer_shut == BOTH and not self.rx and not self.local_ended:
            # Nobody takes what the program still writes.
            self.guest.unbridge(self, abrupt=True)
            self.packet(RST)
            self.finish()
        elif self.local_ended and self.local_told and not self.rx:
            self.guest.unbridge(self)
            if self.peer_shut == BOTH:
                self.packet(RST)
                self.finish()
            else:
                self.close()

    def _to_local(self):
        while self.rx:
            data = self.rx[0]
            try:
                n = self.local.send(data)
            except BlockingIOError:
                return
            if n == len(data):
                self.rx.popleft()
            else:
                self.rx[0] = data[n:]
            self.taken(n)
        if self.peer_shut & SEND and not self.local_told:
            self.local_told = True
            self.local.shutdown(socket.SHUT_WR)

    def _from_local(self):
        while not self.local_ended and not self.over and self.wants_local():
            try:
                data = self.local.recv(min(PAYLOAD_MAX, self.credit()))
            except BlockingIOError:
                return
            if data:
                self.packet(RW, payload=data)
            else:
                self.local_ended = True
                self.shutdown(SEND)

    def wants_local(self):
        return (self.opened and not self.local_ended and not self.peer_shut & RECEIVE
                and self.credit() > 0 and self.guest.room())


class Listener:
    """A port of the guest's. refuse: every REQUEST gets RST. silent: none gets an answer."""

    def __init__(self, guest, port, bridge_to=None, silent=False):
        self.guest = guest
        self.port = port
        self.bridge_to = bridge_to
        self.silent = silent
        self.waiting = collections.deque()
        self.asked = 0

    def accept(self, timeout=10):
        with self.guest.changed:
            self.guest.wait(lambda: self.waiting, timeout, "a connection to port %d" % self.port)
            return self.waiting.popleft()

    def close(self):
        with self.guest.changed:
            self.guest.listeners.pop(self.port, None)


class Guest:
    """A guest with a vsock of its own, whose VMM is connected to path.

    A guest whose stream to the host ends is `down`, until its VMM has connected again: at once (a worker
    has died), or when connect() is called (after disconnect()).
    """

    def __init__(self, path=None, sock=None, cid=None, peer_cid=HOST, buf_alloc=262144):
        self.path = path
        self.again = False
        self.cid, self.peer_cid = cid, peer_cid
        self.buf_alloc = buf_alloc
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.streams, self.listeners, self.inboxes = {}, {}, {}
        self.bridges, self.doors = {}, {}
        self.violations, self.events, self.strays = [], [], []
        self.record = None  # a list: every packet that comes
        self.next_port = 1 << 20
        self.out = collections.deque()
        self.out_bytes = 0
        self.rx = bytearray()
        self.sock, self.down, self.stopped, self.connections = None, True, False, 0
        self.selector = selectors.DefaultSelector()
        self.wake_r, self.wake_w = socket.socketpair()
        self.wake_r.setblocking(False)
        self.wake_w.setblocking(False)
        self.selector.register(self.wake_r, selectors.EVENT_READ, None)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        if path or sock:
            self.connect(sock)

    # -- life ----------------------------------------------------------------------------------

    def connect(self, sock=None):
        """Connects to the host and waits for its greeting (which only comes where we know no CID)."""
        sock = sock or connect_unix(self.path)
        with self.changed:
            greeted = len(self.events)
            self._connected(sock)
        self._wake()
        if self.path:
            with self.changed:
                self.wait(lambda: len(self.events) > greeted or self.down, 10, "the greeting")
                assert not self.down, "the host has hung up"
        return self

    def disconnect(self):
        """The VMM goes: everything is gone for the guest as well."""
        with self.changed:
            self.again = False
            if self.sock and not self.down:
                self._lost()

    def close(self):
        self.disconnect()
        self.stopped = True
        self._wake()
        self.thread.join(5)

    def wait(self, condition, timeout, what):
        if not self.changed.wait_for(condition, timeout * SLOW):
            raise TimeoutError("%s: not within %g s" % (what, timeout * SLOW))

    # -- what a program may ask ----------------------------------------------------------------

    def connect_to(self, port, timeout=10, from_port=None):
        """A stream to a port of the host's. Refused where RST answers."""
        with self.changed:
            stream = self._ask(port, from_port)
            self.wait(lambda: stream.opened or stream.over, timeout, "an answer to REQUEST")
            if stream.over:
                raise Refused("port %d" % port)
            return stream

    def listen(self, port, bridge_to=None, silent=False):
        """bridge_to: (address, port) of a TCP socket that gets every connection."""
        with self.changed:
            listener = self.listeners[port] = Listener(self, port, bridge_to, silent)
            return listener

    def bridge_door(self, port):
        """A TCP port of the host's loopback whose clients are connected to the vsock port."""
        door = socket.create_server(("127.0.0.1", 0), backlog=1024)
        door.setblocking(False)
        with self.changed:
            self.doors[door] = port
        self._wake()
        return door.getsockname()[1]

    def send_datagram(self, from_port, to_port, payload):
        with self.changed:
            self.emit(Packet(self.cid, self.peer_cid, from_port, to_port, type=DGRAM, op=RW, buf_alloc=0,
                             payload=payload))

    def inbox(self, port):
        """Where datagrams to this port go, as (source port, payload)."""
        with self.changed:
            return self.inboxes.setdefault(port, collections.deque())

    def recv_datagram(self, port, timeout=10):
        with self.changed:
            inbox = self.inbox(port)
            self.wait(lambda: inbox, timeout, "a datagram to port %d" % port)
            return inbox.popleft()

    def raw(self, *packets):
        """Any packets, however wrong."""
        with self.changed:
            for packet in packets:
                self.emit(packet)

    def fresh_port(self):
        with self.changed:
            self.next_port += 1
            return self.next_port

    def is_quiet(self, seconds=0.3):
        """Nothing comes for so long."""
        with self.changed:
            self.record = []
        time.sleep(seconds)
        with self.changed:
            record, self.record = self.record, None
        return not record

    # -- inside (with the lock held) -----------------------------------------------------------

    def violation(self, what, packet):
        self.violations.append("%s: %r" % (what, tuple(packet)))

    def room(self):
        return self.out_bytes < BACKLOG

    def emit(self, packet):
        if self.down:
            return
        self.out.append(HEADER.pack(*packet))
        if packet.payload:
            self.out.append(packet.payload)
        self.out_bytes += HEADER.size + len(packet.payload)
        if threading.current_thread() is not self.thread:
            self._wake()

    def _ask(self, port, from_port=None):
        from_port = from_port or self.fresh_port()
        stream = Stream(self, from_port, port, self.buf_alloc)
        stream.opener = True
        self.streams[from_port, port] = stream
        if self.down:
            stream.finish(reset=True)
        stream.packet(REQUEST)
        return stream

    def _wake(self):
        try:
            self.wake_w.send(b"w")
        except OSError:
            pass  # full, so it wakes anyway; or closed by the thread that has seen `stopped` already

    def _connected(self, sock):
        assert self.down, "connected already"
        sock.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
        self.sock, self.down = sock, False
        self.again = self.path is not None
        self.connections += 1
        self.out.clear()
        self.out_bytes = 0
        self.rx.clear()

    def _reconnect(self):
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(self.path)
        except OSError:
            sock.close()
            return
        self._connected(sock)

    def _lost(self):
        try:
            self.selector.unregister(self.sock)
        except (KeyError, ValueError):
            pass
        self.sock.close()
        self.down = True
        self._all_reset()
        self.changed.notify_all()

    def _all_reset(self):
        for stream in list(self.streams.values()):
            stream.finish(reset=True)
            stream.pump()

    def _flush(self):
        while self.out and not self.down:
            try:
                n = self.sock.sendmsg([self.out[i] for i in range(min(len(self.out), 64))])
            except BlockingIOError:
                return
            except OSError:
                self._lost()
                return
            self.out_bytes -= n
            while n:
                if n >= len(self.out[0]):
                    n -= len(self.out.popleft())
                else:
                    self.out[0] = memoryview(self.out[0])[n:]
                    n = 0

    def _receive(self):
        try:
            data = self.sock.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        self.rx += data
        at = 0
        view = memoryview(self.rx)
        while len(self.rx) - at >= HEADER.size:
            length = struct.unpack_from("<I", view, at + 24)[0]
            if len(self.rx) - at < HEADER.size + length:
                break
            start = at + HEADER.size
            packet = Packet.parse(view[at:start], bytes(view[start:start + length]))
            at = start + length
            self._input(packet)
        view.release()
        del self.rx[:at]

    def _input(self, packet):
        if self.record is not None:
            self.record.append(packet)
        if packet.op == NONE:
            self._event(packet)
            return
        if packet.src_cid != self.peer_cid or packet.dst_cid != self.cid or packet.len > PAYLOAD_MAX:
            self.violation("addresses or length", packet)
            return
        if packet.type == DGRAM:
            self.inbox(packet.dst_port).append((packet.src_port, packet.payload))
            return
        stream = self.streams.get((packet.dst_port, packet.src_port))
        if stream:
            stream.input(packet)
            stream.pump()
        elif packet.op == REQUEST:
            self._asked(packet)
        elif packet.op != RST:
            self.strays.append(packet)
            self._turn_away(packet)

    def _event(self, packet):
        if packet.len == 8:
            self.cid = struct.unpack("<Q", packet.payload)[0]
            self.events.append(("cid", self.cid))
        elif packet.len == 4:
            event = struct.unpack("<I", packet.payload)[0]
            self.events.append(("event", event))
            if event == EVENT_TRANSPORT_RESET:
                self._all_reset()
        else:
            self.violation("neither greeting nor event", packet)

    def _turn_away(self, packet):
        self.emit(Packet(packet.dst_cid, packet.src_cid, packet.dst_port, packet.src_port, op=RST,
                         buf_alloc=0))

    def _asked(self, packet):
        listener = self.listeners.get(packet.dst_port)
        if not listener:
            self._turn_away(packet)
            return
        listener.asked += 1
        if listener.silent:
            return
        local = None
        if listener.bridge_to:
            local = socket.socket()
            try:
                local.connect(listener.bridge_to)
            except OSError:
                local.close()
                self._turn_away(packet)
                return
        stream = Stream(self, packet.dst_port, packet.src_port, self.buf_alloc)
        stream.peer_buf_alloc, stream.peer_fwd_cnt = packet.buf_alloc, packet.fwd_cnt
        stream.opened = True
        self.streams[packet.dst_port, packet.src_port] = stream
        stream.packet(RESPONSE)
        if local:
            self._bridge(stream, local)
        else:
            listener.waiting.append(stream)

    def _bridge(self, stream, local):
        local.setblocking(False)
        stream.local = local
        self.bridges[local] = stream
        self.selector.register(local, selectors.EVENT_READ, stream)

    def unbridge(self, stream, abrupt=False):
        local, stream.local = stream.local, None
        self.bridges.pop(local, None)
        try:
            self.selector.unregister(local)
        except (KeyError, ValueError):
            pass
        if abrupt:
            local.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        local.close()

    def _interests(self):
        """What each socket is waited for."""
        for door in self.doors:
            if door.fileno() not in self.selector.get_map():
                self.selector.register(door, selectors.EVENT_READ, door)
        if self.sock and not self.down:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.out else 0)
            self._want(self.sock, wanted, self.sock)
        for local, stream in self.bridges.items():
            wanted = (selectors.EVENT_READ if stream.wants_local() else 0) | (
                selectors.EVENT_WRITE if stream.rx else 0)
            self._want(local, wanted, stream)

    def _want(self, sock, wanted, data):
        known = self.selector.get_map().get(sock.fileno())
        if known is None:
            if wanted:
                self.selector.register(sock, wanted, data)
        elif not wanted:
            self.selector.unregister(sock)
        elif known.events != wanted:
            self.selector.modify(sock, wanted, data)

    def _open_door(self, door):
        while True:
            try:
                local, _ = door.accept()
            except OSError:
                return
            self._bridge(self._ask(self.doors[door]), local)

    def _run(self):
        while not self.stopped:
            with self.changed:
                if self.down and self.again:
                    self._reconnect()
                self._interests()
            for key, _ in self.selector.select(0.05 if self.down else 1):
                with self.changed:
                    if key.fileobj is self.wake_r:
                        self.wake_r.recv(4096)
                    elif key.data in self.doors:
                        self._open_door(key.data)
                    elif isinstance(key.data, Stream):
                        key.data.pump()
                    elif key.data is self.sock and not self.down:
                        self._receive()
            with self.changed:
                self._flush()
                self.changed.notify_all()
        for sock in [self.wake_r, self.wake_w, *self.doors, *self.bridges]:
            sock.close()
