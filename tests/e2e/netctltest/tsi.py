# SPDX-License-Identifier: MIT
"""What an AF_TSI kernel does, on top of a vsock.Guest: the sockets of a guest's programs.

Each has a vsock port of its own, svm_port, from which its control messages come; how they look and what is
answered is in the protocol's page.
"""

import errno
import socket
import struct

from . import vsock

(PROXY_CREATE, CONNECT, GETNAME, SENDTO_ADDR, SENDTO_DATA, LISTEN, ACCEPT, PROXY_RELEASE) = range(1024, 1032)
STREAM_PORT = 620
AF_INET, AF_INET6 = 2, 10  # as Linux has them, whatever this host is
SOCK_STREAM, SOCK_DGRAM = 1, 2
ADDR_MAX = 128


def sockaddr(addr, port):
    """A Linux sockaddr of an IPv4 or IPv6 address."""
    if ":" in addr:
        return struct.pack("<H", AF_INET6) + struct.pack(">HI", port, 0) + socket.inet_pton(
            socket.AF_INET6, addr) + struct.pack("<I", 0)
    return struct.pack("<H", AF_INET) + struct.pack(">H", port) + socket.inet_aton(addr) + b"\0" * 8


def from_sockaddr(data):
    """(address, port) of a sockaddr that is as long as its family wants."""
    family, = struct.unpack_from("<H", data)
    port, = struct.unpack_from(">H", data, 2)
    if family == AF_INET:
        assert len(data) == 16, data
        return socket.inet_ntoa(data[4:8]), port
    assert family == AF_INET6 and len(data) == 28, data
    return socket.inet_ntop(socket.AF_INET6, data[8:24]), port


def padded(addr):
    return struct.pack("<I", len(addr)) + addr.ljust(ADDR_MAX, b"\0")


def check(result, what):
    """result: 0 or a negative errno of Linux'."""
    if result:
        raise OSError(-result, "%s: %s" % (what, errno.errorcode.get(-result, result)))


class Socket:
    """A socket of a program's in the guest."""

    def __init__(self, guest, family=AF_INET, kind=SOCK_STREAM, create=True):
        self.guest = guest
        self.family, self.kind = family, kind
        self.svm_port = guest.fresh_port()
        self.vm_port = None
        self.stream = self.listener = None
        # Control messages come from a port of their own; what a program sends comes from svm_port.
        self.control = guest.fresh_port()
        guest.inbox(self.control)
        guest.inbox(self.svm_port)
        if create:
            self.tell(PROXY_CREATE, struct.pack("<IHH", self.svm_port, family, kind))

    # -- the eight operations ------------------------------------------------------------------

    def tell(self, operation, body):
        self.guest.send_datagram(self.control, operation, body)

    def reply(self, operation, timeout=15):
        """The reply to an operation that was told."""
        source, payload = self.guest.recv_datagram(self.control, timeout)
        assert source == operation, "a reply from %d instead of %d" % (source, operation)
        return payload

    def ask(self, operation, body, timeout=15):
        self.tell(operation, body)
        return self.reply(operation, timeout)

    def ask_result(self, operation, body, timeout=15):
        payload = self.ask(operation, body, timeout)
        assert len(payload) == 4, payload
        return struct.unpack("<i", payload)[0]

    def connect_result(self, addr, port, timeout=15):
        """What CONNECT answers: 0 or a negative errno."""
        return self.ask_result(CONNECT, struct.pack("<I", self.svm_port) + padded(sockaddr(addr, port)),
                               timeout)

    def listen_result(self, addr="0.0.0.0", port=8080, backlog=128, timeout=15):
        self.vm_port = self.vm_port or self.guest.fresh_port()
        return self.ask_result(LISTEN, struct.pack("<III", self.svm_port, self.vm_port, backlog)
                               + padded(sockaddr(addr, port)), timeout)

    def accept_result(self, flags=0):
        return self.ask_result(ACCEPT, struct.pack("<Ii", self.svm_port, flags))

    def getname(self, peer=True, peer_port=0):
        """(address, port); OSError where the host says so."""
        payload = self.ask(GETNAME, struct.pack("<III", self.svm_port, peer_port, 1 if peer else 0))
        assert len(payload) == 8 + ADDR_MAX, len(payload)
        result, length = struct.unpack_from("<iI", payload)
        check(result, "GETNAME")
        assert not any(payload[8 + length:]), "bytes behind the address"
        return from_sockaddr(payload[8:8 + length])

    def release(self, peer_port=0):
        self.tell(PROXY_RELEASE, struct.pack("<II", self.svm_port, peer_port))

    # -- what a program asks, as the kernel puts it -------------------------------------------------

    def connect(self, addr, port, timeout=15):
        """A program's connect(). A stream socket's bytes are then in self.stream."""
        check(self.connect_result(addr, port, timeout), "connect %s:%d" % (addr, port))
        if self.kind == SOCK_STREAM:
            self.stream = self.guest.connect_to(STREAM_PORT, timeout, from_port=self.svm_port)
        return self.stream

    def listen(self, addr="0.0.0.0", port=8080, backlog=128, bridge_to=None):
        check(self.listen_result(addr, port, backlog), "listen %s:%d" % (addr, port))
        self.listener = self.guest.listen(self.vm_port, bridge_to)
        return self

    def accept(self, timeout=10):
        """A Stream; what it came from is self.getname(True, stream.peer_port)."""
        check(self.accept_result(), "accept")
        return self.listener.accept(timeout)

    def send(self, data):
        """A datagram of a connected socket."""
        self.guest.send_datagram(self.svm_port, self.svm_port, data)

    def sendto(self, data, addr, port):
        self.tell(SENDTO_ADDR, struct.pack("<I", self.svm_port) + padded(sockaddr(addr, port)))
        self.guest.send_datagram(self.svm_port, SENDTO_DATA, data)

    def recv(self, timeout=5):
        """A datagram."""
        source, payload = self.guest.recv_datagram(self.svm_port, timeout)
        assert source == self.svm_port, "a datagram from port %d" % source
        return payload

    def close(self):
        """RELEASE goes ahead of the stream's SHUTDOWN."""
        if self.listener:
            self.listener.close()
            self.release(STREAM_PORT)
        elif self.stream:
            self.release(STREAM_PORT)
            self.stream.close()
        else:
            self.release()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def accepted_close(sock, stream):
    """The end of a connection that a listener took."""
    sock.release(stream.peer_port)
    stream.close()


class Guest(vsock.Guest):
    """A vsock guest with programs. Its sockets: tcp(), udp()."""

    def tcp(self, family=AF_INET, **options):
        return Socket(self, family, SOCK_STREAM, **options)

    def udp(self, family=AF_INET, **options):
        return Socket(self, family, SOCK_DGRAM, **options)

    def connect_tsi(self, addr, port, timeout=15):
        """A connected stream socket."""
        sock = self.tcp(AF_INET6 if ":" in addr else AF_INET)
        sock.connect(addr, port, timeout)
        return sock

    def serve(self, bridge_to, port=8080, addr="0.0.0.0"):
        """A program that listens, of which each connection is one to a server of this host's."""
        return self.tcp(AF_INET6 if ":" in addr else AF_INET).listen(addr, port, bridge_to=bridge_to)

    def unread(self):
        """Datagrams that nobody has taken: a second reply, or one that nobody asked for."""
        with self.changed:
            return {port: list(inbox) for port, inbox in self.inboxes.items() if inbox}
