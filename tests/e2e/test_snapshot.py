# SPDX-License-Identifier: MIT
"""Snapshots, restore and reset, with a TSI guest that lives through them as a VM's memory does."""

import json
import os
import signal
import socket
import time

import pytest

from netctltest import tsi, vsock
from netctltest.daemon import Daemon, NetctlError
from netctltest.process import wait_for
from netctltest.servers import UdpEcho, WebServer, fetch, free_port

PAGE = b"the guest's page"
RESETS = 500


def make_vm(daemon, name, cid):
    """A VM with a vsock. Where its VMM connects."""
    return daemon.ask("POST", "/v1/vms", {
        "name": name, "link": {"kind": "none"}, "vsock": {"kind": "stream", "cid": cid},
        "host_access": True, "policy": {"default": "allow"}})["vsock"]["path"]


def listeners(daemon, name):
    return daemon.ask("GET", "/v1/vms/%s/listeners" % name)["items"]


class Saved:
    """A guest that serves a page and speaks with an echo server, and its snapshot."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.web, self.echo = WebServer({"/": PAGE}), UdpEcho()
        self.guest = tsi.Guest(make_vm(daemon, "saved", 3))
        self.guest.serve(("127.0.0.1", self.web.port))
        self.udp = self.guest.udp()
        self.udp.connect("127.0.0.1", self.echo.port)
        self.port = free_port()
        daemon.netctl("forward", "add", "saved", "%d:tsi" % self.port)
        self.check()
        wait_for(lambda: daemon.vm("saved")["idle"], 10, "the VM is idle")
        self.id = daemon.netctl("snapshot", "create", "saved", "--require-idle")["id"]
        self.file = os.path.join(daemon.directory, "saved.json")
        daemon.netctl("snapshot", "export", self.id, self.file)

    def check(self):
        """The page is served, and the datagram socket still works."""
        assert fetch("127.0.0.1", self.port) == (200, PAGE)
        self.udp.send(b"ping")
        assert self.udp.recv() == b"ping"

    def move(self, path):
        """The VMM that had the guest has gone, another brings it back."""
        self.guest.disconnect()
        self.guest.path = path
        self.guest.connect()

    def close(self):
        self.guest.close()
        assert not self.guest.violations, self.guest.violations[:5]
        self.web.close()
        self.echo.close()


@pytest.fixture
def saved(daemon):
    it = Saved(daemon)
    yield it
    it.close()


@pytest.fixture
def other_daemon():
    it = Daemon()
    try:
        yield it.start()
    finally:
        it.stop()
        it.cleanup()


def test_page_is_served_again_under_another_cid(daemon, saved):
    before = listeners(daemon, "saved")
    os.kill(daemon.worker_pid("saved"), signal.SIGKILL)
    daemon.netctl("vm", "delete", "saved")
    path = make_vm(daemon, "other", 99)
    assert daemon.netctl("vm", "restore", "other", saved.id)["missing_secrets"] == []
    after = listeners(daemon, "other")
    assert [dict(x, host=None) for x in after] == [dict(x, host=None) for x in before]
    saved.move(path)
    assert saved.guest.cid == 99
    saved.check()
    # Whoever has the event queue is told that all connections are gone.
    assert saved.guest.events[-2:] == [("cid", 99), ("event", vsock.EVENT_TRANSPORT_RESET)]


def test_restored_listeners_outlive_their_worker(daemon, saved):
    daemon.netctl("vm", "restore", "saved", saved.id)
    pid = daemon.worker_pid("saved")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: (daemon.vm("saved")["worker"] or {}).get("pid") not in (None, pid), 10,
             "a successor")
    saved.move(saved.guest.path)
    saved.check()


def test_restore_from_the_file_on_a_second_daemon(daemon, saved, other_daemon):
    daemon.netctl("vm", "delete", "saved")
    path = make_vm(other_daemon, "elsewhere", 7)
    assert other_daemon.netctl("snapshot", "import", saved.file)["id"] == saved.id
    other_daemon.netctl("vm", "restore", "elsewhere", saved.id)
    saved.move(path)
    saved.check()


def test_restore_ends_what_was(daemon, saved):
    """In place, with the guest connected: its old connections are reset, new ones work."""
    old = saved.guest.connect_tsi("127.0.0.1", saved.web.port)
    daemon.netctl("vm", "restore", "saved", saved.id)
    wait_for(lambda: old.stream.over, 5, "the old connection is over")
    assert old.stream.was_reset
    saved.check()
    saved.guest.connect_tsi("127.0.0.1", saved.web.port).close()


def test_require_idle_says_what_would_be_lost(daemon, saved):
    sock = saved.guest.connect_tsi("127.0.0.1", saved.web.port)
    answer = daemon.api("POST", "/v1/vms/saved/snapshots", {"require_idle": True})
    assert answer.status == 409
    assert answer.json["busy"]["live"] == 1
    assert "1 live" in answer.json["detail"]
    with pytest.raises(NetctlError) as caught:
        daemon.netctl("snapshot", "create", "saved", "--require-idle")
    assert caught.value.status == 4
    assert not daemon.vm("saved")["idle"]
    daemon.netctl("snapshot", "create", "saved")  # who does not mind, may
    sock.close()
    wait_for(lambda: daemon.vm("saved")["idle"], 10, "the VM is idle again")


def test_conflict_is_named_and_nothing_is_restored(daemon, saved):
    daemon.netctl("vm", "delete", "saved")
    make_vm(daemon, "late", 8)
    with socket.create_server(("127.0.0.1", saved.port)):
        with pytest.raises(NetctlError) as caught:
            daemon.netctl("vm", "restore", "late", saved.id)
    assert caught.value.status == 4
    assert "forward late/tcp:127.0.0.1:%d: address in use" % saved.port in caught.value.text
    assert listeners(daemon, "late") == []
    assert daemon.ask("GET", "/v1/vms/late/forwards")["items"] == []


def test_damaged_and_newer_files_are_named(daemon, saved):
    with open(saved.file) as file:
        record = json.load(file)
    for change, words in (({"cid": 4}, "damaged"), ({"record_version": 2}, "newer netctl")):
        name = os.path.join(daemon.directory, "bad.json")
        with open(name, "w") as file:
            json.dump(dict(record, **change), file)
        with pytest.raises(NetctlError) as caught:
            daemon.netctl("snapshot", "import", name)
        assert words in caught.value.text


def test_worker_that_does_not_answer_is_replaced(daemon):
    make_vm(daemon, "mute", 3)
    pid = daemon.worker_pid("mute")
    os.kill(pid, signal.SIGSTOP)
    vm = daemon.vm("mute")
    assert vm["idle"] is None and vm["busy"] is None
    assert daemon.api("POST", "/v1/vms/mute/reset").status == 204
    vm = daemon.vm("mute")
    assert vm["worker"]["pid"] != pid
    assert vm["idle"]


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


def memory(pid):
    """KiB in use."""
    with open("/proc/%d/status" % pid) as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def test_500_resets_under_traffic(daemon):
    web = WebServer({"/": bytes(1000000)})
    guest = tsi.Guest(make_vm(daemon, "reused", 3))
    pids = daemon.worker_pid("reused"), daemon.process.popen.pid
    for life in range(RESETS):
        guest.serve(("127.0.0.1", web.port))
        sock = guest.connect_tsi("127.0.0.1", web.port)
        sock.stream.send(b"GET / HTTP/1.0\r\n\r\n")
        told = len(guest.events)
        assert daemon.api("POST", "/v1/vms/reused/reset").status == 204
        with guest.changed:
            guest.wait(lambda: len(guest.events) > told, 5, "TRANSPORT_RESET")
            guest.record = strays = []
        assert sock.stream.was_reset
        guest.listeners.clear()
        # RST is for what the guest itself sent of the old life; nothing else is.
        time.sleep(0.2 if life % 100 == 0 else 0)
        assert not [p for p in strays if p.op != vsock.RST]
        guest.record = None
        if life == RESETS // 10:
            fds, kib = [descriptors(pid) for pid in pids], [memory(pid) for pid in pids]
    assert daemon.worker_pid("reused") == pids[0]
    # Connections to api.sock come and go.
    wait_for(lambda: all(descriptors(pid) <= n for pid, n in zip(pids, fds)), 10, "no fd is left over")
    assert all(memory(pid) < n * 1.2 + 1024 for pid, n in zip(pids, kib))
    assert listeners(daemon, "reused") == []
    guest.close()
    assert not guest.violations, guest.violations[:5]
    assert not guest.strays, guest.strays[:5]
    web.close()
