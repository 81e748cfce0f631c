# SPDX-License-Identifier: MIT
"""gvproxy's HTTP API at each VM's gvproxy.sock, spoken to as its documentation says: with curl."""

import json
import os
import socket
import time

import pytest

from netctltest.daemon import UnixHTTPConnection
from netctltest.namespace import TapGuest
from netctltest.process import run, wait_for


def path_of(daemon, vm="guest"):
    return "%s/vms/%s/gvproxy.sock" % (daemon.runtime, vm)


def call(daemon, method, path, body=None, vm="guest"):
    connection = UnixHTTPConnection(path_of(daemon, vm), 10)
    try:
        connection.request(method, path, json.dumps(body) if isinstance(body, dict) else body)
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers
    finally:
        connection.close()


def expose(daemon, **body):
    return call(daemon, "POST", "/services/forwarder/expose", body)


def unexpose(daemon, **body):
    return call(daemon, "POST", "/services/forwarder/unexpose", body)


def everything(daemon):
    status, text, headers = call(daemon, "GET", "/services/forwarder/all")
    assert status == 200 and headers["Content-Type"] == "application/json"
    return json.loads(text)


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("0.0.0.0", 0))
        return sock.getsockname()[1]


@pytest.fixture
def made(daemon):
    daemon.ask("POST", "/v1/vms", {"name": "guest"})
    return daemon


def test_curl_as_documented(daemon):
    """The command lines of gvproxy's README, with a guest behind them."""
    guest = TapGuest(daemon)
    port = free_port()

    def curl(path, *args):
        status, out, err = run(["curl", "-sS", "--fail-with-body", "--unix-socket", path_of(daemon),
                                "http:/unix" + path, *args], 10)
        return status, out + err

    try:
        guest.popen(["socat", "TCP4-LISTEN:6443,fork,reuseaddr", "EXEC:cat"])
        wait_for(lambda: guest.run("ss -Hltn sport = :6443")[1].strip(), 5, "echo server")
        body = '{"local":":%d","remote":"192.168.127.2:6443"}' % port
        assert curl("/services/forwarder/expose", "-X", "POST", "-d", body) == (0, "")
        for host in ("127.0.0.1", "127.0.0.9"):  # all interfaces
            with socket.create_connection((host, port), 5) as sock:
                sock.settimeout(5)
                sock.sendall(b"hello")
                assert sock.recv(5) == b"hello"
        assert json.loads(curl("/services/forwarder/all")[1]) == [
            {"local": ":%d" % port, "remote": "10.0.2.15:6443", "protocol": "tcp"}]
        assert curl("/services/forwarder/unexpose", "-X", "POST", "-d", '{"local":":%d"}' % port) == (0, "")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)
        status, text = curl("/services/forwarder/unexpose", "-X", "POST", "-d", '{"local":":%d"}' % port)
        assert status == 22 and "proxy not found" in text
    finally:
        guest.close()


def test_udp_and_leases(daemon):
    guest = TapGuest(daemon)
    port = free_port(socket.SOCK_DGRAM)
    try:
        assert call(daemon, "GET", "/services/dhcp/leases")[:2] == (200, "{}\n")
        guest.popen(["socat", "UDP4-RECVFROM:9,fork", "EXEC:cat"])
        assert expose(daemon, local="127.0.0.1:%d" % port, remote=":9", protocol="udp")[:2] == (200, "")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)

            def echoed():
                sock.sendto(b"datagram", ("127.0.0.1", port))
                try:
                    return sock.recv(100) == b"datagram"
                except socket.timeout:
                    return False

            wait_for(echoed, 10, "an echo")
        # The same port of another protocol is another proxy.
        assert unexpose(daemon, local="127.0.0.1:%d" % port, protocol="tcp")[0] == 500
        assert unexpose(daemon, local="127.0.0.1:%d" % port, protocol="udp")[0] == 200
    finally:
        guest.close()


def test_a_lease_shows(daemon):
    guest = TapGuest(daemon, address=False)
    try:
        guest.sh("ip link set eth0 address 52:54:00:12:34:56 && ip link set eth0 up")
        status, text = guest.run(["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-s", "/bin/true"])
        assert status == 0, text
        want = {"10.0.2.15": "52:54:00:12:34:56"}
        for path in ("/services/dhcp/leases", "/leases"):
            assert wait_for(lambda: json.loads(call(daemon, "GET", path)[1]), 5, "the lease") == want
    finally:
        guest.close()


def test_what_is_exposed_are_forwards(made):
    port = free_port()
    sock = "%s/vms/guest/in.sock" % made.runtime
    assert expose(made, local="localhost:%d" % port, remote="10.0.2.15:80")[0] == 200
    assert expose(made, local=sock, remote="tcp://192.168.127.2:22", protocol="unix")[0] == 200
    made.ask("POST", "/v1/vms/guest/forwards", {"listen": {"addr": "::1", "port": port}, "to": {"port": 81}})
    forwards = {f["id"]: f["to"]["port"] for f in made.ask("GET", "/v1/vms/guest/forwards")["items"]}
    assert forwards == {"tcp:127.0.0.1:%d" % port: 80, "unix:" + sock: 22, "tcp:[::1]:%d" % port: 81}
    listed = everything(made)
    assert {(p["local"], p["remote"], p["protocol"]) for p in listed} == {
        ("127.0.0.1:%d" % port, "10.0.2.15:80", "tcp"), ("[::1]:%d" % port, "10.0.2.15:81", "tcp"),
        (sock, "tcp://10.0.2.15:22", "unix")}
    assert [p["local"] for p in listed] == sorted(p["local"] for p in listed)
    # They and the socket outlive netctld, and go when its successor is told so at once.
    made.kill()
    made.start()
    assert unexpose(made, local=sock, protocol="unix")[0] == 200 and not os.path.exists(sock)
    assert everything(made) == [proxy for proxy in listed if proxy["protocol"] != "unix"]
    assert unexpose(made, local="[::1]:%d" % port)[0] == 200
    assert len(everything(made)) == 1


@pytest.mark.parametrize("body, status, text", [
    (b"", 400, "empty"), (b"{", 400, "not JSON"), (b"[]", 400, "object"), (b'{"local":1}', 400, "string"),
    ({"local": ":1x", "remote": ":80"}, 500, ":1x"), ({"local": "nowhere", "remote": ":80"}, 500, "nowhere"),
    ({"local": ":0", "remote": "x"}, 400, "HOST:PORT"), ({"local": ":0", "remote": ":0"}, 400, "HOST:PORT"),
    ({"local": ":0", "remote": "1.2.3.4:80"}, 500, "1.2.3.4"),
    ({"local": ":0", "remote": ":80", "protocol": "sctp"}, 500, "unknown protocol sctp"),
    ({"local": "/tmp/x.sock", "remote": "tcp://10.0.2.15:1", "protocol": "unix"}, 500, "below"),
    ({"local": "x" * 300, "remote": "tcp://10.0.2.15:1", "protocol": "unix"}, 500, "path"),
    ({"local": "/x", "remote": "ssh-tunnel://x", "protocol": "unix"}, 500, "tcp://"),
    ({"local": ":" + "9" * 400, "remote": ":" + "8" * 400}, 500, "999"),
])
def test_bad_requests(made, body, status, text):
    """Plain text, as gvproxy's; nothing is made."""
    got = call(made, "POST", "/services/forwarder/expose", body)
    assert got[0] == status and text in got[1] and got[1].endswith("\n") and got[1].count("\n") == 1, got
    assert got[2]["Content-Type"].startswith("text/plain")
    assert everything(made) == []


def test_what_is_taken(made):
    """By another program, by a proxy: 500, in gvproxy's words."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(1)
        port = sock.getsockname()[1]
        status, text, _ = expose(made, local="127.0.0.1:%d" % port, remote=":80")
        assert status == 500 and "address in use" in text
    for remote in (":80", ":81"):
        status, text, _ = expose(made, local="127.0.0.1:%d" % port, remote=remote)
        if remote == ":80":
            assert status == 200
        else:
            assert (status, text) == (500, "proxy already running for tcp on 127.0.0.1:%d\n" % port)


def test_other_paths_and_methods(made):
    assert call(made, "GET", "/services/forwarder/expose")[:2] == (400, "post only\n")
    assert call(made, "PUT", "/services/forwarder/unexpose", {})[:2] == (400, "post only\n")
    for path in ("/", "/v1/vms", "/v1/state", "/services", "/services/forwarder/"):
        assert call(made, "GET", path)[:2] == (404, "404 page not found\n")
    status, text, _ = call(made, "POST", "/services/forwarder/expose", b" " * 100000)
    assert status == 400


def test_each_vm_has_its_own(daemon):
    """And it goes with its VM, whatever connections there are."""
    for name in ("guest", "other"):
        daemon.ask("POST", "/v1/vms", {"name": name})
        mode = os.stat(path_of(daemon, name)).st_mode & 0o777
        assert mode == 0o660
    port = free_port()
    assert expose(daemon, local="127.0.0.1:%d" % port, remote=":80")[0] == 200
    assert json.loads(call(daemon, "GET", "/services/forwarder/all", vm="other")[1]) == []
    kept = UnixHTTPConnection(path_of(daemon), 10)
    kept.request("GET", "/services/forwarder/all")
    assert len(json.loads(kept.getresponse().read())) == 1
    daemon.ask("DELETE", "/v1/vms/guest")
    assert not os.path.exists(os.path.dirname(path_of(daemon)))
    kept.request("GET", "/services/forwarder/all")
    assert kept.getresponse().status == 404
    kept.close()
    daemon.ask("POST", "/v1/vms", {"name": "guest"})
    assert everything(daemon) == []


def test_idlers_at_one_keep_nobody_out(daemon):
    """600 connections to one VM's socket: the other's answers, and so does api.sock."""
    for name in ("guest", "other"):
        daemon.ask("POST", "/v1/vms", {"name": name, "link": {"kind": "none"}})
    socks = []
    for _ in range(600):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(path_of(daemon, "other"))
        socks.append(sock)
    start = time.monotonic()
    assert everything(daemon) == []
    assert daemon.api("GET", "/v1/health").status == 200
    assert time.monotonic() - start < 5
    for sock in socks:
        sock.close()


def test_the_end_of_netctld(daemon):
    daemon.ask("POST", "/v1/vms", {"name": "guest", "link": {"kind": "none"}})
    path = path_of(daemon)
    assert os.path.exists(path)
    daemon.stop()
    assert not os.path.exists(path)
