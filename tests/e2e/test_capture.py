# SPDX-License-Identifier: MIT
"""netctl capture: what tshark reads is what passed, whoever is slow, gone or hostile."""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from netctltest.process import SLOW, wait_for
from netctltest.servers import UdpEcho

GATEWAY = "10.0.2.2"


def tshark(path, *args):
    assert shutil.which("tshark"), "no tshark: packaging/deps test"
    done = subprocess.run(["tshark", "-n", "-r", str(path), *args], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "cut short" not in done.stderr and "malformed" not in done.stderr.lower(), done.stderr
    return done.stdout.splitlines()


def fields(path, *names, where=None):
    args = ["-T", "fields", "-E", "separator=|"] + [a for name in names for a in ("-e", name)]
    return [line.split("|") for line in tshark(path, *(["-Y", where] if where else []), *args)]


def statistics(data):
    """What the last statistics say: received and dropped."""
    at, found = 0, None
    while at < len(data):
        kind, length = struct.unpack_from("=II", data, at)
        assert length >= 12 and length % 4 == 0 and at + length <= len(data), "a block is cut"
        assert struct.unpack_from("=I", data, at + length - 4)[0] == length
        if kind == 5:
            options, o = {}, at + 20
            while o < at + length - 4:
                code, size = struct.unpack_from("=HH", data, o)
                if not code:
                    break
                options[code] = struct.unpack_from("=Q", data, o + 4)[0]
                o += 4 + (size + 3) // 4 * 4
            found = options[4], options[5]
        at += length
    return found


def capture(guest, *args, out=None, vm="guest"):
    argv = guest.daemon.netctl_argv("capture", vm, "-w", out or "-", *args)
    return subprocess.Popen(argv, stdout=subprocess.PIPE if not out else None, stderr=subprocess.PIPE)


def begun(path):
    """Waits until the file has its head: then frames are taken."""
    wait_for(lambda: os.path.exists(path) and os.path.getsize(path) > 0, 5, "the capture")


def stop(process, timeout=10):
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=timeout * SLOW)
    assert process.returncode == 0, err
    return out, err.decode()


def pump(guest, megabytes):
    """Sends so much to a sink on the host as fast as it can."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = subprocess.Popen(
            [*guest.nsenter, "/usr/bin/python3", "-c",
             "import socket\ns = socket.create_connection((%r, %d))\nfor _ in range(%d): s.sendall(bytes(1 << 20))\n"
             "s.close()" % (GATEWAY, server.getsockname()[1], megabytes)])
        sock = server.accept()[0]
        total = 0
        sock.settimeout(60)
        while True:
            data = sock.recv(1 << 20)
            if not data:
                break
            total += len(data)
        assert client.wait(30) == 0
        assert total == megabytes << 20
        sock.close()


def test_both_directions_are_read_by_tshark(guest, web, tmp_path):
    path = str(tmp_path / "web.pcapng")
    process = capture(guest, out=path)
    begun(path)
    guest.sh("curl -s http://%s:%d/" % (GATEWAY, web.port))
    guest.sh("ping -c 1 -W 1 " + GATEWAY)
    _, err = stop(process)
    assert fields(path, "http.request.uri", where="http.request") == [["/"]]
    assert fields(path, "http.response.code", "ip.src", where="http.response") == [["200", GATEWAY]]
    echoes = fields(path, "icmp.type", "frame.packet_flags_direction", where="icmp")
    assert echoes == [["8", "0x00000001"], ["0", "0x00000002"]]  # inbound, outbound
    times = [float(t) for t, in fields(path, "frame.time_epoch")]
    assert times == sorted(times) and abs(times[-1] - time.time()) < 30
    with open(path, "rb") as f:
        received, dropped = statistics(f.read())
    assert (received, dropped) == (len(times), 0)
    assert err == "netctl: capture: %d frames, 0 lost\n" % len(times)
    assert fields(path, "frame.interface_name")[0] == ["guest"]


def test_ports_choose_and_snaplen_cuts(tap_guest, web, tmp_path):
    path = str(tmp_path / "web.pcapng")
    echo = UdpEcho()
    process = capture(tap_guest, "--port", "%d,9" % echo.port, "--snaplen", 60, out=path)
    begun(path)
    tap_guest.sh("curl -s http://%s:%d/" % (GATEWAY, web.port))
    tap_guest.sh("ping -c 1 -W 1 " + GATEWAY)
    tap_guest.sh("/usr/bin/python3 -c \"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
                 " s.sendto(b'x' * 500, ('%s', %d)); s.settimeout(5); s.recv(600)\"" % (GATEWAY, echo.port))
    tap_guest.run("curl -s --max-time 2 http://%s:9/" % GATEWAY)
    stop(process)
    echo.close()
    found = fields(path, "udp.dstport", "udp.srcport", "tcp.port", "frame.len", "frame.cap_len")
    udp = [f for f in found if f[0]]
    assert [f[3:] for f in udp] == [["542", "60"], ["542", "60"]]
    assert udp[0][0] == udp[1][1] == str(echo.port)
    tcp = [f for f in found if f[2]]
    assert tcp and all("9" in f[2].split(",") for f in tcp) and len(udp) + len(tcp) == len(found)


def test_size_and_count_end_it(tap_guest, tmp_path):
    path = str(tmp_path / "size.pcapng")
    process = capture(tap_guest, "--max-size", "1M", out=path)
    begun(path)
    pump(tap_guest, 20)
    assert process.wait(10 * SLOW) == 0
    assert (1 << 20) - 70000 < os.path.getsize(path) <= 1 << 20
    with open(path, "rb") as f:
        assert statistics(f.read())[0] > 10
    assert tshark(path)
    path = str(tmp_path / "count.pcapng")
    process = capture(tap_guest, "-c", 3, out=path)
    begun(path)
    tap_guest.sh("ping -c 4 -i 0.2 -W 1 " + GATEWAY)
    assert process.wait(10 * SLOW) == 0
    assert len(tshark(path)) == 3


def test_stdout_goes_into_a_pipe(tap_guest):
    process = capture(tap_guest, "--port", "53")
    head = process.stdout.read1(65536)
    assert struct.unpack_from("=I", head)[0] == 0x0a0d0d0a
    tap_guest.run("dig +time=1 +tries=1 @%s a.example A" % GATEWAY)
    out, _ = stop(process)
    done = subprocess.run(["tshark", "-n", "-r", "-", "-T", "fields", "-e", "dns.qry.name"], input=head + out,
                          capture_output=True, timeout=30)
    assert b"a.example" in done.stdout, done.stderr


def test_slow_reader_loses_frames_that_are_counted_and_stalls_nothing(tap_guest):
    process = capture(tap_guest)
    head = process.stdout.read1(4096)
    began = time.monotonic()
    pump(tap_guest, 200)
    seconds = time.monotonic() - began
    assert tap_guest.daemon.api("GET", "/v1/vms/guest").status == 200
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30 * SLOW)
    assert process.returncode == 0, err
    received, dropped = statistics(head + out)
    assert dropped > 0
    packets = int(err.split()[2])
    assert packets + dropped == received
    assert b"%d lost" % dropped in err
    # As fast as without, but for the machine's own moods.
    began = time.monotonic()
    pump(tap_guest, 200)
    assert seconds < 5 * (time.monotonic() - began) + 2
    assert tap_guest.daemon.worker_pid("guest")


def test_reader_that_goes_leaves_nothing(tap_guest):
    worker = tap_guest.daemon.worker_pid("guest")

    def sockets():
        return len(os.listdir("/proc/%d/fd" % worker))
    before = sockets()
    for kill in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        process = capture(tap_guest)
        process.stdout.read1(4096)
        assert sockets() == before + 1
        process.send_signal(kill)
        process.wait(10)
        tap_guest.run("ping -c 1 -W 1 " + GATEWAY)
        wait_for(lambda: sockets() == before, 5, "the worker closes")
        process.stdout.close()
        process.stderr.close()
    assert tap_guest.daemon.worker_pid("guest") == worker


def test_four_at_a_time(tap_guest):
    several = [capture(tap_guest) for _ in range(4)]
    for process in several:
        process.stdout.read1(4096)
    text = tap_guest.daemon.fails("capture", "guest", "-w", "/dev/null")
    assert "4 captures" in text and len(text.splitlines()) == 1
    tap_guest.sh("ping -c 1 -W 1 " + GATEWAY)
    for process in several:
        out, _ = stop(process)
        assert len(out) > 200


def test_it_outlives_netctld_and_ends_with_the_worker(tap_guest, tmp_path):
    daemon = tap_guest.daemon
    path = str(tmp_path / "x.pcapng")
    process = capture(tap_guest, out=path)
    begun(path)
    daemon.kill()
    tap_guest.sh("ping -c 1 -W 1 " + GATEWAY)
    daemon.start()
    wait_for(lambda: os.path.getsize(path) > 300, 5, "frames")
    assert process.poll() is None
    os.kill(daemon.worker_pid("guest"), signal.SIGKILL)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 1 and b"worker" in err.splitlines()[-1]
    assert fields(path, "icmp.type", where="icmp")


@pytest.mark.parametrize("args, words", [
    ([], "-w FILE is needed"), (["-w", "/dev/null", "--port", "0"], "--port"),
    (["-w", "/dev/null", "--port", "1,2,3,4,5,6,7,8,9"], "--port"), (["-w", "/dev/null", "--port", "80,"], "--port"),
    (["-w", "/dev/null", "--max-size", "10"], "--max-size"), (["-w", "/dev/null", "--max-size", "1T"], "--max-size"),
    (["-w", "/dev/null", "-c", "0"], "--count"), (["-w", "/dev/null", "--snaplen", "262145"], "--snaplen"),
    (["-w", "/nowhere/x"], "/nowhere/x"),
])
def test_bad_command_line_is_one_line(tap_guest, args, words):
    text = tap_guest.daemon.fails("capture", "guest", *args)
    assert words in text and text.startswith("netctl: ")


def test_bad_attach_lines(daemon, tap_guest):
    daemon.ask("POST", "/v1/vms", {"name": "idle", "link": {"kind": "none"}})
    ours, theirs = socket.socketpair()
    pipe = os.pipe()
    for line, fds, status, field in [
            ({"vm": "nobody"}, [theirs.fileno()], 404, "vm"),
            ({"vm": "idle"}, [theirs.fileno()], 503, "vm"),
            ({"vm": "guest"}, [], 400, "fd"),
            ({"vm": "guest"}, [pipe[1]], 400, "fd"),
            ({"vm": "guest", "ports": [70000]}, [theirs.fileno()], 400, "ports[0]"),
            ({"vm": "guest", "ports": ["x"]}, [theirs.fileno()], 400, "ports[0]"),
            ({"vm": "guest", "ports": [1] * 9}, [theirs.fileno()], 400, "ports"),
            ({"vm": "guest", "ports": 80}, [theirs.fileno()], 400, "ports"),
            ({"vm": "guest", "snaplen": 0}, [theirs.fileno()], 400, "snaplen"),
            ({"vm": "guest", "x": 0}, [theirs.fileno()], 400, "x")]:
        attach = daemon.attach()
        answer = attach.ask(dict(line, op="capture"), fds)
        assert not answer["ok"] and answer["status"] == status and answer["field"] == field, (line, answer)
    for fd in pipe:
        os.close(fd)
    ours.close()
    theirs.close()


def test_hostile_worker_makes_no_file_grow(daemon, tmp_path):
    """What comes of a worker that a guest captured: netctl writes whole blocks of ours, or nothing."""
    path = str(tmp_path / "run")
    os.makedirs(path)

    def serve(attach_path, payload):
        """An attach.sock that answers yes, and writes this into the fd."""
        server = socket.socket(socket.AF_UNIX)
        server.bind(attach_path)
        server.listen(1)

        def run():
            conn = server.accept()[0]
            _, fds, _, _ = socket.recv_fds(conn, 65536, 1)
            conn.sendall(json.dumps({"ok": True, "vm": {}}).encode() + b"\n")
            with socket.socket(fileno=fds[0]) as out:
                try:
                    out.sendall(payload)
                    out.recv(1)
                except OSError:
                    pass
            conn.close()
            server.close()
        thread = threading.Thread(target=run)
        thread.start()
        return thread
    good = struct.pack("=IIIHHq", 0x0a0d0d0a, 28, 0x1a2b3c4d, 1, 0, -1) + struct.pack("=I", 28)
    # netctl looks for api.sock first: the real one, beside the false attach.sock.
    os.symlink(daemon.socket, os.path.join(path, "api.sock"))
    for i, bad in enumerate([b"\xff" * 100, struct.pack("=II", 6, 0xfffffffc), struct.pack("=II", 6, 4) * 9,
                             struct.pack("=II", 9, 32) + bytes(24), struct.pack("=III", 6, 13, 13) + bytes(9),
                             struct.pack("=II", 6, 32) + bytes(24)]):
        attach_path = os.path.join(path, "attach.sock")
        if os.path.exists(attach_path):
            os.unlink(attach_path)
        thread = serve(attach_path, good + bad)
        out = str(tmp_path / ("out%d" % i))
        done = subprocess.run([daemon.program("netctl"), "-s", os.path.join(path, "api.sock"), "capture", "guest",
                               "-w", out], capture_output=True, text=True, timeout=20)
        thread.join()
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, (i, done)
        assert "not to be trusted" in done.stderr
        with open(out, "rb") as f:
            assert f.read() == good
