# SPDX-License-Identifier: MIT
"""/metrics: what it says is so, promtool finds nothing to blame, and no worker can swell it."""

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from netctltest.daemon import Daemon
from netctltest.process import SLOW, wait_for
from netctltest.servers import loopback

GATEWAY = "10.0.2.2"
LINE = re.compile(r'^(\w+)(?:\{(.*)\})? ([0-9.]+)$')
LABEL = re.compile(r'(\w+)="([^"]*)"')


def scrape(daemon):
    response = daemon.api("GET", "/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return response.body.decode()


def samples(text):
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = LINE.match(line).groups()
        key = (name, *sorted(LABEL.findall(labels or "")))
        assert key not in found, line
        found[key] = float(value)
    return found


def of(found, name, **labels):
    return found[(name, *sorted(labels.items()))]


def promtool(text):
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_promtool_finds_nothing(daemon, tap_guest, web):
    assert shutil.which("promtool"), "no promtool: packaging/deps test"
    daemon.ask("POST", "/v1/vms", {"name": "other.vm-1", "link": {"kind": "none"}})
    tap_guest.sh("curl -s http://%s:%d/" % (GATEWAY, web.port))
    text = scrape(daemon)
    assert promtool(text) == (0, "")
    # It would have found something:
    assert promtool(text.replace("# HELP netctl_vms ", "# XHELP netctl_vms "))[0] != 0
    heads = re.findall(r"^# TYPE (\w+) ", text, re.M)
    assert len(heads) == len(set(heads))


def test_counts_are_what_happened(daemon, tap_guest, web):
    before = samples(scrape(daemon))
    for _ in range(5):
        tap_guest.sh("curl -s http://%s:%d/" % (GATEWAY, web.port))
    after = samples(scrape(daemon))

    def grown(name, **labels):
        return of(after, name, vm="guest", **labels) - of(before, name, vm="guest", **labels)
    assert grown("netctl_tcp_out_total") == grown("netctl_tcp_established_total") == 5
    assert grown("netctl_connect_duration_seconds_count") == 5
    assert grown("netctl_connect_duration_seconds_bucket", le="+Inf") == 5
    assert grown("netctl_tcp_rx_bytes_total") > 5 * len("hello from the host\n")
    assert grown("netctl_link_rx_frames_total") > 15 and grown("netctl_link_tx_bytes_total") > 500
    assert 0 < grown("netctl_connect_duration_seconds_sum") < 1
    assert of(after, "netctl_vms") == 1 and of(after, "netctl_spawner_up") == 1
    assert of(after, "netctl_link_connected", vm="guest") == 1
    assert of(after, "netctl_worker_answered", vm="guest") == 1
    assert of(after, "netctl_flows", vm="guest", kind="udp") == 0


def test_buckets_hold_the_slow_and_the_fast(daemon, guests, dns_server):
    from netctltest.namespace import TapGuest
    guest = guests.add(TapGuest(daemon, dns={"upstreams": [dns_server.addr]}))
    for _ in range(3):
        guest.sh("dig +time=3 +tries=1 @%s page.example A" % GATEWAY)
    found = samples(scrape(daemon))
    bucket = "netctl_dns_duration_seconds_bucket"
    bounds = [b for (name, *labels), b in found.items() if name == bucket]
    assert bounds == sorted(bounds) and len(bounds) == 17  # cumulative
    count = of(found, "netctl_dns_duration_seconds_count", vm="guest")
    assert count == of(found, bucket, vm="guest", le="+Inf") >= 1
    assert of(found, bucket, vm="guest", le="2.5") == count


def test_slow_connect_is_in_its_bucket(daemon, tap_guest):
    """A listener with a full backlog takes the connect when it has accepted: a second or more."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        full = [socket.socket() for _ in range(2)]
        for sock in full:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
        client = tap_guest.popen(["nc" if shutil.which("nc") else "socat", "-", "TCP:%s:%d" % (GATEWAY, port)]
                                 if not shutil.which("nc") else ["nc", GATEWAY, str(port)])
        time.sleep(0.4)
        for _ in range(2):
            server.accept()[0].close()

        def slow():
            found = samples(scrape(daemon))
            name = "netctl_connect_duration_seconds_bucket"
            return of(found, name, vm="guest", le="+Inf") - of(found, name, vm="guest", le="0.25")
        wait_for(lambda: slow() == 1, 10, "the slow connect")
        client.stop()
        for sock in full:
            sock.close()


def test_drops_are_told_by_cause(daemon, tap_guest):
    tap_guest.sh("/usr/bin/python3 -c \"import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW);"
                 " s.bind(('eth0', 0)); [s.send(b'\\xff' * 6 + bytes.fromhex('525400123456') + b'\\x88\\xb5'"
                 " + bytes(50)) for _ in range(7)]\"")
    found = samples(scrape(daemon))
    assert of(found, "netctl_drops_total", vm="guest", cause="ethertype") == 7
    assert not any(name.startswith("netctl_drop_") for name, *_ in found)


def test_worker_that_hangs_leaves_only_its_own_out(daemon, tap_guest):
    daemon.ask("POST", "/v1/vms", {"name": "other"})
    pid = daemon.worker_pid("guest")
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        found = samples(scrape(daemon))
        assert time.monotonic() - began < 2 * SLOW
    finally:
        os.kill(pid, signal.SIGCONT)
    assert of(found, "netctl_worker_answered", vm="guest") == 0
    assert of(found, "netctl_worker_answered", vm="other") == 1
    assert ("netctl_tcp_out_total", ("vm", "guest")) not in found
    assert of(found, "netctl_tcp_out_total", vm="other") == 0
    assert of(samples(scrape(daemon)), "netctl_worker_answered", vm="guest") == 1


# ---- on a port ---------------------------------------------------------------------------------

def request(port, method="GET", path="/metrics", host=None, addr="127.0.0.1"):
    connection = http.client.HTTPConnection(addr, port, timeout=10)
    try:
        connection.request(method, path, headers={"Host": host} if host is not None else {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def on_port():
    port = free_port()
    daemon = Daemon(args=["--metrics-listen", str(port)])
    try:
        daemon.start()
        yield daemon, port
    finally:
        daemon.stop()
        daemon.cleanup()


def test_port_serves_metrics_and_nothing_else(on_port):
    daemon, port = on_port
    status, text = request(port)
    assert status == 200 and promtool(text) == (0, "")
    assert of(samples(text), "netctl_vms") == 0
    for path in ("/", "/v1/vms", "/v1/events", "/metrics/", "/metricsx"):
        assert request(port, path=path)[0] == 404
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert request(port, method)[0] == 405
    assert request(port, "HEAD") == (200, "")


@pytest.mark.parametrize("host, status", [
    ("127.0.0.1:9", 200), ("localhost", 200), ("[::1]:80", 200), ("127.8.8.8", 200),
    ("example.com", 403), ("localhost.example.com", 403), ("10.0.0.1", 403), ("127.0.0.1.nip.io", 403),
    ("x" * 300, 403)])
def test_port_answers_only_hosts_of_loopback(on_port, host, status):
    assert request(on_port[1], host=host)[0] == status


def test_port_is_of_loopback_or_netctld_says_why(tmp_path):
    taken = socket.create_server((loopback(7), 0))
    for value, words in [("0.0.0.0:9100", "not a loopback address"), ("10.0.0.1:9100", "not a loopback address"),
                         ("[::]:9100", "not a loopback address"), ("x", "not [ADDRESS:]PORT"),
                         ("0", "not [ADDRESS:]PORT"), ("70000", "not [ADDRESS:]PORT"),
                         ("", "needs a value"),
                         ("%s:%d" % taken.getsockname(), "address in use")]:
        daemon = Daemon(args=["--metrics-listen", value])
        with pytest.raises(AssertionError):
            daemon.start(5)
        log = daemon.process.log()
        assert [line for line in log.splitlines() if line.startswith("netctld: ") and words in line], log
        daemon.stop()
        daemon.cleanup()
    taken.close()


def test_port_may_stand_in_the_file(tmp_path):
    port = free_port()
    path = tmp_path / "netctld.conf"
    path.write_text("[netctld]\nmetrics_listen = 127.0.0.1:%d\n" % port)
    daemon = Daemon(args=["--config", str(path)])
    try:
        daemon.start()
        assert request(port)[0] == 200
    finally:
        daemon.stop()
        daemon.cleanup()
