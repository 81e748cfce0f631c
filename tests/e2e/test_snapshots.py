# SPDX-License-Identifier: MIT
"""What a snapshot's record brings back, where it may not be taken, and what a reset leaves: nothing."""

import hashlib
import json
import os
import signal
import socket
import threading
import time

import pytest

from netctltest import process, tsi, vsock
from netctltest.daemon import Daemon
from netctltest.process import SANITIZED, SLOW, wait_for
from netctltest.servers import WebServer, connect_refused, fetch

MiB = 1024 * 1024
PAGE = b"hello from the guest\n"


class Sleeper:
    """A guest whose memory is what a snapshot of it would hold: its sockets, and where they listen.

    wake() is the VMM that restores it, at the vsock of a VM.
    """

    def __init__(self, page, echo):
        self.page, self.echo = page, echo
        self.guest = None
        self.web = self.connected = self.unconnected = None

    def begin(self, path):
        """The life before: an idle listener, and two datagram sockets that have been used."""
        self.guest = tsi.Guest(path)
        self.web = self.guest.serve(("127.0.0.1", self.page.port), 8080)
        self.unconnected = self.guest.udp()
        self.connected = self.guest.udp()
        self.connected.connect("127.0.0.1", self.echo.port)
        self.speak()
        return self

    def speak(self):
        """Both datagram sockets, as if nothing had happened."""
        self.connected.send(b"connected")
        assert self.connected.recv() == b"connected"
        self.unconnected.sendto(b"unconnected", "127.0.0.1", self.echo.port)
        assert self.unconnected.recv() == b"unconnected"

    def wake(self, path, cid):
        old, self.guest = self.guest, tsi.Guest(path)
        assert self.guest.cid == cid
        self.guest.next_port = old.next_port
        self.guest.listen(self.web.vm_port, ("127.0.0.1", self.page.port))
        for sock in (self.web, self.connected, self.unconnected):
            sock.guest = self.guest

    def sleep(self):
        self.guest.close()
        assert not self.guest.violations, self.guest.violations[:5]


@pytest.fixture
def page():
    server = WebServer({"/": PAGE})
    yield server
    server.close()


@pytest.fixture
def sleeper(page, udp_echo):
    it = Sleeper(page, udp_echo)
    yield it
    if it.guest:
        it.sleep()


def new_vm(daemon, name="one", cid=3, **body):
    body.setdefault("policy", "open")
    return daemon.ask("POST", "/v1/vms", dict(body, name=name, link={"kind": "none"}, host_access=True,
                                              vsock={"kind": "stream", "cid": cid}))["vsock"]["path"]


def forward(daemon, vm, spec):
    return daemon.netctl("forward", "add", vm, spec)["listen"]["port"]


def snapshot(daemon, vm="one", **body):
    return daemon.ask("POST", "/v1/vms/%s/snapshots" % vm, body)


def restore(daemon, vm, snapshot_id, **body):
    return daemon.api("POST", "/v1/vms/%s/restore" % vm, dict(body, snapshot=snapshot_id))


def served(port):
    return fetch("127.0.0.1", port) == (200, PAGE)


def listeners(daemon, vm):
    return daemon.ask("GET", "/v1/vms/%s/listeners" % vm)["items"]


def idle(daemon, vm):
    return daemon.vm(vm)["idle"]


@pytest.fixture
def second():
    """Another host's netctld."""
    it = Daemon()
    try:
        it.start()
        yield it
        assert not it.complaints()
    finally:
        it.stop()
        process.forget_logs()
        it.cleanup()


# --- the page is served again ----------------------------------------------------------------------

def test_restored_under_another_cid(daemon, sleeper):
    """Worker killed, VM gone, restored into another with another CID: same page, same host port."""
    sleeper.begin(new_vm(daemon))
    port = forward(daemon, "one", "tcp:0:tsi")
    assert served(port)
    taken = snapshot(daemon)
    before = listeners(daemon, "one")
    os.kill(daemon.worker_pid("one"), 9)
    sleeper.sleep()
    daemon.ask("DELETE", "/v1/vms/one")
    connect_refused("127.0.0.1", port)
    path = new_vm(daemon, "two", cid=77)
    assert restore(daemon, "two", taken["id"]).status == 200
    sleeper.wake(path, 77)
    assert served(port)
    assert [{k: v for k, v in i.items() if k != "host"} for i in listeners(daemon, "two")] == [
        {k: v for k, v in i.items() if k != "host"} for i in before]
    sleeper.speak()
    with sleeper.guest.connect_tsi("127.0.0.1", 8080) as sock:
        sock.stream.send(b"GET / HTTP/1.0\r\n\r\n")
        assert sock.stream.recv_all().endswith(PAGE)
    sleeper.web.close()
    wait_for(lambda: not listeners(daemon, "two"), 3, "the listener is gone")


def test_restored_into_itself(daemon, sleeper):
    """The VMM goes back in time; what was added since the snapshot is gone."""
    path = new_vm(daemon)
    sleeper.begin(path)
    port = forward(daemon, "one", "tcp:0:tsi")
    daemon.netctl("env", "set", "one", "LIFE=first")
    taken = snapshot(daemon)
    later = sleeper.guest.serve(("127.0.0.1", sleeper.page.port), 8081)
    later_port = forward(daemon, "one", "tcp:0:tsi:%d" % later.vm_port)
    daemon.netctl("env", "set", "one", "LIFE=second", "MORE=x")
    assert served(later_port)
    sleeper.sleep()
    assert restore(daemon, "one", taken["id"]).status == 200
    sleeper.wake(path, 3)
    assert served(port)
    assert len(listeners(daemon, "one")) == 1
    connect_refused("127.0.0.1", later_port)
    with sleeper.guest.connect_to(1026) as stream:
        assert json.loads(stream.recv_all()) == {"env": {"LIFE": "first"}, "secrets": {}}
    sleeper.speak()


def test_restored_under_the_same_vmm(daemon, sleeper):
    """The VMM loads the guest's memory and keeps its connection to us."""
    sleeper.begin(new_vm(daemon))
    port = forward(daemon, "one", "tcp:0:tsi")
    taken = snapshot(daemon)
    old = sleeper.guest.connect_tsi("127.0.0.1", sleeper.page.port)
    assert restore(daemon, "one", taken["id"]).status == 200
    wait_for(lambda: old.stream.over, 5, "the old connection is over")
    assert old.stream.was_reset
    assert sleeper.guest.events[-1] == ("event", vsock.EVENT_TRANSPORT_RESET)
    assert served(port)
    sleeper.speak()


def test_restored_from_a_file_on_another_host(daemon, second, sleeper, tmp_path):
    sleeper.begin(new_vm(daemon))
    port = forward(daemon, "one", "tcp:0:tsi")
    daemon.netctl("env", "set", "one", "KEPT=yes")
    taken = daemon.netctl("snapshot", "create", "one")
    path = str(tmp_path / "record")
    daemon.netctl("snapshot", "export", taken["id"], path)
    sleeper.sleep()
    daemon.ask("DELETE", "/v1/vms/one")
    imported = second.netctl("snapshot", "import", path)
    assert imported["sha256"] == taken["sha256"]
    vmm = new_vm(second, "elsewhere", cid=9)
    second.netctl("vm", "restore", "elsewhere", imported["id"])
    sleeper.wake(vmm, 9)
    assert served(port)
    sleeper.speak()
    with sleeper.guest.connect_to(1026) as stream:
        assert json.loads(stream.recv_all())["env"] == {"KEPT": "yes"}


def test_snapshot_survives_netctld(daemon, sleeper):
    sleeper.begin(new_vm(daemon))
    port = forward(daemon, "one", "tcp:0:tsi")
    taken = snapshot(daemon, name="nightly")
    daemon.kill()
    daemon.start()
    assert [s["id"] for s in daemon.netctl("snapshot", "list")["items"]] == [taken["id"]]
    assert daemon.netctl("snapshot", "show", taken["id"])["name"] == "nightly"
    sleeper.sleep()
    daemon.kill()
    daemon.start()
    assert restore(daemon, "one", taken["id"]).status == 200
    sleeper.wake(daemon.vm("one")["vsock"]["path"], 3)
    assert served(port)


def test_old_connections_are_reset(daemon, sleeper):
    """The guest believes them alive; the first word tells it."""
    path = new_vm(daemon)
    sleeper.begin(path)
    taken = snapshot(daemon)
    sleeper.sleep()
    assert restore(daemon, "one", taken["id"]).status == 200
    link = vsock.Link(path)
    link.send(vsock.Packet(src_port=12345, dst_port=620, op=vsock.RW, payload=b"still there?"))
    assert link.recv_op(vsock.RST).dst_port == 12345
    link.close()
    wait_for(lambda: not daemon.vm("one")["vsock"]["connected"], 5, "the VMM has gone")
    sleeper.wake(path, 3)


# --- idle ----------------------------------------------------------------------------------------

def test_require_idle_during_a_transfer(daemon, sleeper):
    sleeper.begin(new_vm(daemon))
    port = forward(daemon, "one", "tcp:0:tsi")
    wait_for(lambda: idle(daemon, "one"), 3, "idle with a listener and datagram sockets")
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = sleeper.guest.connect_tsi("127.0.0.1", server.getsockname()[1])
        client, _ = server.accept()
        sock.stream.send(b"x" * 1000)
        answer = daemon.api("POST", "/v1/vms/one/snapshots", {"require_idle": True})
        assert answer.status == 409, answer
        assert answer.json["busy"]["live"] == 1, answer
        assert "1" in daemon.fails("snapshot", "create", "one", "--require-idle")
        assert daemon.vm("one")["busy"]["live"] == 1 and not idle(daemon, "one")
        assert daemon.ask("GET", "/v1/vms/one/snapshots")["items"] == []
        assert snapshot(daemon)["id"], "without --require-idle it may be taken"
        client.close()
        sock.close()
    wait_for(lambda: idle(daemon, "one"), 5, "idle again")
    assert snapshot(daemon, require_idle=True)["id"]
    assert served(port)


def test_require_idle_with_a_pending_connect(daemon, sleeper):
    sleeper.begin(new_vm(daemon))
    sleeper.guest.listen(6000, silent=True)
    port = forward(daemon, "one", "tcp:0:vsock:6000")
    with socket.create_connection(("127.0.0.1", port), 5):
        wait_for(lambda: daemon.vm("one")["busy"]["pending"] == 1, 3, "a REQUEST is under way")
        answer = daemon.api("POST", "/v1/vms/one/snapshots", {"require_idle": True})
        assert answer.status == 409 and answer.json["busy"]["pending"] == 1, answer
    wait_for(lambda: idle(daemon, "one"), 8, "idle again")


# --- what stands in the way ------------------------------------------------------------------------

def whole(daemon, vm):
    """All of a VM that a restore would change."""
    base = "/v1/vms/" + vm
    return [daemon.ask("GET", base + path) for path in ("/forwards", "/listeners", "/maps", "/env", "/policy",
                                                        "/hosts")]


def test_port_taken(daemon, sleeper):
    """A conflict that is named, and nothing half-restored."""
    path = new_vm(daemon)
    sleeper.begin(path)
    ports = [forward(daemon, "one", "tcp:0:tsi") for _ in range(3)]
    daemon.netctl("env", "set", "one", "OF=one")
    taken = snapshot(daemon)
    for port in ports:
        daemon.netctl("forward", "delete", "one", "tcp:127.0.0.1:%d" % port)
    new_vm(daemon, "two", cid=4)
    kept = forward(daemon, "two", "tcp:0:vsock:99")
    daemon.netctl("env", "set", "two", "OF=two")
    before = whole(daemon, "two")
    with socket.create_server(("127.0.0.1", ports[2])):
        answer = restore(daemon, "two", taken["id"])
        assert answer.status == 409, answer
        assert "127.0.0.1:%d" % ports[2] in str(answer.json) and "in use" in str(answer.json)
        assert "%d" % ports[2] in daemon.fails("vm", "restore", "two", taken["id"])
        assert whole(daemon, "two") == before
        for port in ports[:2]:
            connect_refused("127.0.0.1", port)
        try:
            socket.create_connection(("127.0.0.1", kept), 5).close()
        except ConnectionResetError:
            pass  # there is no guest; somebody listens
    sleeper.sleep()
    assert restore(daemon, "two", taken["id"]).status == 200
    sleeper.wake(daemon.vm("two")["vsock"]["path"], 4)
    assert all(served(port) for port in ports)
    connect_refused("127.0.0.1", kept)


def test_port_of_another_vms_forward(daemon, sleeper):
    sleeper.begin(new_vm(daemon))
    port = forward(daemon, "one", "tcp:0:tsi")
    taken = snapshot(daemon)
    new_vm(daemon, "two", cid=4)
    before = whole(daemon, "two")
    answer = restore(daemon, "two", taken["id"])
    assert answer.status == 409 and str(port) in str(answer.json), answer
    assert whole(daemon, "two") == before
    assert served(port)


def test_missing_secrets(daemon, sleeper):
    path = new_vm(daemon)
    sleeper.begin(path)
    daemon.api("PUT", "/v1/vms/one/secrets/token", b"first")
    taken = snapshot(daemon)
    assert b"first" not in daemon.api("GET", "/v1/snapshots/%s/export" % taken["id"]).body
    sleeper.sleep()
    path = new_vm(daemon, "two", cid=4)
    before = whole(daemon, "two")
    answer = restore(daemon, "two", taken["id"], require_secrets=True)
    assert answer.status == 409 and "token" in str(answer.json), answer
    assert "token" in daemon.fails("vm", "restore", "two", taken["id"], "--require-secrets")
    assert whole(daemon, "two") == before
    answer = restore(daemon, "two", taken["id"])
    assert answer.status == 200 and answer.json["missing_secrets"] == ["token"], answer
    daemon.api("PUT", "/v1/vms/two/secrets/token", b"second")
    answer = restore(daemon, "two", taken["id"], require_secrets=True)
    assert answer.status == 200 and answer.json["missing_secrets"] == [], answer
    sleeper.wake(path, 4)


def test_unknown_snapshot(daemon):
    new_vm(daemon)
    for method, path, body in (("GET", "/v1/snapshots/nothing", None), ("DELETE", "/v1/snapshots/nothing", None),
                               ("GET", "/v1/snapshots/0123456789abcdef/export", None),
                               ("POST", "/v1/vms/one/restore", {"snapshot": "0123456789abcdef"})):
        answer = daemon.api(method, path, body)
        assert answer.status == 404, (path, answer)
    assert daemon.api("POST", "/v1/vms/nobody/snapshots", {}).status == 404


@pytest.fixture
def exported(daemon, sleeper):
    """A record's bytes."""
    sleeper.begin(new_vm(daemon))
    forward(daemon, "one", "tcp:0:tsi")
    taken = snapshot(daemon)
    data = daemon.api("GET", "/v1/snapshots/%s/export" % taken["id"]).body.rstrip()
    daemon.ask("DELETE", "/v1/snapshots/" + taken["id"])
    return data


def signed(document):
    """A record with the hash that fits it: canonical form, for documents without odd characters."""
    document = {k: v for k, v in document.items() if k != "sha256"}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return json.dumps(dict(document, sha256=hashlib.sha256(text).hexdigest())).encode()


def import_fails(daemon, data, status=400, *words):
    answer = daemon.api("POST", "/v1/snapshots", data, {"Content-Type": "application/json"})
    assert answer.status == status, (answer, data)
    for word in words:
        assert word in str(answer.json), answer
    assert daemon.ask("GET", "/v1/snapshots")["items"] == []


def test_import_of_what_was_exported(daemon, exported):
    """However it is laid out; twice is once."""
    for data in (exported, json.dumps(json.loads(exported), indent=4).encode(), signed(json.loads(exported))):
        answer = daemon.api("POST", "/v1/snapshots", data)
        assert answer.status in (200, 201), answer
    assert len(daemon.ask("GET", "/v1/snapshots")["items"]) == 1


def test_import_of_a_damaged_file(daemon, exported):
    """Each of its bytes counts, but for blanks."""
    step = max(1, len(exported) // 60)
    for at in range(0, len(exported), step):
        changed = bytes([exported[at] ^ 1])
        if exported[at:at + 1].isspace() or changed.isspace():
            continue
        import_fails(daemon, exported[:at] + changed + exported[at + 1:])
    for size in (0, 1, len(exported) // 2, len(exported) - 1):
        import_fails(daemon, exported[:size])
    import_fails(daemon, exported + b"x")
    import_fails(daemon, exported + exported)


def test_import_of_a_newer_version(daemon, exported):
    import_fails(daemon, signed(dict(json.loads(exported), record_version=2)), 400, "newer")


@pytest.mark.parametrize("change", [
    {"record_version": 0}, {"record_version": "1"}, {"more": 1}, {"cid": -1}, {"tsi": []},
    {"tsi": {"listeners": [{"svm_port": -1}], "proxies": []}}, {"forwards": [{"listen": {}}]}, {"policy": "x"},
    {"secrets": [1]}, {"env": []}, {"vm": "../../x"}, {"net": {"subnet": "x"}}, {"names": {}}])
def test_import_of_what_cannot_be(daemon, exported, change):
    """The hash fits, the content does not."""
    import_fails(daemon, signed(dict(json.loads(exported), **change)))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"\0" * 100, b'{"record_version":1}'])
def test_import_of_no_record(daemon, body):
    import_fails(daemon, body)


def test_import_of_too_much(daemon, exported):
    try:
        answer = daemon.api("POST", "/v1/snapshots", exported + b" " * (2 * MiB))
    except OSError:
        return
    assert answer.status == 413


def test_file_that_is_none(daemon, tmp_path):
    path = tmp_path / "record"
    path.write_text("no record")
    assert "nowhere" in daemon.fails("snapshot", "import", str(tmp_path / "nowhere"))
    assert daemon.fails("snapshot", "import", str(path))
    assert daemon.ask("GET", "/v1/snapshots")["items"] == []


# --- resets --------------------------------------------------------------------------------------

def rss(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(next(line for line in f if line.startswith("VmRSS")).split()[1])


def fds(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


class Traffic(threading.Thread):
    """A guest that does everything at once, again and again, whatever is reset under it."""

    def __init__(self, guest, port, echo_port):
        super().__init__(daemon=True)
        self.guest, self.port, self.echo_port = guest, port, echo_port
        self.over = False
        self.steps = 0
        self.failure = None

    def run(self):
        while not self.over:
            try:
                self.round()
            except (OSError, EOFError, TimeoutError):
                pass
            except Exception as failure:  # noqa: B902: told by whoever ends the thread
                self.failure = failure
                return

    def round(self):
        sock = self.guest.connect_tsi("127.0.0.1", self.port, timeout=0.1)
        self.steps += 1
        sock.stream.send(b"x" * 100000, timeout=0.1)
        udp = self.guest.udp()
        udp.sendto(b"y" * 1000, "127.0.0.1", self.echo_port)
        listener = self.guest.tcp()
        self.steps += 1
        listener.listen_result(port=9000, timeout=0.1)
        self.steps += 1
        sock.stream.recv_exact(100000, timeout=0.1)
        self.steps += 1


def test_five_hundred_resets_under_traffic(daemon, page, udp_echo):
    """No fd and no memory stays, and nothing of an old life reaches the new one."""
    count = 100 if SANITIZED else 500
    guest = tsi.Guest(new_vm(daemon))
    echo = socket.create_server(("127.0.0.1", 0), backlog=128)
    threading.Thread(target=serve_echo, args=(echo,), daemon=True).start()
    port = forward(daemon, "one", "tcp:0:tsi")
    worker = daemon.worker_pid("one")
    traffic = [Traffic(guest, echo.getsockname()[1], udp_echo.port) for _ in range(3)]
    for thread in traffic:
        thread.start()

    def resets(n):
        for i in range(n):
            daemon.ask("POST", "/v1/vms/one/reset")
            time.sleep(i % 5 / 100)  # now at the traffic's beginning, now in its middle
    resets(count // 5)
    before = [(fds(pid), rss(pid)) for pid in (worker, daemon.process.pid)]
    resets(count)
    for thread in traffic:
        thread.over = True
    for thread in traffic:
        thread.join(30)
    assert all(thread.failure is None for thread in traffic), [thread.failure for thread in traffic]
    assert sum(thread.steps for thread in traffic) > count // 5, "no traffic"
    daemon.ask("POST", "/v1/vms/one/reset")
    assert daemon.worker_pid("one") == worker and daemon.vm("one")["worker"]["restarts"] == 0
    time.sleep(0.3)
    # The new life: silence, until the guest begins.
    with guest.changed:
        for inbox in guest.inboxes.values():
            inbox.clear()
    udp_echo.sock.sendto(b"of an old life", udp_echo.senders[-1])
    assert guest.is_quiet()
    assert listeners(daemon, "one") == [] and idle(daemon, "one")
    stats = daemon.ask("GET", "/v1/vms/one/stats")["flows"]
    assert (stats["vsock"], stats["tsi_listeners"], stats["tsi_proxies"]) == (0, 0, 0)
    for pid, (fds_before, rss_before) in zip((worker, daemon.process.pid), before):
        wait_for(lambda: fds(pid) <= fds_before, 5, "the fds of pid %d are closed" % pid)
        assert SANITIZED or rss(pid) <= rss_before + 2048, (rss(pid), rss_before)
    sleeper = guest.serve(("127.0.0.1", page.port), 8080)
    assert served(port)
    sleeper.close()
    guest.close()
    assert not guest.violations, guest.violations[:5]
    echo.close()


def serve_echo(server):
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=echo_one, args=(client,), daemon=True).start()


def echo_one(client):
    with client:
        try:
            while True:
                data = client.recv(65536)
                if not data:
                    return
                client.sendall(data)
        except OSError:
            pass


def test_reset_ends_a_life(daemon, sleeper):
    """Listeners, connections, datagram sockets and what waits; forwards, maps and env stay."""
    sleeper.begin(new_vm(daemon))
    guest = sleeper.guest
    port = forward(daemon, "one", "tcp:0:tsi")
    daemon.netctl("env", "set", "one", "KEPT=yes")
    echo = socket.create_server(("127.0.0.1", 0))
    sock = guest.connect_tsi("127.0.0.1", echo.getsockname()[1])
    client, _ = echo.accept()
    daemon.netctl("vm", "reset", "one")
    client.settimeout(5 * SLOW)
    with pytest.raises(ConnectionResetError):
        if client.recv(1) == b"":
            raise AssertionError("an orderly end instead of a reset")
    with pytest.raises(ConnectionResetError):
        sock.stream.recv(timeout=5)
    assert listeners(daemon, "one") == []
    with pytest.raises(OSError):
        served(port)
    with guest.connect_to(1026) as stream:
        assert json.loads(stream.recv_all())["env"] == {"KEPT": "yes"}
    again = guest.serve(("127.0.0.1", sleeper.page.port), 8080)
    assert served(port)
    again.close()
    echo.close()


def test_worker_that_does_not_answer_is_replaced(daemon):
    new_vm(daemon)
    worker = daemon.worker_pid("one")
    os.kill(worker, signal.SIGSTOP)
    vm = daemon.vm("one")
    assert vm["idle"] is None and vm["busy"] is None
    daemon.ask("POST", "/v1/vms/one/reset")
    assert daemon.worker_pid("one") != worker
    assert idle(daemon, "one")
