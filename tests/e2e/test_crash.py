# SPDX-License-Identifier: MIT
"""Processes die by kill -9: what was promised holds."""

import os
import signal
import socket
import threading
import time

import pytest

from netctltest import xfer
from netctltest.namespace import StreamGuest, TapGuest
from netctltest.process import SLOW, wait_for
from netctltest.servers import fetch

MiB = 1024 * 1024


class Prober(threading.Thread):
    """Connects to a port again and again, and counts what is refused."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port = port
        self.good = 0
        self.bad = []
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.02):
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as sock:
                    sock.sendall(b"ping")
                    data = sock.recv(4)
                    if data == b"ping":
                        self.good += 1
                    else:
                        self.bad.append(data)
            except OSError as error:
                self.bad.append(error)

    def stop(self):
        self.over.set()
        self.join(10)


def echo_server(guest, port=7):
    guest.popen(["socat", "TCP4-LISTEN:%d,fork,reuseaddr,backlog=128" % port, "EXEC:cat"])
    wait_for(lambda: guest.run("ss -Hltn sport = :%d" % port)[1].strip(), 5, "echo server")
    return guest.forward("tcp:0:%d" % port)


def wait_until_counted(daemon, **counts):
    """Until the counters tcp.… have grown by so much, rx being what goes to the guest."""
    before = daemon.counters("guest")

    def counted():
        now = daemon.counters("guest")
        return all(now[name] - before[name] >= n for name, n in wanted.items())
    wanted = {"tcp." + name.replace("_", "."): n for name, n in counts.items()}
    wait_for(counted, 10, "TCP moves on")


def test_netctld_killed_during_a_transfer(daemon, tap_guest):
    """The transfer ends whole, forwards accept all the while, the store has lost nothing."""
    probed = echo_server(tap_guest)
    listener = xfer.Listener(daemon.directory, "--count", 1)
    worker = daemon.worker_pid("guest")
    transfer = xfer.start(daemon.directory, tap_guest.gateway, listener.port, "--send", 60 * MiB,
                          "--tx-rate", 20 * MiB, guest=tap_guest)
    prober = Prober(probed)
    prober.start()
    wait_until_counted(daemon, tx_bytes=MiB)
    added = daemon.netctl("forward", "add", "guest", "tcp:0:7")
    daemon.netctl("hosts", "set", "guest", "kept.internal=192.0.2.7")
    daemon.kill()
    time.sleep(1)
    assert fetch_echo(added["listen"]["port"]) == b"without netctld"
    daemon.start()
    assert daemon.worker_pid("guest") == worker, "the worker was not adopted again"
    assert added["id"] in [f["id"] for f in daemon.ask("GET", "/v1/vms/guest/forwards")["items"]]
    assert daemon.ask("GET", "/v1/vms/guest/hosts")["items"] == [
        {"name": "kept.internal", "addresses": ["192.0.2.7"]}]
    assert transfer.wait(60) == 0, transfer.log()
    xfer.same(xfer.parse(transfer.log()), listener.results())
    prober.stop()
    assert not prober.bad and prober.good > 20, prober.bad[:5]
    daemon.netctl("forward", "delete", "guest", added["id"])
    again = daemon.netctl("forward", "add", "guest", "tcp:0:7")
    assert fetch_echo(again["listen"]["port"]) == b"without netctld"


def fetch_echo(port):
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(b"without netctld")
        sock.settimeout(5)
        return sock.recv(100)


def test_netctld_killed_again_and_again(daemon, tap_guest):
    port = echo_server(tap_guest)
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.settimeout(5)
        for _ in range(3):
            daemon.kill()
            daemon.start()
            sock.sendall(b"still here")
            assert sock.recv(100) == b"still here"
    assert len(daemon.ask("GET", "/v1/vms/guest/forwards")["items"]) == 1


def test_answered_is_kept(daemon):
    """What was answered 2xx an instant before the end is in the store."""
    for round_ in range(5):
        name = "kept%d" % round_
        daemon.ask("POST", "/v1/vms", {"name": name, "link": {"kind": "none"}})
        daemon.kill()
        daemon.start()
        assert daemon.vm(name)["name"] == name


def test_worker_killed_resets_a_download(daemon, tap_guest):
    """Never a clean end: neither for the guest that downloads nor for the host that serves."""
    listener = xfer.Listener(daemon.directory, "--send", 500 * MiB, "--tx-rate", 20 * MiB, "--count", 1)
    download = xfer.start(daemon.directory, tap_guest.gateway, listener.port, guest=tap_guest)
    wait_until_counted(daemon, rx_bytes=MiB)
    os.kill(daemon.worker_pid("guest"), signal.SIGKILL)
    download.wait(20)
    assert xfer.parse(download.log())[0]["end"] == "reset", download.log()
    assert listener.results(20)[0]["end"] == "reset"


def test_worker_killed_resets_a_client_of_a_forward(daemon, tap_guest):
    listener = xfer.Listener(daemon.directory, "--send", 500 * MiB, "--tx-rate", 20 * MiB, "--count", 1,
                             guest=tap_guest)
    port = tap_guest.forward("tcp:0:%d" % listener.port)
    download = xfer.start(daemon.directory, "127.0.0.1", port)
    wait_until_counted(daemon, tx_bytes=MiB)
    os.kill(daemon.worker_pid("guest"), signal.SIGKILL)
    download.wait(20)
    assert xfer.parse(download.log())[0]["end"] == "reset", download.log()
    assert listener.results(20)[0]["end"] == "reset"


def test_worker_killed_resets_a_guest_that_waits(daemon, tap_guest):
    """The guest has nothing to send, so nothing of its own would tell it."""
    listener = xfer.Listener(daemon.directory, "--no-fin", "--delay", "60000", "--count", 1)
    waiting = xfer.start(daemon.directory, tap_guest.gateway, listener.port, "--no-fin", guest=tap_guest)
    wait_for(lambda: daemon.counters("guest")["tcp.established"] == 1, 5, "the connection")
    began = time.monotonic()
    os.kill(daemon.worker_pid("guest"), signal.SIGKILL)
    waiting.wait(10)
    assert xfer.parse(waiting.log())[0]["end"] == "reset", waiting.log()
    assert time.monotonic() - began < 2 * SLOW


def test_worker_killed_new_connections_work_soon(daemon, tap_guest, web):
    port = echo_server(tap_guest)
    old = daemon.worker_pid("guest")
    os.kill(old, signal.SIGKILL)
    began = time.monotonic()
    wait_for(lambda: try_echo(port), 3, "a connection through the forward", 0.02)
    assert time.monotonic() - began < 1 * SLOW
    assert "hello" in tap_guest.sh("curl -sS --max-time 5 http://10.0.2.2:%d/" % web.port)
    record = daemon.vm("guest")
    assert record["worker"]["pid"] != old and record["worker"]["restarts"] == 1
    died = [e for e in events(daemon) if e["type"] == "worker.died"]
    assert len(died) == 1


def test_worker_killed_that_another_netctld_had_made(daemon, tap_guest, web):
    """A VM of which no more than its NIC says that it wants a worker."""
    daemon.kill()
    daemon.start()
    os.kill(daemon.worker_pid("guest"), signal.SIGKILL)
    page = "curl -sS --max-time 2 http://10.0.2.2:%d/" % web.port
    wait_for(lambda: tap_guest.run(page)[0] == 0, 10, "a worker again")


def test_worker_killed_the_vmm_stays_connected(daemon, web):
    """On a stream link the worker dies in the middle of frames, both ways; the VMM sees nothing of it."""
    guest = StreamGuest(daemon)
    port = echo_server(guest)
    for _ in range(6):
        listener = xfer.Listener(daemon.directory, "--send", 2000 * MiB, "--count", 1)
        download = xfer.start(daemon.directory, guest.gateway, listener.port, guest=guest)
        upload = xfer.Listener(daemon.directory, "--count", 1)
        sender = xfer.start(daemon.directory, guest.gateway, upload.port, "--send", 2000 * MiB, guest=guest)
        wait_until_counted(daemon, rx_bytes=MiB, tx_bytes=MiB)
        os.kill(daemon.worker_pid("guest"), signal.SIGKILL)
        for end in (download, sender):
            end.wait(20)
            assert xfer.parse(end.log())[0]["end"] == "reset", end.log()
        wait_for(lambda: try_echo(port), 3, "a connection through the forward", 0.02)
        assert "hello" in guest.sh("curl -sS --max-time 5 http://10.0.2.2:%d/" % web.port)
        assert guest.relay.running()
    guest.close()


def try_echo(port):
    try:
        return fetch_echo(port) == b"without netctld"
    except OSError:
        return False


def events(daemon):
    import json
    text = daemon.api("GET", "/v1/events?since=0").body.decode()
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def test_sigterm_ends_all_within_two_seconds(daemon, tap_guest):
    """Guests get FIN or RST, listeners close, exit 0."""
    port = echo_server(tap_guest)
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.settimeout(5)
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        began = time.monotonic()
        assert daemon.process.stop(5) == 0
        assert time.monotonic() - began < 2 * SLOW
        with pytest.raises(OSError):
            if sock.recv(1) == b"":
                raise ConnectionResetError
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), 5).close()


def test_spawner_killed(daemon, tap_guest):
    """Workers live on over their control connections."""
    port = echo_server(tap_guest)
    worker = daemon.worker_pid("guest")
    spawners = [pid for pid in daemon.processes() if pid not in (worker, daemon.process.pid)]
    assert len(spawners) == 1, spawners
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        os.kill(spawners[0], signal.SIGKILL)
        time.sleep(0.3)
        sock.settimeout(5)
        sock.sendall(b"alive")
        assert sock.recv(10) == b"alive"
    assert daemon.worker_pid("guest") == worker
    assert try_echo(port)


def test_ephemeral_vm_goes_with_its_connection(daemon):
    attach = daemon.attach()
    answer = attach.ask({"op": "hold", "create": {"name": "short", "link": {"kind": "none"}}})
    assert answer["ok"], answer
    assert daemon.vm("short")["ephemeral"] is True
    attach.close()
    wait_for(lambda: daemon.api("GET", "/v1/vms/short").status == 404, 5, "VM short is gone")


def test_link_reset_keeps_forwards(daemon):
    """A VMM that comes again finds its lease, forwards and policy."""
    first = StreamGuest(daemon)
    forward = first.forward("tcp:0:7")
    first.close()
    wait_for(lambda: not daemon.vm("guest")["link"]["connected"], 5, "VM guest waits")
    records = daemon.ask("GET", "/v1/vms/guest/forwards")["items"]
    assert [r["listen"]["port"] for r in records] == [forward]


assert fetch
