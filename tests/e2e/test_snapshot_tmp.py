# SPDX-License-Identifier: MIT
import json, os, signal, socket, struct, threading, time
import pytest
from netctltest import tsi, vsock
from netctltest.daemon import Daemon
from netctltest.process import SLOW, wait_for
from netctltest.servers import UdpEcho, WebServer, fetch, free_port

def make(daemon, name, cid, **body):
    record = daemon.ask("POST", "/v1/vms", dict(body, name=name, host_access=True, policy={"default":"allow","rules":[]},
        link={"kind":"none"}, vsock={"kind":"stream","cid":cid}))
    return record["vsock"]["path"]

def move(guest, path):
    guest.disconnect()
    guest.path = path
    guest.connect()

def test_page_again(daemon):
    web = WebServer({"/": b"hello"}); echo = UdpEcho()
    path = make(daemon, "one", 3)
    guest = tsi.Guest(path)
    server = guest.serve((web.addr if hasattr(web,"addr") else "127.0.0.1", web.port))
    udp = guest.udp(); udp.connect("127.0.0.1", echo.port); udp.send(b"a"); assert udp.recv() == b"a"
    port = free_port()
    daemon.netctl("forward", "add", "one", "%d:tsi" % port)
    assert fetch("127.0.0.1", port)[1] == b"hello"
    wait_for(lambda: daemon.vm("one")["idle"], 5, "idle")
    old = daemon.ask("GET", "/v1/vms/one/listeners")["items"]
    id = daemon.netctl("snapshot", "create", "one", "--require-idle")
    print(id)
    id = id["id"] if isinstance(id, dict) else id.strip()
    f = os.path.join(daemon.directory, "file.json")
    daemon.netctl("snapshot", "export", id, f)
    print(open(f).read())
    os.kill(daemon.worker_pid("one"), signal.SIGKILL)
    daemon.netctl("vm", "delete", "one")
    path2 = make(daemon, "two", 99)
    daemon.netctl("vm", "restore", "two", id)
    items = daemon.ask("GET", "/v1/vms/two/listeners")["items"]
    print(old, items)
    move(guest, path2)
    assert guest.cid == 99
    assert fetch("127.0.0.1", port)[1] == b"hello"
    udp.send(b"b"); assert udp.recv() == b"b"
    print(guest.events)
    os.kill(daemon.worker_pid("two"), signal.SIGKILL)
    time.sleep(1)
    move(guest, path2)
    assert fetch("127.0.0.1", port)[1] == b"hello"
    # second daemon
    other = Daemon()
    other.start()
    try:
        daemon.netctl("vm", "delete", "two")
        p3 = make(other, "three", 7)
        print(other.netctl("snapshot", "import", f))
        other.netctl("vm", "restore", "three", id)
        move(guest, p3)
        assert fetch("127.0.0.1", port)[1] == b"hello"
        udp.send(b"c"); assert udp.recv() == b"c"
        # in-place restore while connected
        s = guest.connect_tsi("127.0.0.1", web.port)
        with pytest.raises(Exception):
            other.netctl("snapshot", "create", "three", "--require-idle")
        r = other.api("POST", "/v1/vms/three/snapshots", {"require_idle": True})
        print(r)
        assert r.status == 409 and r.json["busy"]["live"] >= 1
        other.netctl("vm", "restore", "three", id)
        wait_for(lambda: s.stream.over, 5, "old connection is over")
        assert fetch("127.0.0.1", port)[1] == b"hello"
        assert guest.connect_tsi("127.0.0.1", web.port)
        assert not guest.violations
        # conflict
        other.netctl("vm", "delete", "three")
        blocker = socket.create_server(("127.0.0.1", port))
        make(other, "four", 8)
        r = other.api("POST", "/v1/vms/four/restore", {"snapshot": id})
        print(r); assert r.status == 409
        assert other.ask("GET", "/v1/vms/four/listeners")["items"] == []
        blocker.close()
    finally:
        other.stop()
    guest.close()

def fds(pid): return len(os.listdir("/proc/%d/fd" % pid))
def rss(pid):
    for l in open("/proc/%d/status" % pid):
        if l.startswith("VmRSS"): return int(l.split()[1])

def test_500(daemon):
    path = make(daemon, "one", 3)
    guest = tsi.Guest(path)
    web = WebServer({"/": b"x" * 1000000})
    pid = daemon.worker_pid("one")
    dpid = daemon.process.popen.pid
    marks = []
    t0 = time.time()
    for i in range(500):
        server = guest.serve(("127.0.0.1", web.port), port=8080)
        s = guest.connect_tsi("127.0.0.1", web.port)
        s.stream.send(b"GET / HTTP/1.0\r\n\r\n")
        n = len(guest.events)
        assert daemon.api("POST", "/v1/vms/one/reset").status == 204
        with guest.changed:
            guest.wait(lambda: len(guest.events) > n, 5, "event")
        assert s.stream.over
        guest.record = []
        if i % 100 == 0:
            time.sleep(0.05)
        assert not [p for p in guest.record if p.op not in (vsock.RST,)], guest.record
        guest.record = None
        guest.listeners.clear()
        if i in (50, 499):
            time.sleep(0.2)
            marks.append((fds(pid), fds(dpid), rss(pid), rss(dpid)))
    print(marks, time.time() - t0)
    assert daemon.worker_pid("one") == pid
    assert not guest.violations, guest.violations[:3]
    assert not guest.strays, guest.strays[:3]
    assert daemon.ask("GET", "/v1/vms/one/listeners")["items"] == []
    assert marks[0][:2] == marks[1][:2]
    guest.close()
