# SPDX-License-Identifier: MIT
"""Little servers on the host's loopback, each in threads of this process."""

import http.server
import os
import socket
import struct
import threading
import time

A, NS, CNAME, TXT, AAAA, OPT = 1, 2, 5, 16, 28, 41
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5


class WebServer:
    """HTTP on addr; pages: path → bytes. Counts what was asked."""

    def __init__(self, pages=None, addr="127.0.0.1", port=0):
        self.pages = pages or {"/": b"hello from the host\n"}
        self.requests = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.requests.append((self.path, self.client_address, dict(self.headers)))
                body = outer.pages.get(self.path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def do_PUT(self):
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                outer.pages[self.path] = body
                self.send_response(201)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, request, client_address):
                pass

        self.server = Server((addr, port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class UdpEcho:
    """Sends each datagram back; remembers who asked."""

    def __init__(self, addr="127.0.0.1", port=0):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.sock.bind((addr, port))
        self.port = self.sock.getsockname()[1]
        self.senders = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                data, sender = self.sock.recvfrom(65536)
            except OSError:
                return
            self.senders.append(sender)
            try:
                self.sock.sendto(data, sender)
            except OSError:
                pass

    def close(self):
        self.sock.close()


def _name(text):
    out = b""
    for label in text.strip(".").split("."):
        if label:
            out += bytes([len(label)]) + label.encode()
    return out + b"\0"


def _read_name(data, at):
    labels = []
    while data[at]:
        labels.append(data[at + 1:at + 1 + data[at]].decode())
        at += data[at] + 1
    return ".".join(labels).lower(), at + 1


def rdata(kind, value):
    if kind == A:
        return socket.inet_aton(value)
    if kind == AAAA:
        return socket.inet_pton(socket.AF_INET6, value)
    if kind == CNAME:
        return _name(value)
    if kind == TXT:
        raw = value.encode()
        return b"".join(bytes([len(raw[i:i + 255])]) + raw[i:i + 255]
                        for i in range(0, len(raw), 255))
    raise ValueError(kind)


class DnsServer:
    """A DNS server of a few names, on UDP and TCP.

    records: (name, type) → list of values; a name in `silent` is never answered, one in `failing`
    is answered SERVFAIL. Answers over 512 bytes are truncated on UDP (EDNS sizes are ignored).
    Names it does not know: NXDOMAIN.
    """

    def __init__(self, records, addr="127.0.0.1", port=0, silent=(), failing=(), ttl=60):
        self.records = records
        self.silent = set(silent)
        self.failing = set(failing)
        self.ttl = ttl
        self.addr = addr
        self.queries = []  # (transport, name, type, sender)
        self.tcp, self.udp = self._bind(addr, port)
        self.port = self.tcp.getsockname()[1]
        self.tcp.listen(64)
        # A thread in a system call would keep a closed socket's port.
        self.tcp.settimeout(0.1)
        self.udp.settimeout(0.1)
        self.over = False
        self.threads = [threading.Thread(target=loop, daemon=True)
                        for loop in (self._serve_udp, self._serve_tcp)]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def _bind(addr, port):
        """Both on one port. The kernel chooses one for TCP: another's UDP may have it."""
        for left in range(20, -1, -1):
            tcp = socket.socket()
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                tcp.bind((addr, port))
                udp.bind((addr, tcp.getsockname()[1]))
                return tcp, udp
            except OSError:
                tcp.close()
                udp.close()
                if port or not left:
                    raise

    def answer(self, query, transport, sender):
        ident, flags, questions = struct.unpack(">HHH", query[:6])
        name, at = _read_name(query, 12)
        kind, _ = struct.unpack(">HH", query[at:at + 4])
        question = query[12:at + 4]
        self.queries.append((transport, name, kind, sender))
        if name in self.silent or questions != 1:
            return None
        code, answers = NOERROR, []
        if name in self.failing:
            code = SERVFAIL
        else:
            code, answers = self._find(name, kind)
        body = b"".join(_name(n) + struct.pack(">HHIH", k, 1, self.ttl, len(d)) + d
                        for n, k, d in answers)
        truncated = transport == "udp" and 12 + len(question) + len(body) > 512
        flags = 0x8180 | (flags & 0x0100) | code | (0x0200 if truncated else 0)
        count = 0 if truncated else len(answers)
        return (struct.pack(">HHHHHH", ident, flags, 1, count, 0, 0) + question
                + (b"" if truncated else body))

    def _find(self, name, kind):
        known = [k for n, k in self.records if n == name]
        if not known:
            return NXDOMAIN, []
        answers = [(name, kind, rdata(kind, v)) for v in self.records.get((name, kind), ())]
        for target in self.records.get((name, CNAME), ()) if kind != CNAME else ():
            answers.append((name, CNAME, rdata(CNAME, target)))
            answers += self._find(target, kind)[1]
        return NOERROR, answers

    def _serve_udp(self):
        while not self.over:
            try:
                query, sender = self.udp.recvfrom(65536)
            except socket.timeout:
                continue
            try:
                reply = self.answer(query, "udp", sender)
                if reply:
                    self.udp.sendto(reply, sender)
            except (OSError, IndexError, struct.error):
                pass

    def _serve_tcp(self):
        while not self.over:
            try:
                sock, sender = self.tcp.accept()
            except socket.timeout:
                continue
            threading.Thread(target=self._tcp_client, args=(sock, sender), daemon=True).start()

    def _tcp_client(self, sock, sender):
        with sock, sock.makefile("rb") as reader:
            sock.settimeout(10)
            try:
                while True:
                    prefix = reader.read(2)
                    if len(prefix) < 2:
                        return
                    reply = self.answer(reader.read(struct.unpack(">H", prefix)[0]), "tcp", sender)
                    if reply:
                        sock.sendall(struct.pack(">H", len(reply)) + reply)
            except (OSError, IndexError, struct.error):
                pass

    def close(self):
        self.over = True
        for thread in self.threads:
            thread.join(5)
        self.udp.close()
        self.tcp.close()


def loopback(number):
    """An address on the host's loopback that only this run of the tests uses."""
    pid = os.getpid()
    return "127.%d.%d.%d" % (77 + number, pid >> 8 & 255, pid & 255 or 1)


def free_port(kind=socket.SOCK_STREAM, addr="127.0.0.1"):
    """A port that was free a moment ago."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind((addr, 0))
        return sock.getsockname()[1]


def fetch(addr, port, path="/", timeout=10):
    """An HTTP GET. Returns (status, body)."""
    import http.client
    connection = http.client.HTTPConnection(addr, port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def connect_refused(addr, port, timeout=5):
    """Connects where nobody may listen: returns the seconds until the refusal."""
    began = time.monotonic()
    with socket.socket() as sock:
        sock.settimeout(timeout)
        try:
            sock.connect((addr, port))
        except ConnectionRefusedError:
            return time.monotonic() - began
    raise AssertionError("%s:%d was not refused" % (addr, port))
