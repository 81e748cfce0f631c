# SPDX-License-Identifier: MIT
"""Many flows, little memory, fair turns."""

import json
import signal
import time

import pytest

from netctltest import xfer
from netctltest.process import Process, SANITIZED, SLOW, tool, wait_for

MiB = 1024 * 1024
FLOWS = 1000 if SANITIZED else 10000


def memory(pid, field="VmRSS"):
    """KiB of a process."""
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    raise AssertionError(field)


def cpu_seconds(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_idle_worker_is_small_and_quiet(daemon, tap_guest):
    pid = daemon.worker_pid("guest")
    time.sleep(0.5)
    before = cpu_seconds(pid)
    if not SANITIZED:
        assert memory(pid) <= 8 * 1024
    time.sleep(2)
    assert cpu_seconds(pid) - before <= 0.1


def test_ten_thousand_flows(daemon, tap_guest):
    server = Process("flows-serve", [tool("flows"), "serve", "127.0.0.1", "0"], daemon.directory)
    port = wait_for(lambda: server.log().startswith("port ") and server.log().split()[1], 5, "flows")
    pid = daemon.worker_pid("guest")
    before = memory(pid)
    tap_guest.sh("sysctl -qw net.ipv4.ip_local_port_range='10000 60999'")
    # Short, so that whoever sends in bursts loses frames on any machine and not on slow ones alone.
    tap_guest.sh("ip link set eth0 txqueuelen 128")
    holder = tap_guest.popen([tool("flows"), "hold", tap_guest.gateway, port, str(FLOWS)])
    wait_for(lambda: "held" in holder.log(), 60, "%d flows" % FLOWS)
    assert "held %d\n" % FLOWS in holder.log()
    holder.signal(signal.SIGUSR1)
    wait_for(lambda: "alive" in holder.log(), 120, "the round trip")
    result = json.loads(holder.log().splitlines()[-1])
    assert result["alive"] == FLOWS and result["dead"] == 0
    assert daemon.ask("GET", "/v1/vms/guest/stats")["flows"]["tcp"] >= FLOWS
    if not SANITIZED:
        assert memory(pid) - before <= FLOWS, "more than 1 KiB a flow"
    holder.stop()
    server.stop()


def test_forward_add_while_the_guest_floods(daemon, tap_guest):
    listener = xfer.Listener(daemon.directory)
    flood = xfer.start(daemon.directory, tap_guest.gateway, listener.port, "--send", 10 ** 12,
                       guest=tap_guest)
    time.sleep(1)
    slowest = 0
    for number in range(20):
        began = time.monotonic()
        response = daemon.api("POST", "/v1/vms/guest/forwards", {
            "listen": {"proto": "tcp", "addr": "127.0.0.1", "port": 0}, "to": {"port": 80}})
        slowest = max(slowest, time.monotonic() - began)
        assert response.status == 201, response
        time.sleep(0.05)
    flood.kill()
    listener.stop()
    assert slowest < 0.05 * SLOW * 2, "%.0f ms" % (slowest * 1e3)


def test_second_flow_gets_its_share(daemon, tap_guest):
    """Two senders for the same time: the second moves at least a quarter of all."""
    moved = []
    servers = [xfer.Listener(daemon.directory, "--count", 1) for _ in range(2)]
    clients = []
    for server in servers:
        clients.append(xfer.start(daemon.directory, tap_guest.gateway, server.port, "--send", 10 ** 12,
                                  guest=tap_guest))
        time.sleep(0.5)
    time.sleep(3)
    for client in clients:
        client.kill()
    for server in servers:
        moved.append(server.results(20)[0]["rx"])
    assert moved[1] >= sum(moved) / 4, moved


@pytest.mark.skipif(SANITIZED, reason="the sanitizers' own memory")
def test_slow_readers_do_not_grow_the_worker(daemon, tap_guest):
    """What a host does not take is not taken from the guest either."""
    pid = daemon.worker_pid("guest")
    before = memory(pid)
    listener = xfer.Listener(daemon.directory, "--rx-pause", 60000, "--count", 50)
    sender = xfer.start(daemon.directory, tap_guest.gateway, listener.port, "--send", 100 * MiB,
                        "--count", 50, guest=tap_guest)
    time.sleep(3)
    assert memory(pid) - before < 24 * 1024
    sender.kill()
    listener.stop()
