# SPDX-License-Identifier: MIT
"""Limits of a VM: rates in and out, flows, new flows; over the NIC and over vsock, changed while they hold."""

import errno
import json
import os
import signal
import socket
import threading
import time

import pytest

from netctltest import tsi, xfer
from netctltest.namespace import TapGuest
from netctltest.process import run, wait_for
from netctltest.servers import free_port
from netctltest.vsock_guests import HybridGuest
from netctltest.vsock_guests import StreamGuest as VsockStreamGuest

MBIT = 1000 * 1000
SECONDS = 2
# What the guest's end and ours hold, beside what the bucket lets through at once.
TOLERANCE = 0.10


def limit(guest, **limits):
    return guest.daemon.ask("PATCH", "/v1/vms/" + guest.vm, {"limits": limits})["limits"]


def is_near(bits_per_second, wanted):
    return abs(bits_per_second / wanted - 1) <= TOLERANCE


def near(bits_per_second, wanted):
    assert is_near(bits_per_second, wanted), "%.2f Mbit/s, wanted %.2f" % (
        bits_per_second / MBIT, wanted / MBIT)


def measured(measure, wanted):
    """Measures until it is near: a machine that stands still for longer than a bucket lasts moves less."""
    seen = []
    for _ in range(5):
        seen.append(measure())
        if is_near(seen[-1], wanted):
            return
    near(seen[-1], wanted)


def rate_of(report, direction):
    return report[direction] * 8 / report["ms"] * 1000


class Meter:
    """A TCP server of the host's that swallows, or sends without an end, and knows how fast."""

    def __init__(self, send=False):
        self.send = send
        self.total = 0
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        self.socks = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.socks.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        data = bytes(65536)
        try:
            while True:
                n = sock.send(data) if self.send else len(sock.recv(65536))
                if not n:
                    break
                self.total += n
        except OSError:
            pass
        sock.close()

    def rate(self, seconds=1.0):
        """Bits a second, from now on for so long."""
        before, began = self.total, time.monotonic()
        time.sleep(seconds)
        return (self.total - before) * 8 / (time.monotonic() - began)

    def near(self, wanted):
        measured(self.rate, wanted)

    def close(self):
        self.listener.close()
        for sock in self.socks:
            sock.close()


@pytest.fixture
def meter():
    it = Meter()
    yield it
    it.close()


# --- TCP -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("rate", [5 * MBIT, 200 * MBIT])
def test_tcp_out(guest, rate):
    """No byte is lost or wrong, and none is sent twice: the guest is slowed down, not cut short."""
    limit(guest, rate_out=rate)

    def transfer():
        listener = xfer.Listener(guest.daemon.directory, "--count", 1)
        here = xfer.connect(guest.daemon.directory, guest.gateway, listener.port,
                            "--send", rate // 8 * SECONDS, guest=guest)
        there = listener.results()
        xfer.same(here, there)
        return rate_of(there[0], "rx")
    measured(transfer, rate)
    counters = guest.daemon.counters(guest.vm)
    assert counters["limit.out.waits"] and not counters["limit.in.waits"], counters
    assert not counters["drop.limit_out"] and not counters["tcp.out_of_order"], counters


@pytest.mark.parametrize("rate", [5 * MBIT, 200 * MBIT])
def test_tcp_in(guest, rate):
    limit(guest, rate_in=rate)

    def transfer():
        listener = xfer.Listener(guest.daemon.directory, "--count", 1, "--send", rate // 8 * SECONDS)
        here = xfer.connect(guest.daemon.directory, guest.gateway, listener.port, guest=guest)
        xfer.same(listener.results(), here)
        return rate_of(here[0], "rx")
    measured(transfer, rate)
    counters = guest.daemon.counters(guest.vm)
    assert counters["limit.in.waits"] and not counters["limit.out.waits"], counters
    assert not counters["tcp.retransmits"], counters


def test_both_ways_at_once(guest):
    """A rate in and another out, of one connection."""
    limit(guest, rate_in=40 * MBIT, rate_out=20 * MBIT)

    def slower():
        """Of the two, against what it may."""
        listener = xfer.Listener(guest.daemon.directory, "--count", 1, "--send", 40 * MBIT // 8 * SECONDS)
        here = xfer.connect(guest.daemon.directory, guest.gateway, listener.port,
                            "--send", 20 * MBIT // 8 * SECONDS, guest=guest)
        xfer.both_same(here, listener.results())
        return min(rate_of(here[0], "rx"), 2 * rate_of(here[0], "tx"))
    measured(slower, 40 * MBIT)


def test_connections_share_the_rate(guest):
    """Of eight none is starved, and together they have no more than one would."""
    limit(guest, rate_out=40 * MBIT)

    def together():
        listener = xfer.Listener(guest.daemon.directory, "--count", 8)
        each = 40 * MBIT // 8 * SECONDS // 8
        xfer.connect(guest.daemon.directory, guest.gateway, listener.port, "--count", 8,
                     "--send", each, guest=guest)
        there = listener.results()
        assert len(there) == 8
        ms = [report["ms"] for report in there]
        assert min(ms) > 0.6 * max(ms), ms
        return 8 * each * 8 / max(ms) * 1000
    measured(together, 40 * MBIT)


def test_a_forward_is_limited_too(guest):
    limit(guest, rate_in=20 * MBIT)

    def transfer():
        listener = xfer.Listener(guest.daemon.directory, "--count", 1, guest=guest)
        port = guest.forward("tcp:0:%d" % listener.port)
        here = xfer.connect(guest.daemon.directory, "127.0.0.1", port, "--send", 20 * MBIT // 8 * SECONDS)
        there = listener.results()
        xfer.same(here, there)
        return rate_of(there[0], "rx")
    measured(transfer, 20 * MBIT)


def test_changed_while_it_goes(guest, meter):
    """Slower, faster, and not at all, on a connection that goes on."""
    limit(guest, rate_out=40 * MBIT)
    transfer = xfer.start(guest.daemon.directory, guest.gateway, meter.port,
                          "--send", 1 << 40, guest=guest)
    wait_for(lambda: meter.total, 5, "bytes")
    time.sleep(0.3)
    meter.near(40 * MBIT)
    for rate in (8 * MBIT, 80 * MBIT):
        assert limit(guest, rate_out=rate) == {"rate_out": rate}
        time.sleep(0.3)
        meter.near(rate)
    assert limit(guest, rate_out=None) == {}
    time.sleep(0.3)
    assert meter.rate(0.5) > 400 * MBIT
    limit(guest, rate_out=8 * MBIT)
    time.sleep(0.5) # what was on its way
    meter.near(8 * MBIT)
    transfer.stop()


def test_iperf3(tap_guest):
    """Somebody else's figure, TCP both ways."""
    limit(tap_guest, rate_in=50 * MBIT, rate_out=100 * MBIT)

    def iperf3(*reverse):
        # One for each: it turns clients away while it has not done with the last.
        port = free_port()
        tap_guest.popen(["iperf3", "-s", "-1", "-p", str(port)])
        wait_for(lambda: tap_guest.run("ss -Hltn sport = :%d" % port)[1].strip(), 5, "iperf3 listens")
        status, out, err = run(["iperf3", "-c", "127.0.0.1", "-p", str(tap_guest.forward("tcp:0:%d" % port)),
                                "-t", "3", "-O", "1", "-J", *reverse], 30)
        assert status == 0 and "error" not in json.loads(out), out[-400:] + err
        return json.loads(out)["end"]["sum_received"]["bits_per_second"]
    measured(iperf3, 50 * MBIT)
    measured(lambda: iperf3("-R"), 100 * MBIT)


# --- UDP -----------------------------------------------------------------------------------------

UDP_SOURCE = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], int(sys.argv[2])))
rate, seconds, data = int(sys.argv[3]) / 8, float(sys.argv[4]), bytes(1000)
began, sent = time.monotonic(), 0
while True:
    now = time.monotonic() - began
    if now >= seconds:
        break
    while sent < now * rate:
        s.send(data)
        sent += len(data)
    time.sleep(0.001)
"""


def udp_source(guest, port, rate, seconds):
    return guest.popen(["/usr/bin/python3", "-c", UDP_SOURCE, guest.gateway, str(port), str(rate),
                        str(seconds)])


def test_udp_is_dropped_and_counted(guest):
    limit(guest, rate_out=10 * MBIT)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.settimeout(2)
        source = udp_source(guest, sink.getsockname()[1], 30 * MBIT, 2.5)
        sink.recv(2000)
        time.sleep(0.3)
        got, began = 0, time.monotonic()
        while time.monotonic() - began < 1.5:
            # With its headers it counts for 1,028.
            got += len(sink.recv(2000)) + 28
        near(got * 8 / (time.monotonic() - began), 10 * MBIT)
        source.stop()
    assert guest.daemon.counters(guest.vm)["drop.limit_out"] > 2000


def test_datagrams_in_are_dropped_and_counted(guest):
    port = guest.forward("udp:0:5005")
    sink = guest.popen(["socat", "-u", "UDP4-RECV:5005", "OPEN:/dev/null"])
    limit(guest, rate_in=10 * MBIT)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
        source.connect(("127.0.0.1", port))
        before = guest.daemon.counters(guest.vm)
        began, sent = time.monotonic(), 0
        while time.monotonic() - began < 1.5:
            while sent < (time.monotonic() - began) * 30 * MBIT / 8:
                source.send(bytes(1000))
                sent += 1000
            time.sleep(0.001)
        took = time.monotonic() - began
    after = guest.daemon.counters(guest.vm)
    passed = after["udp.rx.datagrams"] - before["udp.rx.datagrams"]
    near(passed * 1028 * 8 / took, 10 * MBIT)
    assert after["drop.limit_in"] - before["drop.limit_in"] > 1000
    sink.stop()


def test_names_are_resolved_in_the_middle_of_a_download(guest):
    """Streams leave datagrams their half."""
    source = Meter(send=True)
    limit(guest, rate_in=5 * MBIT, rate_out=5 * MBIT)
    transfer = xfer.start(guest.daemon.directory, guest.gateway, source.port, "--send", 1 << 40,
                          guest=guest)
    wait_for(lambda: source.total > MBIT, 5, "bytes")
    assert "20 received" in guest.sh("ping -c 20 -i 0.05 -W 1 " + guest.gateway)
    transfer.stop()
    source.close()


def test_a_flood_of_datagrams_leaves_streams_half(guest, meter):
    limit(guest, rate_out=20 * MBIT)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        flood = udp_source(guest, sink.getsockname()[1], 60 * MBIT, 10)
        transfer = xfer.start(guest.daemon.directory, guest.gateway, meter.port, "--send", 1 << 40,
                              guest=guest)
        wait_for(lambda: meter.total, 5, "bytes")
        time.sleep(0.5)
        meter.near(10 * MBIT)
        flood.stop()
    time.sleep(0.3)
    meter.near(20 * MBIT)
    transfer.stop()


# --- vsock ---------------------------------------------------------------------------------------

VSOCK_PORT = 5001
next_port = iter(range(5002, 5999))


@pytest.fixture(params=[VsockStreamGuest, HybridGuest], ids=["stream", "hybrid"])
def vsock_guest(request, daemon):
    it = request.param(daemon)
    yield it
    it.close()


@pytest.mark.parametrize("way", ["out", "in"])
def test_vsock(vsock_guest, way):
    """A connection of the guest's to a service of the host's, and back."""
    rate = 40 * MBIT
    limit(vsock_guest, **{"rate_" + way: rate})
    amount = ["--send", rate // 8 * SECONDS]

    def transfer():
        listener = xfer.Listener(vsock_guest.daemon.directory, "--count", 1, *(amount if way == "in" else []))
        port = next(next_port)
        vsock_guest.map_tcp(port, listener.port)
        here = vsock_guest.connect(port, *(amount if way == "out" else []))
        there = listener.results()
        xfer.both_same(here, there)
        return rate_of((there if way == "out" else here)[0], "rx")
    measured(transfer, rate)
    assert vsock_guest.counters()["limit.%s.waits" % way]


def test_vsock_changed_while_it_goes(vsock_guest, meter):
    limit(vsock_guest, rate_out=20 * MBIT)
    vsock_guest.map_tcp(VSOCK_PORT, meter.port)
    transfer = vsock_guest.start(VSOCK_PORT, "--send", 1 << 40)
    wait_for(lambda: meter.total, 5, "bytes")
    for rate in (20 * MBIT, 8 * MBIT, 40 * MBIT):
        limit(vsock_guest, rate_out=rate)
        time.sleep(0.3)
        meter.near(rate)
    limit(vsock_guest, rate_out=None)
    time.sleep(0.3)
    assert meter.rate(0.5) > 100 * MBIT
    transfer.stop()


def test_nic_and_vsock_share(daemon, guests, meter):
    """One rate is a VM's, whichever way its bytes go."""
    guest = guests.add(TapGuest(daemon, "both", vsock={"kind": "stream"}, limits={"rate_out": 20 * MBIT}))
    peer = tsi.Guest(daemon.vm("both")["vsock"]["path"])
    daemon.netctl("vsock", "map", "both", VSOCK_PORT, "tcp:127.0.0.1:%d" % meter.port)
    door = peer.bridge_door(VSOCK_PORT)
    transfers = [xfer.start(daemon.directory, "127.0.0.1", door, "--send", 1 << 40),
                 xfer.start(daemon.directory, guest.gateway, meter.port, "--send", 1 << 40, guest=guest)]
    wait_for(lambda: len(meter.socks) == 2 and meter.total > MBIT, 5, "bytes of both")
    meter.near(20 * MBIT)
    for transfer in transfers:
        transfer.stop()
    peer.close()


class TsiGuest:
    """A guest without a network of its own, that asks its host for each socket."""

    vm = "tsi"

    def __init__(self, daemon, **body):
        self.daemon = daemon
        record = daemon.ask("POST", "/v1/vms", dict(body, name=self.vm, link={"kind": "none"}, policy="open",
                                                    host_access=True, vsock={"kind": "stream"}))
        self.peer = tsi.Guest(record["vsock"]["path"])

    def counters(self):
        return self.daemon.counters(self.vm)

    def connect(self, port):
        return self.peer.connect_tsi("127.0.0.1", port)


@pytest.fixture
def tsi_guest(daemon):
    it = TsiGuest(daemon)
    yield it
    it.peer.close()


def test_tsi_stream(tsi_guest, meter):
    limit(tsi_guest, rate_out=20 * MBIT)
    stream = tsi_guest.connect(meter.port).stream
    over = threading.Event()

    def pour():
        while not over.is_set():
            stream.send(bytes(32768))
    thread = threading.Thread(target=pour, daemon=True)
    thread.start()
    wait_for(lambda: meter.total > MBIT, 5, "bytes")
    meter.near(20 * MBIT)
    over.set()
    thread.join(5)


def test_tsi_new_flows(tsi_guest, meter):
    """A CONNECT beyond the rate is refused at once: nobody repeats it."""
    limit(tsi_guest, new_flows=5)
    time.sleep(1.1)
    held, refused = [], []
    for _ in range(8):
        try:
            held.append(tsi_guest.connect(meter.port))
        except OSError as error:
            refused.append(error.errno)
    assert 5 <= len(held) <= 6 and set(refused) == {errno.EAGAIN}, (len(held), refused)
    assert tsi_guest.counters()["limit.new_flows"] == len(refused)


def test_tsi_datagrams(tsi_guest):
    limit(tsi_guest, rate_out=1 * MBIT)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink, tsi_guest.peer.udp() as sock:
        sink.bind(("127.0.0.1", 0))
        sink.settimeout(0.5)
        # 50 ms of it, and what comes meanwhile.
        for _ in range(200):
            sock.sendto(bytes(1000), "127.0.0.1", sink.getsockname()[1])
        wait_for(lambda: tsi_guest.counters()["drop.limit_out"] > 100, 5, "drops")
        got = 0
        try:
            while True:
                got += len(sink.recv(2000)) // 1000
        except socket.timeout:
            pass
        counters = tsi_guest.counters()
        assert got >= 5 and got + counters["drop.limit_out"] == 200, (got, counters)


# --- flows ---------------------------------------------------------------------------------------

CONNECTS = """
import socket, sys, time
held, errors, began = [], [], time.monotonic()
for i in range(int(sys.argv[3])):
    s = socket.socket()
    s.settimeout(float(sys.argv[4]))
    try:
        s.connect((sys.argv[1], int(sys.argv[2])))
        held.append(s)
    except OSError as e:
        errors.append(type(e).__name__)
print(len(held), ",".join(sorted(set(errors))) or "-", "%.2f" % (time.monotonic() - began), flush=True)
time.sleep(float(sys.argv[5]))
"""


def connects(guest, port, count, timeout=5, hold=0):
    """That many TCP connections of the guest's: how many it got, how the others failed, how long it took."""
    text = guest.sh("/usr/bin/python3 -c '%s' %s %d %d %g %g" % (
        CONNECTS, guest.gateway, port, count, timeout, hold))
    got, errors, seconds = text.split()
    return int(got), errors, float(seconds)


def flows(guest):
    return guest.daemon.ask("GET", "/v1/vms/%s/flows" % guest.vm)["items"]


def test_max_flows(guest, meter):
    """The one too many is refused at once; when one ends there is room again."""
    limit(guest, max_flows=10)
    wait_for(lambda: not flows(guest), 15, "the first ping is forgotten")
    got, errors, seconds = connects(guest, meter.port, 14)
    assert (got, errors) == (10, "ConnectionRefusedError") and seconds < 3
    assert guest.daemon.counters(guest.vm)["limit.flows"] == 4
    wait_for(lambda: not flows(guest), 5, "they have ended")
    assert connects(guest, meter.port, 10)[:2] == (10, "-")
    limit(guest, max_flows=None)
    assert connects(guest, meter.port, 14)[:2] == (14, "-")


def test_new_flows_are_spread_over_time(guest, meter):
    """A second's worth at once; the SYNs beyond it are dropped, counted, and repeated by the guest."""
    limit(guest, new_flows=5)
    time.sleep(1.1)
    got, errors, seconds = connects(guest, meter.port, 8)
    assert (got, errors) == (8, "-")
    assert 0.6 < seconds < 6
    assert guest.daemon.counters(guest.vm)["limit.new_flows"] >= 1


def test_new_flows_of_udp(guest, udp_echo):
    """A scan from one socket is one, too: each destination counts."""
    limit(guest, new_flows=5)
    time.sleep(1.1)
    before = guest.daemon.counters(guest.vm)
    guest.sh("""/usr/bin/python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in range(20000, 20050):
    s.sendto(b"x", ("%s", port))'""" % guest.gateway)
    after = guest.daemon.counters(guest.vm)
    assert 40 <= after["limit.new_flows"] - before["limit.new_flows"] <= 45
    assert after["udp.tx.datagrams"] - before["udp.tx.datagrams"] <= 10


def test_vsock_flows(vsock_guest):
    limit(vsock_guest, max_flows=3)
    listener = xfer.Listener(vsock_guest.daemon.directory, "--count", 0)
    vsock_guest.map_tcp(VSOCK_PORT, listener.port)
    held = [vsock_guest.peer.connect_to(VSOCK_PORT) for _ in range(3)]
    wait_for(lambda: vsock_guest.daemon.ask("GET", "/v1/vms/%s/stats" % vsock_guest.vm)["flows"]["vsock"] == 3,
             5, "three connections")
    assert vsock_guest.refused(VSOCK_PORT)
    assert vsock_guest.counters()["limit.flows"] == 1
    for stream in held:
        stream.close()
    listener.stop()


# --- they stay -----------------------------------------------------------------------------------

def test_limits_survive(daemon, guests, meter):
    """The worker's death, and netctld's."""
    guest = guests.add(TapGuest(daemon, limits={"rate_out": 20 * MBIT, "max_flows": 99}))
    for victim in ("worker", "netctld"):
        if victim == "worker":
            worker = daemon.worker_pid("guest")
            os.kill(worker, signal.SIGKILL)
            wait_for(lambda: daemon.worker_pid("guest") != worker and daemon.vm("guest")["state"] == "running",
                     10, "another worker")
        else:
            daemon.kill()
            daemon.start()
        assert daemon.vm("guest")["limits"] == {"rate_out": 20 * MBIT, "max_flows": 99}
        transfer = xfer.start(daemon.directory, guest.gateway, meter.port, "--send", 1 << 40, guest=guest)
        before = meter.total
        wait_for(lambda: meter.total > before + MBIT, 10, "bytes")
        meter.near(20 * MBIT)
        transfer.stop()


def test_snapshot_brings_them_back(daemon, tap_guest):
    limit(tap_guest, rate_in=10 * MBIT, new_flows=50)
    record = daemon.netctl("snapshot", "create", "guest")["id"]
    limit(tap_guest, rate_in=None, new_flows=7, max_flows=8)
    daemon.netctl("vm", "restore", "guest", record)
    assert daemon.vm("guest")["limits"] == {"rate_in": 10 * MBIT, "new_flows": 50}
    tap_guest.run(["ping", "-c", "1", "-W", "1", tap_guest.gateway])

    def transfer():
        listener = xfer.Listener(daemon.directory, "--count", 1, "--send", 10 * MBIT // 8 * SECONDS)
        here = xfer.connect(daemon.directory, tap_guest.gateway, listener.port, guest=tap_guest)
        listener.results()
        return rate_of(here[0], "rx")
    measured(transfer, 10 * MBIT)


# --- netctl --------------------------------------------------------------------------------------

def test_said_on_the_command_line(daemon):
    daemon.netctl("vm", "create", "web", "--link", "none", "--rate-in", "100mbit", "--rate-out", "1.5gbit",
                  "--max-flows", "1000", "--new-flows", "50")
    assert daemon.vm("web")["limits"] == {"rate_in": 100 * MBIT, "rate_out": 1500 * MBIT,
                                          "max_flows": 1000, "new_flows": 50}
    daemon.netctl("vm", "set", "web", "--rate-in", "none", "--max-flows", "7")
    assert daemon.vm("web")["limits"] == {"rate_out": 1500 * MBIT, "max_flows": 7, "new_flows": 50}
    status, shown, _ = run_table(daemon, "vm", "show", "web")
    assert status == 0 and "out 1.5gbit, flows 7, new flows/s 50" in shown


def run_table(daemon, *args):
    return run(daemon.netctl_argv(*args), 20, env=daemon.env)


@pytest.mark.parametrize("args,complaint", [
    (("--rate-in", "fast"), "--rate-in fast: a rate like 100mbit is wanted"),
    (("--rate-in", "7kbit"), "8kbit to 1tbit"),
    (("--rate-out", "2tbit"), "8kbit to 1tbit"),
    (("--rate-out", "-5"), "8kbit to 1tbit"),
    (("--max-flows", "0"), "--max-flows 0: a number of 1 to 1000000"),
    (("--new-flows", "many"), "--new-flows many: a number of 1 to 1000000"),
    ((), "nothing to set"),
])
def test_bad_limits_are_refused_in_one_line(daemon, args, complaint):
    daemon.netctl("vm", "create", "web", "--link", "none")
    text = daemon.fails("vm", "set", "web", *args)
    assert complaint in text, text
    assert daemon.vm("web")["limits"] == {}


def test_bad_limits_of_the_api(daemon):
    daemon.netctl("vm", "create", "web", "--link", "none", "--max-flows", "5")
    for body, field in (({"rate_in": 7999}, "limits.rate_in"), ({"rate_out": "1mbit"}, "limits.rate_out"),
                        ({"max_flows": 0}, "limits.max_flows"), ({"speed": 1}, "limits.speed"),
                        ({"new_flows": 10 ** 7}, "limits.new_flows"), (5, "limits")):
        answer = daemon.api("PATCH", "/v1/vms/web", {"limits": body})
        assert answer.status == 400 and answer.json["field"] == field, answer
    assert daemon.vm("web")["limits"] == {"max_flows": 5}

