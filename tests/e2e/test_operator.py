# SPDX-License-Identifier: MIT
"""What an operator looks at: netctl flows, filtered and sorted, and netctl top, on a terminal and elsewhere."""

import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import struct
import subprocess
import termios
import time

import pytest

from netctltest import tsi
from netctltest.process import SLOW, run, wait_for
from netctltest.servers import free_port

HOLD = """
import socket, sys, time
held = []
for spec in sys.argv[2:]:
    proto, port, count = spec.split(":")
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
    s.connect((sys.argv[1], int(port)))
    s.send(bytes(int(count)))
    held.append(s)
print("ready", flush=True)
time.sleep(1000)
"""


class Server:
    """Accepts and keeps."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(32)
        self.port = self.sock.getsockname()[1]

    def close(self):
        self.sock.close()


@pytest.fixture
def servers():
    it = [Server() for _ in range(3)]
    yield it
    for server in it:
        server.close()


def hold(guest, *specs):
    """A program of the guest's that has these flows: "tcp:PORT:BYTES" each."""
    process = guest.popen(["/usr/bin/python3", "-c", HOLD, guest.gateway, *specs])
    wait_for(lambda: "ready" in process.log(), 10, "flows")
    return process


def flows(guest, *args):
    return guest.daemon.netctl("flows", guest.vm, *args)["items"]


def ports(found):
    return [int(flow["remote"].rpartition(":")[2]) for flow in found]


def table(daemon, *args):
    status, out, err = run(daemon.netctl_argv(*args), 20, env=daemon.env)
    assert status == 0, out + err
    return [line.split() for line in out.splitlines()]


# --- flows ---------------------------------------------------------------------------------------

def test_filters(tap_guest, servers):
    a, b, c = (server.port for server in servers)
    udp = free_port(socket.SOCK_DGRAM)
    hold(tap_guest, "tcp:%d:10" % a, "tcp:%d:1000" % b, "tcp:%d:100" % c, "udp:%d:5" % udp)
    wait_for(lambda: len(flows(tap_guest, "-t")) == 3, 5, "three connections")
    assert sorted(ports(flows(tap_guest, "-t"))) == sorted((a, b, c))
    assert ports(flows(tap_guest, "--proto", "udp")) == [udp]
    assert ports(flows(tap_guest, "-u")) == [udp]
    assert len(flows(tap_guest, "--proto", "tcp,udp")) == 4
    assert ports(flows(tap_guest, "--dport", b)) == [b]
    assert sorted(ports(flows(tap_guest, "--dport", "%d,%d" % (a, c)))) == sorted((a, c))
    low = min(a, b, c)
    assert ports(flows(tap_guest, "-t", "--dport", "1-%d" % low)) == [low]
    own = int(flows(tap_guest, "--dport", a)[0]["guest"].rpartition(":")[2])
    assert ports(flows(tap_guest, "--sport", own)) == [a]
    assert ports(flows(tap_guest, "--port", own)) == ports(flows(tap_guest, "--port", a)) == [a]
    assert len(flows(tap_guest, "--dst", "10.0.2.0/24")) == 4
    assert len(flows(tap_guest, "--dst", "127.0.0.1")) == 4, "as the host has it"
    assert flows(tap_guest, "--dst", "10.0.3.0/24") == []
    assert len(flows(tap_guest, "--src", "10.0.2.15")) == 4
    assert len(flows(tap_guest, "--state", "established")) == 3
    assert len(flows(tap_guest, "--state", "established,open")) == 4
    assert flows(tap_guest, "--state", "closing") == []
    assert flows(tap_guest, "--dir", "in") == []
    # Of different kinds all must hold.
    assert flows(tap_guest, "-u", "--dport", a) == []
    assert ports(flows(tap_guest, "-t", "--state", "established", "--dport", c, "--dst", "10.0.2.2")) == [c]


def test_order(tap_guest, servers):
    a, b, c = (server.port for server in servers)
    hold(tap_guest, "tcp:%d:10" % a, "tcp:%d:1000" % b, "tcp:%d:100" % c)
    wait_for(lambda: len(flows(tap_guest, "-t")) == 3, 5, "three connections")
    assert ports(flows(tap_guest, "-t", "--sort", "bytes")) == [b, c, a]
    assert ports(flows(tap_guest, "-t", "-S", "sent", "-r")) == [a, c, b]
    assert ports(flows(tap_guest, "-t", "--sort", "remote")) == sorted((a, b, c))
    assert ports(flows(tap_guest, "-t", "--sort", "remote", "-r")) == sorted((a, b, c), reverse=True)
    assert ports(flows(tap_guest, "-t", "--sort", "bytes", "-n", "1")) == [b]
    ages = [flow["age_ms"] for flow in flows(tap_guest, "-t", "--sort", "age")]
    assert ages == sorted(ages, reverse=True)
    # What is equal is in one order, each time.
    assert ports(flows(tap_guest, "-t", "--sort", "state")) == ports(flows(tap_guest, "-t"))
    lines = table(tap_guest.daemon, "flows", "guest", "-t", "--sort", "bytes")
    assert lines[0] == ["PROTO", "DIR", "GUEST", "REMOTE", "HOST", "STATE", "AGE", "IDLE", "SENT", "RECEIVED"]
    assert [line[8] for line in lines[1:]] == ["1000B", "100B", "10B"]
    assert all(len(line) == 10 for line in lines)


def test_vsock_and_tsi(daemon, servers):
    """Connections of a guest without a NIC, with where they lead."""
    record = daemon.ask("POST", "/v1/vms", {"name": "box", "link": {"kind": "none"}, "policy": "open",
                                            "host_access": True, "vsock": {"kind": "stream"}})
    a, b = servers[0].port, servers[1].port
    guest = tsi.Guest(record["vsock"]["path"])
    daemon.netctl("vsock", "map", "box", 5000, "tcp:127.0.0.1:%d" % a)
    mapped = guest.connect_to(5000)
    mapped.send(bytes(100))
    program = guest.connect_tsi("127.0.0.1", b)
    program.stream.send(bytes(2000))
    found = wait_for(lambda: len(daemon.netctl("flows", "box", "--state", "established")["items"]) == 2 and
                     daemon.netctl("flows", "box", "--sort", "bytes")["items"], 5, "two connections")
    assert [(f["proto"], f["dir"], f["remote"], f["host"], f["tx_bytes"]) for f in found] == [
        ("vsock", "out", "127.0.0.1:%d" % b, "127.0.0.1:%d" % b, 2000),
        ("vsock", "out", "vsock:5000", "127.0.0.1:%d" % a, 100)]
    assert all(f["guest"].startswith("vsock:") and f["age_ms"] < 60000 for f in found)
    assert len(daemon.netctl("flows", "box", "--dport", 5000)["items"]) == 1
    assert len(daemon.netctl("flows", "box", "--proto", "vsock", "--dst", "127.0.0.0/8")["items"]) == 2
    assert daemon.netctl("flows", "box", "-t")["items"] == []
    guest.close()


@pytest.mark.parametrize("args,complaint", [
    (("--dport", "4294967296"), "--dport 4294967296: ports are wanted"),
    (("--port", "80-70"), "ports are wanted"),
    (("--port", "80,"), "ports are wanted"),
    (("--dst", "example.org"), "--dst example.org: addresses or prefixes are wanted"),
    (("--src", "10.0.0.0/33"), "addresses or prefixes are wanted"),
    (("--proto", "sctp"), "--proto sctp: tcp, udp, icmp or vsock is wanted"),
    (("--dir", "up"), "in or out is wanted"),
    (("--state", ""), "states are wanted"),
    (("--state", "foo"), "--state foo: states are wanted, of established, syn-sent"),
    (("--sort", "size"), "--sort size: a key is age, idle, sent"),
    (("--limit", "0"), "--limit 0: a number of 1 to 100000"),
    (("--port", ",".join("80" for _ in range(33))), "more than 32 filters"),
])
def test_bad_filters_are_refused_in_one_line(daemon, args, complaint):
    daemon.netctl("vm", "create", "web", "--link", "none")
    text = daemon.fails("flows", "web", *args)
    assert complaint in text, text


# --- top, elsewhere than on a terminal -----------------------------------------------------------

HEAD = ["NAME", "STATE", "FLOWS", "IN", "bit/s", "OUT", "bit/s", "NEW/s", "REFUSED/s", "DROPPED/s", "IN", "OUT"]


def test_one_batch(daemon, tap_guest):
    daemon.netctl("vm", "create", "idle", "--link", "none")
    lines = table(daemon, "top", "-d", "0.2")
    assert lines[0] == HEAD and len(lines) == 3
    assert {line[0]: line[1] for line in lines[1:]} == {"guest": "running", "idle": "waiting"}


def test_batches_with_figures(daemon, tap_guest):
    """Rates of what goes through, in bits a second, and what is refused."""
    tap_guest.daemon.ask("PATCH", "/v1/vms/guest", {"limits": {"rate_out": 20000000}})
    sink = socket.socket()
    sink.bind(("127.0.0.1", 0))
    sink.listen(1)
    sender = tap_guest.popen("exec socat -u /dev/zero TCP4:10.0.2.2:%d" % sink.getsockname()[1])
    peer, _ = sink.accept()
    swallow = subprocess.Popen(["cat"], stdin=peer.fileno(), stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    argv = daemon.netctl_argv("-o", "json", "top", "-d", "1", "-n", "3", "--sort", "out")
    began = time.monotonic()
    status, out, err = run(argv, 20, env=daemon.env)
    assert status == 0, out + err
    assert 3 <= time.monotonic() - began < 3 + 3 * SLOW
    batches = [json.loads(line) for line in out.splitlines()]
    assert len(batches) == 3
    for batch in batches:
        item = batch["items"][0]
        assert 0.9 < batch["seconds"] < 2 * SLOW
        assert item["name"] == "guest" and item["flows"] >= 1
        # Frames, and what is on its way behind the limit.
        assert 17e6 < item["out_bits_per_second"] < 24e6, item
    totals = [batch["items"][0]["out_bytes"] for batch in batches]
    assert totals == sorted(totals) and totals[2] > totals[0]
    sender.stop()
    swallow.kill()
    swallow.wait()
    peer.close()
    sink.close()


def test_refusals_are_seen(daemon, tap_guest):
    daemon.netctl("policy", "set", "guest", "none")
    scan = tap_guest.popen(["/usr/bin/python3", "-c", """
import socket
while True:
    for port in range(1, 5):
        s = socket.socket()
        s.settimeout(1)
        s.connect_ex(("192.0.2.1", port))
        s.close()
"""])
    wait_for(lambda: daemon.counters("guest")["egress.refused_by_policy"] > 100, 10, "refusals")
    batch = json.loads(run(daemon.netctl_argv("-o", "json", "top"), 20, env=daemon.env)[1])
    assert batch["items"][0]["refused_per_second"] > 50, batch
    scan.stop()


def test_the_reader_goes(daemon):
    """head -1 and the like: top ends instead of writing for nobody."""
    process = subprocess.Popen(daemon.netctl_argv("top", "-n", "1000", "-d", "0.1"), env=daemon.env,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    process.wait(10 * SLOW)
    process.stderr.close()


@pytest.mark.parametrize("args,complaint", [
    (("-d", "0"), "--interval 0: a number of seconds, 0.1 to 3600, is wanted"),
    (("-d", "nan"), "0.1 to 3600"), (("-d", "1e9"), "0.1 to 3600"), (("-d", "2s"), "0.1 to 3600"),
    (("-n", "0"), "--count 0: a number of 1 to"),
    (("--sort", "colour"), "--sort colour: a key is traffic, name"),
])
def test_bad_options_of_top(daemon, args, complaint):
    text = daemon.fails("top", *args)
    assert complaint in text, text


# --- top, on a terminal --------------------------------------------------------------------------

class Screen:
    """netctl top on a terminal of its own."""

    def __init__(self, daemon, *args, rows=24, columns=100, stdin=True, shell=None):
        argv = daemon.netctl_argv("top", *args)
        if shell:
            argv = ["sh", "-mc", shell % shlex.join(argv)]
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.text = b""
        self.process = subprocess.Popen(
            argv, env=dict(daemon.env, TERM="xterm"), stdout=slave, stderr=slave, stdin=slave if stdin else subprocess.DEVNULL,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0))

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        """What comes in so many seconds."""
        got, end = b"", time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                break
            try:
                data = os.read(self.master, 65536)
            except OSError:
                break
            if not data:
                break
            got += data
        self.text += got
        return got

    def wait_text(self, word, timeout=5):
        """Reads until a word has come. Returns all that came since the last call."""
        got, end = b"", time.monotonic() + timeout * SLOW
        while word.encode() not in got:
            assert time.monotonic() < end, "%r is missing in %r" % (word, got)
            got += self.read(0.05)
        return got.decode()

    def press(self, key):
        os.write(self.master, key.encode())

    def ended(self, timeout=5):
        end = time.monotonic() + timeout * SLOW
        while self.process.poll() is None and time.monotonic() < end:
            self.read(0.05)
        self.read(0.1)
        assert self.process.poll() is not None, "top goes on"
        assert self.text.endswith(b"\033[?25h\033[?1049l"), self.text[-80:]
        assert termios.tcgetattr(self.slave) == self.before, "the terminal is not as it was"
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


def frames(text):
    """The screens that were drawn, without escapes, as lists of lines."""
    # The terminal makes another line feed of each.
    return [[line.rstrip("\r") for line in re.sub(r"\033\[[0-9;?]*[A-Za-z]", "", frame).split("\n")]
            for frame in text.split("\033[H")[1:]]


@pytest.fixture
def screens():
    made = []
    yield lambda *args, **options: made.append(Screen(*args, **options)) or made[-1]
    for screen in made:
        screen.close()


def three_vms(daemon):
    for name in ("alpha", "beta", "gamma"):
        daemon.netctl("vm", "create", name, "--link", "none")


def test_it_lives_until_q(daemon, screens):
    three_vms(daemon)
    screen = screens(daemon, "-d", "0.2")
    first = screen.wait_text("gamma")
    assert "\033[?1049h" in first and "3 VMs, 0 running" in first
    assert frames(first)[0][4].split()[3:5] == ["-", "-"], "no rate is known yet"
    daemon.netctl("vm", "create", "delta", "--link", "none")
    assert "4 VMs" in screen.wait_text("delta")
    screen.press("q")
    assert screen.ended() == 0


def test_count_ends_it(daemon, screens):
    three_vms(daemon)
    screen = screens(daemon, "-d", "0.1", "-n", "3")
    assert screen.ended() == 0
    assert len(frames(screen.text.decode())) == 3


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_the_terminal_as_it_was(daemon, screens, sig):
    three_vms(daemon)
    screen = screens(daemon)
    screen.wait_text("gamma")
    screen.process.send_signal(sig)
    assert screen.ended() == 0


def test_control_c(daemon, screens):
    three_vms(daemon)
    screen = screens(daemon)
    screen.wait_text("gamma")
    screen.press("\003")
    assert screen.ended() == 0


def test_resized(daemon, screens):
    """Drawn anew at once; no line is wider and no screen higher than the terminal."""
    three_vms(daemon)
    screen = screens(daemon, "-d", "30")
    screen.wait_text("gamma")
    for rows, columns in ((24, 40), (5, 30), (2, 1), (50, 200)):
        screen.read(0.2)
        screen.resize(rows, columns)
        drawn = frames(screen.wait_text("\033[J"))[-1]
        assert len(drawn) <= rows, drawn
        assert all(len(line) <= columns for line in drawn), drawn
    assert any("DROPPED/s" in line for line in drawn), drawn
    screen.press("q")
    assert screen.ended() == 0


def test_a_key_chooses_the_order(daemon, screens):
    three_vms(daemon)
    screen = screens(daemon, "-d", "30", "--sort", "out")
    assert "by out;" in screen.wait_text("gamma")
    screen.press("x\033[A") # mean nothing
    screen.press("n")
    assert "by name;" in screen.wait_text("gamma")
    screen.press("q")
    assert screen.ended() == 0


def test_stopped_and_continued(daemon, screens):
    """As a job of a shell: that has its screen back meanwhile."""
    three_vms(daemon)
    screen = screens(daemon, "-d", "30", shell="%s; echo it is stopped; fg")
    screen.wait_text("gamma")
    screen.press("\032")
    stopped = screen.wait_text("it is stopped")
    assert "\033[?25h\033[?1049l" in stopped
    again = stopped.partition("it is stopped")[2]
    assert "\033[?1049h" in again + ("" if "gamma" in again else screen.wait_text("gamma"))
    screen.press("q")
    assert screen.ended() == 0


def test_nobody_to_continue_it(daemon, screens):
    """What the kernel would not stop goes on."""
    three_vms(daemon)
    screen = screens(daemon, "-d", "30")
    screen.wait_text("gamma")
    screen.process.send_signal(signal.SIGTSTP)
    assert "\033[?1049h" in screen.wait_text("gamma")
    screen.press("q")
    assert screen.ended() == 0


def test_the_daemon_goes_and_comes_back(daemon, screens):
    three_vms(daemon)
    screen = screens(daemon, "-d", "0.2")
    screen.wait_text("3 VMs")
    daemon.kill()
    screen.wait_text("netctld does not answer")
    daemon.start()
    screen.wait_text("3 VMs")
    screen.press("q")
    assert screen.ended() == 0


def test_no_keyboard(daemon, screens):
    """stdin is no terminal: it lives on, without keys."""
    three_vms(daemon)
    screen = screens(daemon, "-d", "0.1", "-n", "4", stdin=False)
    assert screen.ended() == 0
    assert len(frames(screen.text.decode())) == 4


def test_dumb_terminals_get_a_batch(daemon):
    three_vms(daemon)
    master, slave = pty.openpty()
    done = subprocess.run(daemon.netctl_argv("top", "-d", "0.1"), env=dict(daemon.env, TERM="dumb"),
                          stdout=slave, stdin=slave, timeout=20)
    assert done.returncode == 0
    assert b"\033" not in os.read(master, 65536)
    os.close(master)
    os.close(slave)
