# SPDX-License-Identifier: MIT
"""Names in the policy, as far as a flow's own bytes say the server: `verify`.

All names are at one address, where real servers (nginx with TLS, sshd, unbound's DoH) answer to them. The guest
is a namespace on a tap, or one without a network that uses TSI; both have the same words here.
Which addresses a name leads to is test_names_dns.py's.
"""

import ctypes
import errno
import json
import os
import re
import socket
import ssl
import struct
import tempfile
import threading
import time

import pytest

from netctltest import tsi
from netctltest.namespace import GATEWAY, TapGuest
from netctltest.process import SLOW, run, wait_for
from netctltest.servers import A, _name
from netctltest.world import World

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes sockets in namespaces")

RESOLVER, SHARED = "203.0.113.53", "203.0.113.80"
GOOD, EVIL = "api.example.com", "evil.example.com"
RETRY = 8443  # wants other key shares than clients offer
MAIL = 2525
QUIC_LIKE = 4433

ZONE = """$ORIGIN example.com.
$TTL 300
@       IN SOA ns root 1 3600 600 86400 60
@       IN NS ns
ns      IN A %(RESOLVER)s
api     IN A %(SHARED)s
evil    IN A %(SHARED)s
""" % globals()

NGINX = """
daemon off;
user root;
pid %(dir)s/wire.pid;
error_log stderr;
events { worker_connections 256; }
http {
    log_format names "$host|$ssl_server_name|$request|$request_length";
    access_log %(dir)s/wire.log names;
    client_body_temp_path %(dir)s/wiretmp;
    proxy_temp_path %(dir)s/wiretmp;
    fastcgi_temp_path %(dir)s/wiretmp;
    uwsgi_temp_path %(dir)s/wiretmp;
    scgi_temp_path %(dir)s/wiretmp;
    ssl_certificate %(dir)s/wire.crt;
    ssl_certificate_key %(dir)s/wire.key;
    client_max_body_size 64m;
    server {
        listen %(addr)s:80 default_server;
        listen %(addr)s:443 ssl http2 default_server;
        listen %(addr)s:%(retry)d ssl default_server;
        ssl_ecdh_curve secp384r1;
        server_name evil.example.com;
        location / { return 200 "evil\\n"; }
    }
    server {
        listen %(addr)s:80;
        listen %(addr)s:443 ssl http2;
        listen %(addr)s:%(retry)d ssl;
        server_name api.example.com;
        location / { return 200 "api\\n"; }
        location /body { proxy_pass http://%(addr)s:81/; }
    }
    server {
        listen %(addr)s:81;
        location / { return 200 "taken\\n"; }
    }
}
"""


@pytest.fixture(scope="module")
def world():
    with tempfile.TemporaryDirectory(prefix="nctw.") as directory:
        it = World(directory, [RESOLVER, SHARED])
        try:
            it.unbound(RESOLVER, {"example.com": ZONE}, https=True)
            it.certificate("wire", GOOD)
            config = it.file("wire.conf", NGINX % {"dir": directory, "addr": SHARED, "retry": RETRY})
            it.popen(["nginx", "-p", directory, "-c", config], "nginx")
            it.listens(SHARED, 443)
            it.popen(["socat", "TCP-LISTEN:%d,fork,reuseaddr" % MAIL,
                      "SYSTEM:echo 220 mail; read x; echo \"250 $x\"; cat"], "mail")
            it.listens(SHARED, MAIL)
            yield it
        finally:
            it.close()


@pytest.fixture
def daemon(world):
    it = world.daemon()
    try:
        it.start()
        yield it
        it.stop()
        assert not it.complaints(), it.complaints()[:5]
    finally:
        it.stop()
        it.cleanup()


def allow(*names, **more):
    return dict({"action": "allow", "to": list(names)}, **more)


STRICT = {"default": "deny", "rules": [allow(GOOD)]}
RESET = (ConnectionResetError, BrokenPipeError)


# ---- the two guests ----

def socket_inside(namespace, kind):
    """A socket of another network namespace."""
    made = []

    def make():
        with open(namespace.net) as f:
            assert ctypes.CDLL(None, use_errno=True).setns(f.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        made.append(socket.socket(socket.AF_INET, kind))
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


def query(name):
    return struct.pack(">HHHHHH", 77, 0x0100, 1, 0, 0, 0) + _name(name) + struct.pack(">HH", A, 1)


class TapClient:
    """A guest on a tap."""

    def __init__(self, daemon, policy):
        self.daemon = daemon
        self.guest = TapGuest(daemon, policy=policy, host_access=False, dns={"upstreams": [RESOLVER]})

    def resolve(self, name=GOOD):
        with socket_inside(self.guest, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect((GATEWAY, 53))
            sock.send(query(name))
            return sock.recv(999)[3] & 15

    def connect(self, port, addr=SHARED):
        """None: refused."""
        sock = socket_inside(self.guest, socket.SOCK_STREAM)
        sock.settimeout(15 * SLOW)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock.connect((addr, port))
        except ConnectionRefusedError:
            sock.close()
            return None
        return TapStream(sock)

    def datagram(self, port, data):
        """The answer; None: refused."""
        with socket_inside(self.guest, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect((SHARED, port))
            sock.send(data)
            try:
                return sock.recv(999)
            except OSError as error:
                assert error.errno in (errno.EHOSTUNREACH, errno.EACCES), error
                return None

    def close(self):
        self.guest.close()


class TapStream:
    def __init__(self, sock):
        self.sock = sock
        self.send = sock.sendall

    def recv(self):
        return self.sock.recv(65536)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


class TsiClient:
    """A guest without a network."""

    def __init__(self, daemon, policy):
        self.daemon = daemon
        record = daemon.ask("POST", "/v1/vms", {
            "name": "guest", "link": {"kind": "none"}, "vsock": {"kind": "stream", "cid": 3},
            "dns": {"upstreams": [RESOLVER]}, "policy": policy})
        self.guest = tsi.Guest(record["vsock"]["path"])

    def resolve(self, name=GOOD):
        with self.guest.udp() as sock:
            sock.connect(GATEWAY, 53)
            sock.send(query(name))
            return sock.recv()[3] & 15

    def connect(self, port, addr=SHARED):
        sock = self.guest.tcp()
        try:
            sock.connect(addr, port)
        except PermissionError:
            return None
        return TsiStream(sock)

    def datagram(self, port, data):
        with self.guest.udp() as sock:
            if sock.connect_result(SHARED, port) == -13:
                return None
            sock.send(data)
            return sock.recv()

    def close(self):
        self.guest.close()


class TsiStream:
    def __init__(self, sock):
        self.sock = sock

    def send(self, data):
        self.sock.stream.send(data)

    def recv(self):
        return self.sock.stream.recv(timeout=15 * SLOW)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


@pytest.fixture(params=[TapClient, TsiClient], ids=["tap", "tsi"])
def guest(request, daemon):
    it = request.param(daemon, STRICT)
    it.resolve()
    yield it
    it.close()


def put(guest, *rules):
    guest.daemon.ask("PUT", "/v1/vms/guest/policy", {"default": "deny", "rules": list(rules)})


# ---- what they say ----

class Tls:
    """A TLS client whose bytes the test may send as it likes."""

    def __init__(self, stream, name, alpn=None):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if alpn:
            context.set_alpn_protocols(alpn)
        self.stream = stream
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def hello(self):
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def _do(self, call, *args):
        while True:
            try:
                done = call(*args)
                self._flush()
                return done
            except ssl.SSLWantReadError:
                self._flush()
                data = self.stream.recv()
                if not data:
                    raise EOFError("the server has ended") from None
                self.incoming.write(data)

    def _flush(self):
        data = self.outgoing.read()
        if data:
            self.stream.send(data)

    def handshake(self):
        self._do(self.tls.do_handshake)
        return self

    def get(self, host):
        self._do(self.tls.write, request(host))
        return read_response(lambda: self._do(self.tls.read, 65536))


def request(host, path="/"):
    return ("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (path, host)).encode()


def read_response(recv):
    """(status, body)."""
    text = b""
    while True:
        head, found, body = text.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.I)
        if found and length and len(body) >= int(length[1]):
            return int(head.split()[1]), body[:int(length[1])].decode()
        data = recv()
        if not data:
            raise EOFError(text)
        text += data


def https(guest, name, port=443):
    with guest.connect(port) as stream:
        return Tls(stream, name).handshake().get(name)


def is_reset(guest, data, port=80, pieces=None):
    """Whether saying this to the server is answered by a reset, and by nothing else."""
    with guest.connect(port) as stream:
        with pytest.raises(RESET):
            for piece in pieces or [data]:
                stream.send(piece)
            assert stream.recv() == b"?"
    return True


def refusals(daemon, **want):
    text = daemon.api("GET", "/v1/events?since=0").body.decode()
    found = [e["data"] for e in map(json.loads, text.splitlines()) if e["type"] == "flow.refused"]
    return [e for e in found if all(e.get(k) == v for k, v in want.items())]


def served(world, name):
    with open(os.path.join(world.directory, "wire.log")) as f:
        return sum(1 for line in f if name in line)


def lengths(world):
    """What nginx read of requests for /body."""
    with open(os.path.join(world.directory, "wire.log")) as f:
        return [int(line.rpartition("|")[2]) for line in f if "|POST /body " in line]


# ---- TLS ----

def test_server_name_of_the_policy_and_no_other(world, guest):
    assert https(guest, GOOD) == (200, "api\n")
    seen = served(world, EVIL)
    assert is_reset(guest, Tls(None, EVIL).hello(), 443)
    assert https(guest, GOOD.upper()) == (200, "api\n")
    assert served(world, EVIL) == seen
    event = wait_for(lambda: refusals(guest.daemon, name=EVIL), 5, "the refusal")[0]
    assert (event["to"], event["port"], event["proto"], event["by"]) == (SHARED, 443, "tcp", "default")
    counters = guest.daemon.counters("guest")
    assert counters["verify.tls_hellos"] == 3 and counters["verify.refused_name"] == 1


def test_no_server_name(guest):
    assert is_reset(guest, Tls(None, None).hello(), 443)
    event = wait_for(lambda: refusals(guest.daemon, port=443), 5, "the refusal")[0]
    assert (event["by"], event["rule"], event["name"]) == ("rule", 0, GOOD)
    put(guest, allow(GOOD), allow("203.0.113.0/24"))
    with guest.connect(443) as stream:
        assert Tls(stream, None).handshake().get(EVIL) == (200, "evil\n")


def records(hello, size):
    """The same handshake message in records of so many bytes."""
    assert struct.unpack(">H", hello[3:5])[0] == len(hello) - 5
    parts = [hello[i:i + size] for i in range(5, len(hello), size)]
    return b"".join(hello[:3] + struct.pack(">H", len(p)) + p for p in parts)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_split_hello(guest, size):
    for name in (GOOD, EVIL):
        with guest.connect(443) as stream:
            tls = Tls(stream, name)
            hello = records(tls.hello(), size)
            try:
                for i in range(0, len(hello), 97):  # segments of the same, or packets
                    stream.send(hello[i:i + 97])
                    if i < 400:
                        time.sleep(0.005)
                tls.handshake()
                ok = tls.get(name) == (200, "api\n")
            except RESET:
                ok = False
            assert ok == (name == GOOD)


def test_second_hello_that_a_server_asks_for(guest):
    assert https(guest, GOOD, RETRY) == (200, "api\n")
    with guest.connect(RETRY) as stream:
        stream.send(Tls(None, GOOD).hello())
        assert stream.recv()[:1] == b"\x16"  # HelloRetryRequest
        with pytest.raises(RESET):
            stream.send(Tls(None, EVIL).hello())
            assert stream.recv() == b"?"
    assert wait_for(lambda: refusals(guest.daemon, name=EVIL, port=RETRY), 5, "the refusal")


def test_truncated_and_giant_hellos(guest):
    hello = Tls(None, GOOD).hello()
    for bad in (b"\x16\x03\x01\xff\xff\x01", hello[:5] + b"\x02" + hello[6:], b"\x16\x03\x01\x00\x00" + hello,
                hello[:3] + b"\x40\x00\x01\x00\x80\x00" + bytes(40000), b"\x80\x2e\x01\x03\x01"):
        assert is_reset(guest, bad, 443)
    with guest.connect(443) as stream:
        stream.send(hello[:-1])
        with pytest.raises(RESET):
            assert stream.recv() == b"?"  # after 10 s
    counters = guest.daemon.counters("guest")
    assert counters["verify.late"] == 1 and counters["verify.refused_protocol"] >= 4
    assert https(guest, GOOD) == (200, "api\n")


# ---- HTTP ----

def test_each_request_on_a_kept_connection(world, guest):
    seen = served(world, EVIL)
    with guest.connect(80) as stream:
        for _ in range(3):
            stream.send(request(GOOD))
            assert read_response(stream.recv) == (200, "api\n")
        with pytest.raises(RESET):
            stream.send(request(EVIL))
            assert stream.recv() == b"?"
    assert served(world, EVIL) == seen
    assert wait_for(lambda: refusals(guest.daemon, name=EVIL, port=80), 5, "the refusal")


def test_pipelined_requests(world, guest):
    seen = served(world, EVIL)
    with guest.connect(80) as stream:
        stream.send(request(GOOD, "/1") + request(GOOD, "/2"))
        assert read_response(stream.recv) == (200, "api\n")
    with guest.connect(80) as stream:
        with pytest.raises(RESET):
            stream.send(request(GOOD, "/3") + request(EVIL, "/4"))
            while True:
                assert b"evil" not in stream.recv()
    assert served(world, EVIL) == seen


@pytest.mark.parametrize("what", [
    "Host: 203.0.113.80", "Host: 203.0.113.80:80", "X: no host", "Host: api.example.com\r\nHost: evil.example.com",
    "Host: api.example.com\r\nHost: api.example.com", "Host:", "Host: evil.example.com:80",
    "Host: api.example.com.evil.example.com", "Host : api.example.com"])
def test_hosts_that_are_refused(world, guest, what):
    seen = served(world, "/")
    assert is_reset(guest, ("GET / HTTP/1.1\r\n%s\r\n\r\n" % what).encode())
    assert served(world, "/") == seen


def test_forms_of_the_target(guest):
    with guest.connect(80) as stream:
        stream.send(b"GET http://api.example.com/ HTTP/1.1\r\nHost: API.example.com.:80\r\n\r\n")
        assert read_response(stream.recv) == (200, "api\n")
        stream.send(b"OPTIONS * HTTP/1.1\r\nHost: api.example.com\r\n\r\n")
        read_response(stream.recv)
    for bad in ("GET http://evil.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n",
                "GET http://evil.example.com/ HTTP/1.0\r\n\r\n", "CONNECT evil.example.com:443 HTTP/1.1\r\n\r\n",
                "GET /\r\n", "GET / HTTP/1.0\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                "GET / HTTP/1.1\nHost: api.example.com\n\n"):
        assert is_reset(guest, bad.encode()), bad


def test_bodies_are_passed_over(world, guest):
    body = os.urandom(1 << 20)
    with guest.connect(80) as stream:
        stream.send(b"POST /body HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: %d\r\n\r\n" % len(body))
        stream.send(body)
        assert read_response(stream.recv) == (200, "taken\n")
        stream.send(b"POST /body HTTP/1.1\r\nHost: api.example.com\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(0, len(body), 50000):
            part = body[i:i + 50000]
            stream.send(b"%x;a=b\r\n%s\r\n" % (len(part), part))
        stream.send(b"0\r\nX-Trailer: 1\r\n\r\n")
        assert read_response(stream.recv) == (200, "taken\n")
        wait_for(lambda: len(lengths(world)) >= 2, 5, "nginx's log")
        assert all(n > len(body) for n in lengths(world)[-2:]), lengths(world)
        # A request in a body is none; one behind it is.
        inside = request(EVIL)
        stream.send(b"POST /body HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: %d\r\n\r\n%s"
                    % (len(inside), inside))
        assert read_response(stream.recv)[0] == 200
        with pytest.raises(RESET):
            stream.send(request(EVIL))
            assert stream.recv() == b"?"


# ---- other ways to the same ----

def test_dns_over_https(world, guest):
    words = "dig +https +time=3 +tries=1 +short @%s %s" % (RESOLVER, EVIL)
    assert world.sh(words).strip() == SHARED
    # By its address, to which no name of the policy leads.
    assert guest.connect(443, RESOLVER) is None
    if isinstance(guest, TapClient):
        status, text = guest.guest.run(words)
        assert status != 0 and SHARED not in text, text
    # And on an address that another name has admitted.
    assert is_reset(guest, Tls(None, "dns.example.org", ["h2"]).hello(), 443)
    assert wait_for(lambda: refusals(guest.daemon, name="dns.example.org"), 5, "the refusal")
    assert wait_for(lambda: refusals(guest.daemon, to=RESOLVER, port=443), 5, "and of the address")


def test_quic(world, guest):
    """UDP 443 is refused where a strict rule admits the address by name, and other UDP is not."""
    servers = [world.popen(["socat", "UDP4-RECVFROM:%d,bind=%s,fork" % (port, SHARED), "PIPE"], "udp%d" % port)
               for port in (443, QUIC_LIKE)]
    world.listens(SHARED, QUIC_LIKE, udp=True)
    world.listens(SHARED, 443, udp=True)
    initial = b"\xc0\0\0\0\1" + bytes(1195)
    try:
        assert guest.datagram(QUIC_LIKE, b"ping") == b"ping"
        assert guest.datagram(443, initial[:900]) is None
        event = wait_for(lambda: refusals(guest.daemon, proto="udp"), 5, "the refusal")[0]
        assert (event["port"], event["rule"], event["name"]) == (443, 0, GOOD)
        put(guest, allow(GOOD, verify="dns"))
        assert guest.datagram(443, initial[:900]) == initial[:900]
    finally:
        for server in servers:
            server.stop()


# ---- servers that speak first ----

def test_server_first_protocol(guest):
    with guest.connect(MAIL) as stream:
        assert stream.recv() == b"220 mail\n"
        with pytest.raises(RESET):
            stream.send(b"EHLO me\n")
            assert stream.recv() == b"?"
    event = wait_for(lambda: refusals(guest.daemon, port=MAIL), 5, "the refusal")[0]
    assert (event["rule"], event["name"]) == (0, GOOD)
    with guest.connect(MAIL) as stream:
        assert stream.recv() == b"220 mail\n"
        began = time.monotonic()
        with pytest.raises(RESET):
            assert stream.recv() == b"?"  # it says nothing for 10 s
        assert 8 < time.monotonic() - began < 14 * SLOW
    put(guest, allow(GOOD, ports=["25", str(MAIL)], verify="dns"))
    with guest.connect(MAIL) as stream:
        assert stream.recv() == b"220 mail\n"
        time.sleep(11)
        stream.send(b"EHLO me\n")
        assert stream.recv() == b"250 EHLO me\n"


@pytest.fixture(scope="module")
def ssh_key(world):
    home = world.directory
    for name in ("host", "user"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(home, name)])
    os.makedirs("/run/sshd", exist_ok=True)
    world.popen(["/usr/sbin/sshd", "-D", "-e", "-p", "22", "-f", "/dev/null", "-h", home + "/host",
                 "-o", "PidFile=none", "-o", "StrictModes=no", "-o", "PermitRootLogin=yes",
                 "-o", "UsePAM=no", "-o", "AuthorizedKeysFile=" + home + "/user.pub"], "sshd")
    world.listens(SHARED, 22)
    return home + "/user"


def test_ssh(guest, ssh_key):
    with guest.connect(22) as stream:
        assert stream.recv().startswith(b"SSH-2.0-")
        with pytest.raises(RESET):
            stream.send(b"SSH-2.0-test\r\n")
            while True:
                stream.recv()
    put(guest, allow(GOOD), allow(GOOD, ports=["22"], verify="dns"))
    assert guest.connect(22).__exit__() is None  # the first rule is still the one that matches
    put(guest, allow(GOOD, ports=["22"], verify="dns"), allow(GOOD))
    with guest.connect(22) as stream:
        text = stream.recv()
        stream.send(b"SSH-2.0-test\r\n")
        while b"curve25519-sha256" not in text:  # the server's KEXINIT
            text += stream.recv()
    if isinstance(guest, TapClient):
        status, text = guest.guest.run([
            "ssh", "-F", "none", "-i", ssh_key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "root@" + SHARED, "head -c 5000000 /dev/zero | sha256sum"], 30)
        assert status == 0 and "sha256" not in text, text
    assert is_reset(guest, request(EVIL))  # other ports are as strict as before


# ---- a real client, and what it leaves ----

def test_curl(daemon):
    guest = TapClient(daemon, STRICT)
    try:
        guest.resolve()
        pins = "--resolve %s:80:%s --resolve %s:443:%s --resolve %s:443:%s" % (
            GOOD, SHARED, GOOD, SHARED, EVIL, SHARED)
        curl = "curl -sSk --max-time 10 %s " % pins
        for version in ("--http1.1", "--http2"):
            assert guest.guest.sh(curl + version + " https://%s/1 https://%s/2" % (GOOD, GOOD)) == "api\n" * 2
        status, text = guest.guest.run(curl + "https://%s/" % EVIL)
        assert status == 35 and "reset" in text.lower(), (status, text)
        status, text = guest.guest.run(curl + "-v http://%s/ --next %s -v -H 'Host: %s' http://%s/" % (
            GOOD, "-sSk --max-time 10 " + pins, EVIL, GOOD))
        assert status == 56 and "Re-using existing connection" in text and "api\n" in text, text
        assert "evil\n" not in text
        put(guest, allow(GOOD, verify="dns"))
        assert guest.guest.sh(curl + "-H 'Host: %s' http://%s/" % (EVIL, GOOD)) == "evil\n"
    finally:
        guest.close()


def test_a_strict_policy_reaches_flows_that_stand(guest):
    put(guest, allow(GOOD, verify="dns"))
    with guest.connect(MAIL) as spoken, guest.connect(80) as silent, guest.connect(443) as sealed:
        spoken.send(b"EHLO me\n")
        while b"250" not in spoken.recv():
            pass
        tls = Tls(sealed, GOOD).handshake()
        guest.daemon.ask("PUT", "/v1/vms/guest/policy?cut_existing=1", STRICT)
        for stream in (spoken, sealed):  # whom they speak to was not looked at
            with pytest.raises(RESET):
                stream.send(b"more\n")
                assert stream.recv() == b"?"
        assert tls
        silent.send(request(GOOD))
        assert read_response(silent.recv) == (200, "api\n")
    with guest.connect(443) as sealed:
        tls = Tls(sealed, GOOD).handshake()
        guest.daemon.ask("PUT", "/v1/vms/guest/policy?cut_existing=1", STRICT)
        assert tls.get(GOOD) == (200, "api\n")


def test_noise_is_counted_and_told_once(guest):
    """Refusals of one rule, name and port are one event a second, and nothing is left of them."""
    for _ in range(200):
        assert is_reset(guest, b"\0\1\2\3")
    events = wait_for(lambda: sum(e["count"] for e in refusals(guest.daemon, port=80)) >= 200 and
                      refusals(guest.daemon, port=80), 5, "all refusals")
    assert len(events) < 30
    assert guest.daemon.counters("guest")["verify.refused_protocol"] == 200
    wait_for(lambda: not guest.daemon.ask("GET", "/v1/vms/guest/flows")["items"], 5, "no flow is left")
