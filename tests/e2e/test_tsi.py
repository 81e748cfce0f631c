# SPDX-License-Identifier: MIT
"""TSI, with a guest that does what an AF_TSI kernel does (netctltest/tsi.py) over the stream transport."""

import base64
import errno
import hashlib
import os
import socket
import struct
import threading
import time

import pytest

from netctltest import tsi, vsock, xfer
from netctltest.daemon import Daemon
from netctltest.namespace import Namespace
from netctltest.process import SANITIZED, SLOW, wait_for
from netctltest.servers import (DnsServer, UdpEcho, WebServer, _name, connect_refused, fetch,
                                free_port, loopback)

MiB = 1024 * 1024
FORBIDDEN = "192.0.2.66"
POLICY = {"default": "allow", "rules": [
    {"action": "deny", "to": [FORBIDDEN + "/32"]},
    {"action": "deny", "to": ["127.0.0.0/8"], "ports": ["4000-4010"]},
    {"action": "deny", "to": ["2001:db8:66::/48"]}]}
MALFORMED = "tsi.malformed"


class TsiVM:
    """A VM of netctld's with a TSI guest."""

    def __init__(self, daemon, name="tsi", cid=3, buf_alloc=262144, **body):
        self.daemon, self.name = daemon, name
        body.setdefault("policy", POLICY)
        body.setdefault("host_access", True)
        record = daemon.ask("POST", "/v1/vms", dict(body, name=name, link={"kind": "none"},
                                                    vsock={"kind": "stream", "cid": cid}))
        self.guest = tsi.Guest(record["vsock"]["path"], buf_alloc=buf_alloc)

    def forward(self, spec):
        return self.daemon.netctl("forward", "add", self.name, spec)["listen"]["port"]

    def unforward(self, port):
        self.daemon.netctl("forward", "delete", self.name, "tcp:127.0.0.1:%d" % port)

    def listeners(self):
        return self.daemon.ask("GET", "/v1/vms/%s/listeners" % self.name)["items"]

    def counters(self):
        return self.daemon.counters(self.name)

    def close(self):
        self.guest.close()
        assert not self.guest.violations, self.guest.violations[:5]


@pytest.fixture(scope="module")
def shared_vm(shared_daemon):
    dns = DnsServer({("page.example", 1): ["192.0.2.80"]}, addr=loopback(3), port=53 if os.geteuid() == 0 else 0)
    it = TsiVM(shared_daemon, dns={"upstreams": ["%s:%d" % (dns.addr, dns.port)]})
    it.dns = dns
    yield it
    it.close()
    dns.close()


@pytest.fixture
def vm(shared_vm):
    """A VM for all tests, which must leave no listener, and no reply that nobody asked for."""
    yield shared_vm
    wait_for(lambda: not shared_vm.listeners(), 5, "no listener is left")
    assert not shared_vm.guest.unread(), shared_vm.guest.unread()
    strays, shared_vm.guest.strays = shared_vm.guest.strays, []  # not the next test's
    assert not strays, strays


@pytest.fixture
def guest(vm):
    return vm.guest


@pytest.fixture
def own_vm(daemon):
    """A VM of the test's own."""
    it = TsiVM(daemon)
    yield it
    it.close()


def fails_with(code, call, *args):
    began = time.monotonic()
    with pytest.raises(OSError) as failure:
        call(*args)
    assert failure.value.errno == code, failure.value
    return time.monotonic() - began


def get(stream, path="/"):
    stream.send(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode())
    head, _, body = stream.recv_all().partition(b"\r\n\r\n")
    return int(head.split()[1]), body


class EchoServer:
    """Sends back what comes; remembers who came."""

    def __init__(self, addr="127.0.0.1", family=socket.AF_INET):
        self.sock = socket.create_server((addr, 0), family=family, backlog=256)
        self.port = self.sock.getsockname()[1]
        self.clients = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                client, peer = self.sock.accept()
            except OSError:
                return
            self.clients.append(peer)
            threading.Thread(target=self._echo, args=(client,), daemon=True).start()

    def _echo(self, client):
        with client:
            try:
                while True:
                    data = client.recv(1 << 18)
                    if not data:
                        client.shutdown(socket.SHUT_WR)
                        return
                    client.sendall(data)
            except OSError:
                pass

    def close(self):
        self.sock.close()


@pytest.fixture
def echo():
    server = EchoServer()
    yield server
    server.close()


def echoes(stream, data=b"a few bytes"):
    threading.Thread(target=lambda: (stream.send(data), stream.shutdown()), daemon=True).start()
    return hashlib.sha256(stream.recv_all(20)).digest() == hashlib.sha256(data).digest()


# --- streams out ---------------------------------------------------------------------------------

def test_fetch(guest, web):
    with guest.connect_tsi("127.0.0.1", web.port) as sock:
        assert get(sock.stream) == (200, b"hello from the host\n")


def test_many_bytes_both_ways(guest, echo):
    with guest.connect_tsi("127.0.0.1", echo.port) as sock:
        assert echoes(sock.stream, os.urandom(20 * MiB // SLOW))


def test_hundred_at_once(guest, echo):
    socks = [guest.connect_tsi("127.0.0.1", echo.port) for _ in range(100)]
    for i, sock in enumerate(socks):
        sock.stream.send(b"number %d" % i)
    for i, sock in enumerate(socks):
        assert sock.stream.recv_exact(len(b"number %d" % i)) == b"number %d" % i
        sock.close()


def test_ipv6_loopback_is_the_hosts_loopback(guest):
    """Which the policy judges as the gateway address."""
    server = EchoServer("::1", socket.AF_INET6)
    with guest.connect_tsi("::1", server.port) as sock:
        assert sock.getname() == ("::1", server.port)
        assert echoes(sock.stream)
    server.close()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server, guest.udp(tsi.AF_INET6) as sock:
        server.bind(("::1", 0))
        server.settimeout(5)
        sock.sendto(b"six", "::1", server.getsockname()[1])
        data, sender = server.recvfrom(100)
        server.sendto(data * 2, sender)
        assert sock.recv() == b"sixsix"


def test_ipv4_in_an_ipv6_socket(guest, echo):
    """Its names are of the guest's family; the policy sees the address that it is."""
    with guest.connect_tsi("::ffff:127.0.0.1", echo.port) as sock:
        assert sock.getname() == ("::ffff:127.0.0.1", echo.port)
        assert echoes(sock.stream)
    with guest.tcp(tsi.AF_INET6) as sock:
        fails_with(errno.EACCES, sock.connect, "::ffff:" + FORBIDDEN, 80)


def test_half_close_by_the_guest(vm, guest):
    listener = xfer.Listener(vm.daemon.directory, "--count", 1, "--answer", "--delay", 500, "--send", 300000)
    with guest.connect_tsi("127.0.0.1", listener.port) as sock:
        sock.stream.send(b"x" * 1000)
        sock.stream.shutdown()
        assert len(sock.stream.recv_all()) == 300000
    assert listener.results()[0]["rx"] == 1000


def test_half_close_by_the_server(vm, guest):
    """The end after the last byte is not held back."""
    listener = xfer.Listener(vm.daemon.directory, "--count", 1, "--send", 300000)
    with guest.connect_tsi("127.0.0.1", listener.port) as sock:
        began = time.monotonic()
        assert len(sock.stream.recv_all()) == 300000
        assert time.monotonic() - began < 1 * SLOW
        sock.stream.send(b"y" * 2000)
        sock.stream.shutdown()
        assert listener.results()[0]["rx"] == 2000


def test_reset_by_the_server(vm, guest):
    listener = xfer.Listener(vm.daemon.directory, "--count", 1, "--no-fin", "--rst-rx", 1000)
    sock = guest.connect_tsi("127.0.0.1", listener.port)
    sock.stream.send(b"x" * 1000)
    with pytest.raises(ConnectionResetError):
        sock.stream.recv()
    sock.release(tsi.STREAM_PORT)


def test_reset_by_the_guest(vm, guest):
    # Its FIN could cross the reset, and find nobody.
    listener = xfer.Listener(vm.daemon.directory, "--count", 1, "--no-fin")
    sock = guest.connect_tsi("127.0.0.1", listener.port)
    sock.stream.send(b"x" * 1000)
    sock.stream.abort()
    assert listener.results()[0]["end"] == "reset"
    sock.release(tsi.STREAM_PORT)


def test_release_before_shutdown_loses_no_byte(vm, guest):
    """A server that reads slowly gets everything that the guest wrote before it closed."""
    listener = xfer.Listener(vm.daemon.directory, "--count", 1, "--rx-rate", 500000, "--rcvbuf", 16384)
    sock = guest.connect_tsi("127.0.0.1", listener.port)
    sock.stream.send(b"z" * MiB)
    sock.release(tsi.STREAM_PORT)
    sock.stream.close()
    report = listener.results(30)[0]
    assert (report["end"], report["rx"]) == ("eof", MiB)
    sock.stream.wait_over()


@pytest.mark.parametrize("peer_port", [0, 620])
def test_release_of_a_live_stream_closes_nothing(guest, echo, peer_port):
    sock = guest.connect_tsi("127.0.0.1", echo.port)
    sock.release(peer_port)
    assert echoes(sock.stream)
    sock.stream.close()


# --- getname -------------------------------------------------------------------------------------

def test_names_of_an_outbound_stream(guest, echo):
    with guest.connect_tsi("127.0.0.1", echo.port) as sock:
        assert sock.getname(peer=True) == ("127.0.0.1", echo.port)
        assert sock.getname(peer=True, peer_port=620) == ("127.0.0.1", echo.port)
        addr, port = sock.getname(peer=False)
        socket.inet_aton(addr)
        assert port > 0


def test_name_of_nothing(guest):
    sock = guest.tcp(create=False)
    with pytest.raises(OSError):
        sock.getname()


# --- refusals ------------------------------------------------------------------------------------

def test_refused(guest):
    with guest.tcp() as sock:
        assert fails_with(errno.ECONNREFUSED, sock.connect, "127.0.0.1", free_port()) < 1 * SLOW


def test_forbidden(vm, guest):
    before = vm.counters()["egress.refused_by_policy"]
    with guest.tcp() as sock:
        assert fails_with(errno.EACCES, sock.connect, FORBIDDEN, 80) < 1 * SLOW
    with guest.tcp(tsi.AF_INET6) as sock:
        fails_with(errno.EACCES, sock.connect, "2001:db8:66::1", 80)
    with guest.udp() as sock:
        fails_with(errno.EACCES, sock.connect, FORBIDDEN, 80)
    assert vm.counters()["egress.refused_by_policy"] == before + 3


def test_forbidden_on_loopback_is_refused(guest):
    """Programs wait for ports in loops, and -EACCES kills them."""
    with guest.tcp() as sock:
        fails_with(errno.ECONNREFUSED, sock.connect, "127.0.0.1", 4005)


def test_socket_goes_on_after_a_refusal(guest, echo):
    """A program may try the same socket again."""
    with guest.tcp() as sock:
        fails_with(errno.ECONNREFUSED, sock.connect, "127.0.0.1", free_port())
        sock.connect("127.0.0.1", echo.port)
        assert echoes(sock.stream)


def connect_body(family, port=80):
    return struct.pack("<H", family) + struct.pack(">H", port) + b"\0" * 24


@pytest.mark.parametrize("family", [0, 1, 3, 40, 65535])
def test_other_family(guest, family):
    sock = guest.tcp(create=False)
    body = struct.pack("<I", sock.svm_port) + tsi.padded(connect_body(family))
    assert sock.ask_result(tsi.CONNECT, body) == -errno.EAFNOSUPPORT


WHOLE = {
    tsi.CONNECT: struct.pack("<I", 77) + tsi.padded(tsi.sockaddr("127.0.0.1", 80)),
    tsi.GETNAME: struct.pack("<III", 77, 0, 1),
    tsi.LISTEN: struct.pack("<III", 77, 78, 5) + tsi.padded(tsi.sockaddr("0.0.0.0", 80)),
    tsi.ACCEPT: struct.pack("<Ii", 77, 0),
    tsi.PROXY_CREATE: struct.pack("<IHH", 77, 2, 1),
    tsi.SENDTO_ADDR: struct.pack("<I", 77) + tsi.padded(tsi.sockaddr("127.0.0.1", 80)),
    tsi.PROXY_RELEASE: struct.pack("<II", 77, 0),
}
ANSWERED = (tsi.CONNECT, tsi.GETNAME, tsi.LISTEN, tsi.ACCEPT)
# A body without the whole of addr[] has everything that its addr_len asks for.
CUTS = [(operation, cut) for operation, body in WHOLE.items() for cut in sorted({0, 3, 7, len(body) - 1})
        if cut < len(body)]


@pytest.mark.parametrize("operation, cut", [c for c in CUTS if c[0] in ANSWERED])
def test_body_cut_short_is_answered(vm, guest, operation, cut):
    before = vm.counters()[MALFORMED]
    sock = guest.tcp(create=False)
    reply = sock.ask(operation, WHOLE[operation][:cut])
    assert struct.unpack_from("<i", reply)[0] == -errno.EINVAL
    assert vm.counters()[MALFORMED] == before + 1


@pytest.mark.parametrize("operation, cut", [c for c in CUTS if c[0] not in ANSWERED])
def test_body_cut_short_is_passed_over(vm, guest, operation, cut):
    before = vm.counters()[MALFORMED]
    sock = guest.tcp(create=False)
    sock.tell(operation, WHOLE[operation][:cut])
    wait_for(lambda: vm.counters()[MALFORMED] == before + 1, 3, "it is counted")
    assert not guest.inbox(sock.control)


@pytest.mark.parametrize("addr, claimed", [
    (tsi.sockaddr("127.0.0.1", 80), 129), (tsi.sockaddr("127.0.0.1", 80), 0xffffffff),
    (tsi.sockaddr("127.0.0.1", 80), 7), (tsi.sockaddr("127.0.0.1", 80), 0),
    (tsi.sockaddr("::1", 80), 16), (tsi.sockaddr("::1", 80), 23), (b"\2", 1)])
@pytest.mark.parametrize("operation", [tsi.CONNECT, tsi.LISTEN])
def test_address_of_a_wrong_length(guest, operation, addr, claimed):
    sock = guest.tcp(create=False)
    head = struct.pack("<I", sock.svm_port) if operation == tsi.CONNECT else struct.pack(
        "<III", sock.svm_port, 5, 5)
    body = head + struct.pack("<I", claimed) + addr.ljust(128, b"\0")
    assert sock.ask_result(operation, body) == -errno.EINVAL


@pytest.mark.parametrize("family, kind", [(1, 1), (2, 3), (2, 5), (99, 1), (10, 0), (2, 2049)])
def test_proxy_of_no_sense(guest, echo, family, kind):
    """Silence, and the guest goes on."""
    guest.tcp(create=False).tell(tsi.PROXY_CREATE, struct.pack("<IHH", guest.fresh_port(), family, kind))
    with guest.connect_tsi("127.0.0.1", echo.port) as sock:
        assert echoes(sock.stream)


@pytest.mark.parametrize("port", [1023, 1032, 0, 0xffffffff])
def test_datagram_to_no_operation(guest, echo, port):
    guest.send_datagram(guest.fresh_port(), port, b"x" * 100)
    with guest.connect_tsi("127.0.0.1", echo.port) as sock:
        assert echoes(sock.stream)


def test_request_to_620_without_a_connect(guest):
    with pytest.raises(vsock.Refused):
        guest.connect_to(tsi.STREAM_PORT)


def test_parked_socket_is_claimed_once(guest, echo):
    with guest.connect_tsi("127.0.0.1", echo.port) as sock:
        assert echoes(sock.stream)
    with pytest.raises(vsock.Refused):
        guest.connect_to(tsi.STREAM_PORT, from_port=sock.svm_port)


def test_parked_socket_that_nobody_claims(guest, echo):
    """It is closed after 10 s."""
    server = socket.create_server(("127.0.0.1", 0))
    sock = guest.tcp()
    assert sock.connect_result("127.0.0.1", server.getsockname()[1]) == 0
    client, _ = server.accept()
    client.settimeout(15)
    began = time.monotonic()
    try:
        assert client.recv(1) == b""
    except ConnectionResetError:
        pass
    assert 8 < time.monotonic() - began < 13
    with pytest.raises(vsock.Refused):
        guest.connect_to(tsi.STREAM_PORT, from_port=sock.svm_port)
    sock.close()
    client.close()
    server.close()


@pytest.mark.parametrize("svm_port", [0, 12345])
def test_release_of_what_was_never_there(vm, guest, echo, svm_port):
    before = vm.counters()[MALFORMED]
    guest.tcp(create=False).tell(tsi.PROXY_RELEASE, struct.pack("<II", svm_port, 0))
    with guest.connect_tsi("127.0.0.1", echo.port) as sock:
        assert echoes(sock.stream)
    assert vm.counters()[MALFORMED] == before


def test_one_svm_port_used_again(guest, echo):
    """Whatever comes in the wrong order gets its one reply."""
    sock = guest.tcp()
    for _ in range(3):
        assert sock.connect_result("127.0.0.1", echo.port) <= 0
    sock.tell(tsi.PROXY_CREATE, struct.pack("<IHH", sock.svm_port, 2, 2))
    sock.listen_result()
    sock.connect_result("127.0.0.1", echo.port)
    sock.accept_result()
    sock.release(620)
    sock.release(0)


# --- listeners -----------------------------------------------------------------------------------

@pytest.fixture
def page():
    server = WebServer({"/": b"hello from the guest\n"})
    yield server
    server.close()


def served(port):
    return fetch("127.0.0.1", port) == (200, b"hello from the guest\n")


def test_served_through_first(vm, guest, page):
    with guest.serve(("127.0.0.1", page.port), 8080) as sock:
        port = vm.forward("tcp:0:tsi")
        assert served(port)
        listener, = vm.listeners()
        assert listener["svm_port"] == sock.svm_port and listener["vm_port"] == sock.vm_port
        assert (listener["family"], listener["addr"], listener["port"]) == ("ipv4", "0.0.0.0", 8080)
        assert vm.daemon.netctl("listener", "list", vm.name)["items"] == [listener]
    vm.unforward(port)


def test_listener_is_bound_to_loopback(vm, guest, page):
    """A listen never opens a port to anybody but the host itself."""
    with guest.serve(("127.0.0.1", page.port), 8080):
        addr, _, port = vm.listeners()[0]["host"].rpartition(":")
        assert addr == "127.0.0.1"
        assert served(int(port))
        connect_refused(loopback(4), int(port))
    wait_for(lambda: not vm.listeners(), 3, "the listener is gone")
    connect_refused("127.0.0.1", int(port))


def test_forward_by_vm_port_and_by_bound_port(vm, guest, page):
    other = WebServer({"/": b"the other\n"})
    with guest.serve(("127.0.0.1", other.port), 81) as first, guest.serve(("127.0.0.1", page.port), 80) as second:
        ports = [vm.forward("tcp:0:tsi"), vm.forward("tcp:0:tsi:%d" % second.vm_port), vm.forward("tcp:0:tsi@80"),
                 vm.forward("tcp:0:tsi:%d" % first.vm_port), vm.forward("tcp:0:tsi@81")]
        assert [served(port) for port in ports] == [False, True, True, False, False]
    other.close()
    for port in ports:
        vm.unforward(port)


def test_first_is_ipv4_before_ipv6(vm, guest, page):
    other = WebServer({"/": b"the other\n"})
    port = vm.forward("tcp:0:tsi")
    with guest.serve(("127.0.0.1", other.port), 8080, "::"):
        assert fetch("127.0.0.1", port)[1] == b"the other\n"
        assert vm.listeners()[0]["family"] == "ipv6"
        with guest.serve(("127.0.0.1", page.port), 8081):
            assert served(port)
        wait_for(lambda: len(vm.listeners()) == 1, 3, "the IPv4 listener is gone")
        assert fetch("127.0.0.1", port)[1] == b"the other\n"
    other.close()
    vm.unforward(port)


def test_forward_before_anybody_listens(vm, guest, page):
    port = vm.forward("tcp:0:tsi@8080")
    with pytest.raises(ConnectionResetError):
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            if client.recv(1) == b"":
                raise AssertionError("an orderly end instead of a reset")
    with guest.serve(("127.0.0.1", page.port), 8080):
        assert served(port)
    vm.unforward(port)


def test_listener_that_refuses(vm, guest):
    """RST instead of RESPONSE resets the client."""
    sock = guest.tcp()
    assert sock.listen_result() == 0
    port = vm.forward("tcp:0:tsi")
    with pytest.raises(ConnectionResetError):
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            if client.recv(1) == b"":
                raise AssertionError("an orderly end instead of a reset")
    sock.release(620)
    vm.unforward(port)


def test_accept_and_the_clients_name(vm, guest):
    with guest.tcp().listen(port=8080) as sock:
        port = vm.forward("tcp:0:tsi")
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(b"hello")
            stream = sock.accept()
            assert stream.recv() == b"hello"
            assert sock.getname(True, stream.peer_port) == client.getsockname()
            stream.send(b"and back")
            client.settimeout(5)
            assert client.recv(100) == b"and back"
            tsi.accepted_close(sock, stream)
            assert client.recv(1) == b""
    vm.unforward(port)


def test_name_of_an_ipv4_client_of_an_ipv6_listener(vm, guest):
    with guest.tcp(tsi.AF_INET6).listen("::", 8080) as sock:
        port = vm.forward("tcp:0:tsi")
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            stream = sock.accept()
            addr, client_port = client.getsockname()
            assert sock.getname(True, stream.peer_port) == ("::ffff:" + addr, client_port)
            tsi.accepted_close(sock, stream)
    vm.unforward(port)


def test_connections_outlive_their_listener(vm, guest):
    sock = guest.tcp().listen(port=8080)
    port = vm.forward("tcp:0:tsi")
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        stream = sock.accept()
        sock.close()
        wait_for(lambda: not vm.listeners(), 3, "the listener is gone")
        client.sendall(b"still here")
        assert stream.recv() == b"still here"
        tsi.accepted_close(sock, stream)
    vm.unforward(port)


def test_listen_again_is_fine(vm, guest, page):
    with guest.serve(("127.0.0.1", page.port), 8080) as sock:
        for _ in range(3):
            assert sock.listen_result(port=8080) == 0
        assert len(vm.listeners()) == 1


def test_listen_creates_the_proxy(vm, guest):
    """After a restore the guest's sockets go on without another PROXY_CREATE."""
    with guest.tcp(create=False).listen(port=8080):
        assert len(vm.listeners()) == 1


@pytest.mark.parametrize("addr", ["127.0.0.1", "0.0.0.0", "127.0.0.9", "10.0.2.15"])
def test_loopback_in_the_guest(vm, guest, page, addr):
    """When LISTEN was answered 0 the guest does not listen in its own stack."""
    with guest.serve(("127.0.0.1", page.port), 4005):  # which is forbidden on the host
        with guest.connect_tsi(addr, 4005) as sock:
            assert get(sock.stream) == (200, b"hello from the guest\n")
            assert sock.getname()[1] == 4005
    with guest.tcp() as sock:
        with pytest.raises(OSError):
            sock.connect("127.0.0.1", 4005)


def test_loopback_to_ipv6_listener(vm, guest, page):
    with guest.serve(("127.0.0.1", page.port), 4006, "::"):
        for addr in ("::1", "::"):
            with guest.connect_tsi(addr, 4006) as sock:
                assert get(sock.stream)[1] == b"hello from the guest\n"


def test_loopback_where_the_listener_does_not_answer(guest):
    sock = guest.tcp()
    assert sock.listen_result(port=4007) == 0
    other = guest.tcp()
    try:
        other.connect("127.0.0.1", 4007)
        with pytest.raises(ConnectionResetError):
            if other.stream.recv(timeout=10) == b"":
                raise ConnectionResetError
    except OSError:
        pass
    other.close()
    sock.release(620)


def attach(vm, to, prefix):
    with socket.create_server(("127.0.0.1", 0)) as server:
        mine = socket.create_connection(server.getsockname(), 5)
        theirs, _ = server.accept()
    with theirs:
        answer = vm.daemon.attach().ask({"op": "stream", "vm": vm.name, "to": to,
                                         "prefix": base64.b64encode(prefix).decode()}, [theirs.fileno()])
    return mine, answer


@pytest.mark.parametrize("how", ["tsi", "tsi:%d", "tsi@8080"])
def test_attach(vm, guest, how):
    with guest.tcp().listen(port=8080) as sock:
        client, answer = attach(vm, how % sock.vm_port if "%" in how else how, b"prefix ")
        with client:
            assert answer["ok"], answer
            client.sendall(b"and more")
            stream = sock.accept()
            assert stream.recv_exact(15) == b"prefix and more"
            assert sock.getname(True, stream.peer_port) == client.getsockname()
            tsi.accepted_close(sock, stream)


def test_attach_without_a_listener(vm, guest):
    client, answer = attach(vm, "tsi", b"prefix ")
    client.close()
    assert answer["ok"] is False and answer["title"]


def test_listeners_have_a_bound(vm, guest):
    """Beyond it the guest is told to listen in its own stack; those before go on."""
    socks, results = [], []
    for i in range(260):
        socks.append(guest.tcp())
        results.append(socks[-1].listen_result(port=10000 + i))
    assert results[:256] == [0] * 256
    assert set(results[256:]) <= {-errno.EPERM, -errno.EADDRINUSE, -errno.EADDRNOTAVAIL} and 0 not in results[256:]
    assert len(vm.listeners()) == 256
    for sock in socks:
        sock.release(620)
    wait_for(lambda: not vm.listeners(), 5, "all listeners are gone")


def fds_of(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def test_listen_in_a_loop(vm, guest):
    """No fd stays behind, in the worker or in netctld."""
    pids = [vm.daemon.worker_pid(vm.name), vm.daemon.process.pid]
    guest.tcp().listen(port=8080).close()
    wait_for(lambda: not vm.listeners(), 5, "no listener")
    before = [fds_of(pid) for pid in pids]
    for _ in range(500):
        sock = guest.tcp()
        assert sock.listen_result(port=8080) == 0
        sock.release(620)
    wait_for(lambda: not vm.listeners(), 5, "no listener")
    wait_for(lambda: all(fds_of(pid) <= n for pid, n in zip(pids, before)), 5, "the fds are closed")


def test_listen_while_netctld_is_away(own_vm):
    """The guest waits 5 s, is told to listen in its own stack, and goes on when netctld is back."""
    guest, daemon = own_vm.guest, own_vm.daemon
    kept = guest.tcp()
    assert kept.listen_result(port=8080) == 0
    daemon.kill()
    sock = guest.tcp()
    began = time.monotonic()
    assert sock.listen_result(port=8081) == -errno.EADDRNOTAVAIL
    assert 4 < time.monotonic() - began < 7 * SLOW
    daemon.start()
    assert [i["port"] for i in own_vm.listeners()] == [8080]
    assert sock.listen_result(port=8081) == 0
    assert len(own_vm.listeners()) == 2


def test_listener_lives_on_while_netctld_is_away(own_vm, page):
    guest, daemon = own_vm.guest, own_vm.daemon
    guest.serve(("127.0.0.1", page.port), 8080)
    port = own_vm.forward("tcp:0:tsi")
    assert served(port)
    daemon.kill()
    assert served(port)
    daemon.start()
    assert served(port)
    assert len(own_vm.listeners()) == 1


def test_worker_killed(own_vm, page):
    """The successor takes the listeners over: their guest sockets know nothing of it."""
    guest, daemon = own_vm.guest, own_vm.daemon
    guest.serve(("127.0.0.1", page.port), 8080)
    port = own_vm.forward("tcp:0:tsi@8080")
    before = own_vm.listeners()
    for _ in range(3):
        old = daemon.worker_pid(own_vm.name)
        os.kill(old, 9)
        wait_for(lambda: daemon.worker_pid(own_vm.name) != old, 5, "a new worker")
        wait_for(lambda: try_served(port), 3, "the page is served")
        assert own_vm.listeners() == before
        with guest.connect_tsi("127.0.0.1", 8080) as sock:
            assert get(sock.stream)[0] == 200


def try_served(port):
    try:
        return served(port)
    except OSError:
        return False


# --- datagrams -----------------------------------------------------------------------------------

def test_unconnected(guest, udp_echo):
    with guest.udp() as sock:
        for i in range(10):
            sock.sendto(b"datagram %d" % i, "127.0.0.1", udp_echo.port)
            assert sock.recv() == b"datagram %d" % i


def test_connected(guest, udp_echo):
    with guest.udp() as sock:
        sock.connect("127.0.0.1", udp_echo.port)
        for size in (0, 1, 1400, 9000, 60000):
            sock.send(b"d" * size)
            assert len(sock.recv()) == size
        assert sock.getname() == ("127.0.0.1", udp_echo.port)


def test_one_host_port_for_all_destinations(guest):
    """So NAT and servers see one source."""
    servers = [UdpEcho() for _ in range(4)]
    with guest.udp() as sock:
        for server in servers * 2:
            sock.sendto(b"who am I", "127.0.0.1", server.port)
            sock.recv()
        assert len({sender for server in servers for sender in server.senders}) == 1
    for server in servers:
        server.close()


def test_two_sockets_have_two_ports(guest, udp_echo):
    with guest.udp() as one, guest.udp() as other:
        for sock in (one, other):
            sock.sendto(b"x", "127.0.0.1", udp_echo.port)
            assert sock.recv() == b"x"
        assert len(set(udp_echo.senders)) == 2


@pytest.mark.parametrize("connected", [False, True])
def test_strangers_are_not_heard(guest, udp_echo, connected):
    with guest.udp() as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        if connected:
            sock.connect("127.0.0.1", udp_echo.port)
            sock.send(b"first")
        else:
            sock.sendto(b"first", "127.0.0.1", udp_echo.port)
        assert sock.recv() == b"first"
        host = udp_echo.senders[-1]
        stranger.sendto(b"stranger", host)
        time.sleep(0.2)
        if connected:
            sock.send(b"second")
        else:
            sock.sendto(b"second", "127.0.0.1", udp_echo.port)
        assert sock.recv() == b"second"


def test_known_to_another_socket_is_a_stranger_here(guest, udp_echo):
    """Who was spoken to is each socket's own."""
    second = UdpEcho()
    with guest.udp() as one, guest.udp() as other:
        one.sendto(b"x", "127.0.0.1", udp_echo.port)
        assert one.recv() == b"x"
        other.sendto(b"y", "127.0.0.1", second.port)
        assert other.recv() == b"y"
        udp_echo.sock.sendto(b"lost", second.senders[-1])
        time.sleep(0.2)
        other.sendto(b"z", "127.0.0.1", second.port)
        assert other.recv() == b"z"
    second.close()


def test_forbidden_datagram(vm, guest, udp_echo):
    before = vm.counters()["egress.refused_by_policy"]
    with guest.udp() as sock:
        sock.sendto(b"never", FORBIDDEN, 53530)
        sock.sendto(b"fine", "127.0.0.1", udp_echo.port)
        assert sock.recv() == b"fine"
    assert vm.counters()["egress.refused_by_policy"] == before + 1


def test_data_without_an_address(guest, udp_echo):
    """Goes nowhere."""
    with guest.udp() as sock:
        guest.send_datagram(sock.svm_port, tsi.SENDTO_DATA, b"where to?")
        sock.sendto(b"there", "127.0.0.1", udp_echo.port)
        assert sock.recv() == b"there"
    assert len(udp_echo.senders) == 1


def test_sendto_creates_the_proxy(guest, udp_echo):
    sock = guest.udp(create=False)
    sock.sendto(b"x", "127.0.0.1", udp_echo.port)
    assert sock.recv() == b"x"
    sock.release()


def test_release_closes_the_host_port(guest, udp_echo):
    sock = guest.udp()
    sock.sendto(b"x", "127.0.0.1", udp_echo.port)
    sock.recv()
    port = udp_echo.senders[-1][1]
    sock.release()

    def is_free():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return True
            except OSError:
                return False
    wait_for(is_free, 3, "the port is free")


def test_release_right_after_the_last_datagram(guest, udp_echo):
    """It has been sent."""
    for i in range(50):
        sock = guest.udp()
        sock.sendto(b"last", "127.0.0.1", udp_echo.port)
        sock.release()
    wait_for(lambda: len(udp_echo.senders) == 50, 5, "all have arrived")
    time.sleep(0.2)
    with guest.changed:
        for inbox in guest.inboxes.values():
            inbox.clear()


def query(name, kind=1, ident=4242):
    return struct.pack(">HHHHHH", ident, 0x0100, 1, 0, 0, 0) + _name(name) + struct.pack(">HH", kind, 1)


def is_answer(reply):
    return struct.unpack(">H", reply[:2])[0] == 4242 and socket.inet_aton("192.0.2.80") in reply


def test_dns_of_the_gateway_by_datagram(guest):
    with guest.udp() as sock:
        sock.sendto(query("page.example"), "10.0.2.2", 53)
        assert is_answer(sock.recv())
        sock.connect("10.0.2.2", 53)
        sock.send(query("page.example"))
        assert is_answer(sock.recv())


def test_dns_of_the_gateway_by_stream(guest):
    with guest.connect_tsi("10.0.2.2", 53) as sock:
        question = query("page.example")
        sock.stream.send(struct.pack(">H", len(question)) + question)
        size, = struct.unpack(">H", sock.stream.recv_exact(2))
        assert is_answer(sock.stream.recv_exact(size))


# --- what is slow delays nobody else ---------------------------------------------------------------

def full_listener():
    """A listener whose backlog is full: a further SYN gets no answer. Returns what keeps it so."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    held = [server]
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(server.getsockname())
        held.append(client)
    time.sleep(0.1)
    return server.getsockname()[1], held


def test_slow_destination_delays_nobody(vm, guest, echo, udp_echo):
    port, held = full_listener()
    slow = [guest.tcp() for _ in range(30)]
    for sock in slow:
        sock.tell(tsi.CONNECT, struct.pack("<I", sock.svm_port) + tsi.padded(tsi.sockaddr("127.0.0.1", port)))
    began = time.monotonic()
    for _ in range(20):
        with guest.connect_tsi("127.0.0.1", echo.port) as sock:
            assert echoes(sock.stream)
        with guest.udp() as sock:
            sock.sendto(b"x", "127.0.0.1", udp_echo.port)
            assert sock.recv() == b"x"
    assert time.monotonic() - began < 2 * SLOW
    for sock in slow:
        assert struct.unpack("<i", sock.reply(tsi.CONNECT, 15))[0] == -errno.ETIMEDOUT
        sock.close()
    assert 9 < time.monotonic() - began < 13 * SLOW
    for sock in held:
        sock.close()


@pytest.fixture
def far():
    """A VM whose host has an IPv6 address, a route that is "unreachable", and no default route."""
    holder = Daemon()
    namespace = Namespace("far", holder.directory)
    namespace.sh("ip route add unreachable 203.0.113.0/24; ip addr add 2001:db8::1/128 dev lo nodad")
    daemon = Daemon(holder.directory + "/d", prefix=namespace.nsenter)
    try:
        daemon.start()
        vm = TsiVM(daemon)
        vm.namespace = namespace
        yield vm
        vm.close()
    finally:
        daemon.stop()
        namespace.close()
        holder.cleanup()


def test_unreachable(far):
    with far.guest.tcp() as sock:
        fails_with(errno.EHOSTUNREACH, sock.connect, "203.0.113.1", 80)
    with far.guest.tcp() as sock:
        fails_with(errno.ENETUNREACH, sock.connect, "192.0.2.1", 80)


def test_ipv6(far):
    far.namespace.popen(["socat", "TCP6-LISTEN:7,fork,reuseaddr", "EXEC:cat"])
    far.namespace.popen(["socat", "UDP6-RECVFROM:7,fork", "EXEC:cat"])
    wait_for(lambda: far.namespace.run("ss -Hltun sport = :7")[1].count(":7") == 2, 5, "echo servers")
    with far.guest.connect_tsi("2001:db8::1", 7) as sock:
        assert sock.getname() == ("2001:db8::1", 7)
        assert echoes(sock.stream)
    with far.guest.udp(tsi.AF_INET6) as sock:
        sock.sendto(b"six", "2001:db8::1", 7)
        assert sock.recv() == b"six"
    with far.guest.udp(tsi.AF_INET6) as sock:
        sock.connect("2001:db8::1", 7)
        sock.send(b"connected")
        assert sock.recv() == b"connected"


# --- a guest that does not read --------------------------------------------------------------------

def test_hundred_thousand_requests_unread(own_vm):
    """Each gets its one reply, in order, when the guest reads at last; until then nothing grows."""
    own_vm.guest.disconnect()
    daemon, path = own_vm.daemon, own_vm.guest.path
    wait_for(lambda: not daemon.vm(own_vm.name)["vsock"]["connected"], 5, "the VMM has gone")
    link = vsock.Link(path, timeout=60)
    count = 100000
    worker = daemon.worker_pid(own_vm.name)
    before = rss(worker)

    def flood():
        body = struct.pack("<III", 1, 0, 1)
        for start in range(0, count, 100):
            link.send(*[vsock.Packet(src_port=1000000 + i, dst_port=tsi.GETNAME, type=vsock.DGRAM, payload=body)
                        for i in range(start, start + 100)])
    thread = threading.Thread(target=flood)
    thread.start()
    time.sleep(2)
    assert thread.is_alive(), "the host took everything, and keeps it"
    began = time.monotonic()
    daemon.netctl("forward", "add", own_vm.name, "tcp:0:tsi")
    assert time.monotonic() - began < 1 * SLOW
    if not SANITIZED:
        assert rss(worker) - before < 8 * 1024
    got = 0
    while got < count:
        packet = link.recv()
        assert packet.op == vsock.RW and packet.type == vsock.DGRAM, packet
        assert packet.dst_port == 1000000 + got
        got += 1
    thread.join()
    link.close()
    assert daemon.worker_pid(own_vm.name) == worker
    wait_for(lambda: not daemon.vm(own_vm.name)["vsock"]["connected"], 5, "the VMM has gone")
    own_vm.guest.connect()


def rss(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(next(line for line in f if line.startswith("VmRSS")).split()[1])
