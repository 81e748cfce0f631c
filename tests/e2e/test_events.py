# SPDX-License-Identifier: MIT
"""Events: none is lost or doubled, nobody floods them, who is slow or too late is told so."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import pytest

from netctltest.process import SLOW, run, wait_for

GATEWAY = "10.0.2.2"

# Tries TCP ports, each so many times, with so much time between.
KNOCK = """
import socket, sys, time
first, count, times, pause = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
n = 0
for _ in range(times):
    for port in range(first, first + count):
        s = socket.socket()
        s.settimeout(10)
        try:
            s.connect((%r, port))
        except OSError:
            n += 1
        s.close()
        time.sleep(pause)
print(n)
""" % GATEWAY


def events(daemon, query="since=0"):
    response = daemon.api("GET", "/v1/events?" + query)
    assert response.status == 200, response
    return [json.loads(line) for line in response.body.decode().splitlines()]


def refused(found):
    return [e for e in found if e["type"] == "flow.refused"]


def flows(found):
    return sum(e["data"]["count"] for e in refused(found))


def deny_all(guest):
    guest.daemon.ask("PUT", "/v1/vms/guest/policy", {
        "default": "deny", "rules": [{"action": "deny", "to": [GATEWAY]}]})


def knock(guest, first, count, times=1, pause=0.0):
    return subprocess.Popen([*guest.nsenter, "/usr/bin/python3", "-c", KNOCK, str(first), str(count),
                             str(times), str(pause)], stdout=subprocess.PIPE, text=True)


def follow(daemon, *args):
    """netctl events -f, and the list that its events go to."""
    found = []
    process = subprocess.Popen(daemon.netctl_argv("-o", "json", "events", "-f", *args),
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    thread = threading.Thread(target=lambda: found.extend(map(json.loads, process.stdout)))
    # extend() of a lazy iterator adds them one by one, as they come.
    thread.start()

    def end():
        process.send_signal(signal.SIGINT)
        status = process.wait(10)
        thread.join()
        return status
    return found, end


def test_life_of_a_guest_is_told_in_order(daemon, tap_guest):
    daemon.netctl("forward", "add", "guest", "tcp:0:80")
    os.kill(daemon.worker_pid("guest"), signal.SIGKILL)
    wait_for(lambda: [e for e in events(daemon) if e["type"] == "worker.died"], 5, "the death")
    wait_for(lambda: [e["type"] for e in events(daemon)].count("worker.started") == 2, 5, "a successor")
    found = events(daemon)
    types = [e["type"] for e in found]
    for before, after in [("vm.created", "worker.started"), ("worker.started", "link.up"),
                          ("link.up", "guest.up"), ("guest.up", "forward.added"),
                          ("forward.added", "worker.died"), ("worker.died", "link.down")]:
        assert types.index(before) < types.index(after), types
    assert [e["id"] for e in found] == list(range(1, len(found) + 1))
    guest = found[types.index("guest.up")]
    assert guest["vm"] == "guest" and guest["data"] == {"mac": "52:54:00:12:34:56"}


def test_refusal_is_told_within_a_second(tap_guest):
    deny_all(tap_guest)
    found, end = follow(tap_guest.daemon, "--vm", "guest", "--type", "flow.refused")
    for port in (81, 82):
        tap_guest.sh("curl -s --max-time 5 http://%s:%d/ || true" % (GATEWAY, port))
        began = time.monotonic()
        wait_for(lambda: [e for e in found if e["data"]["port"] == port], 5, "the refusal", 0.01)
        assert time.monotonic() - began < 1 * SLOW
    assert end() == 0


def test_no_event_is_lost_or_doubled_by_kills(tap_guest):
    """The guest is refused all the while; netctld is killed at any moment of it, again and again."""
    daemon = tap_guest.daemon
    deny_all(tap_guest)
    first = events(daemon)
    found, end = follow(daemon, "--since", first[-1]["id"])
    client = knock(tap_guest, 100, 5, 400, 0.002)
    for i in range(8):
        time.sleep(0.2 + 0.083 * i)
        daemon.kill()
        if i % 2:
            time.sleep(0.4)
        daemon.start()
    attempts = int(client.communicate(timeout=60)[0])
    assert attempts == 2000
    wait_for(lambda: flows(events(daemon)) >= attempts, 10, "all refusals")
    time.sleep(1.5)  # for what may come too often
    stored = events(daemon)
    assert flows(stored) == attempts
    assert [e["id"] for e in stored] == list(range(1, len(stored) + 1))
    wait_for(lambda: len(found) >= len(stored) - len(first), 10, "the follower")
    assert end() == 0
    assert first + found == stored
    types = [e["type"] for e in stored]
    # A worker that lives on is not told of as new.
    assert types.count("worker.adopted") == 8
    assert types.count("link.up") == types.count("guest.up") == types.count("worker.started") == 1
    assert "link.down" not in types


def test_what_was_answered_is_told_by_the_next(daemon):
    """kill -9 right after each answer."""
    for i in range(6):
        daemon.ask("POST", "/v1/vms", {"name": "vm%d" % i, "link": {"kind": "none"}})
        daemon.kill()
        daemon.start()
    created = [e["vm"] for e in events(daemon) if e["type"] == "vm.created"]
    assert created == ["vm%d" % i for i in range(6)]


def test_link_that_went_while_netctld_was_away_is_told(daemon, guests):
    from netctltest.namespace import StreamGuest
    guest = guests.add(StreamGuest(daemon))
    daemon.kill()
    guest.relay.stop()
    daemon.start()
    wait_for(lambda: [e for e in events(daemon) if e["type"] == "link.down"], 5, "the end of the link")
    types = [e["type"] for e in events(daemon)]
    assert types.count("link.up") == 1 and types.count("link.down") == 1


def test_guest_cannot_flood_events(tap_guest):
    """Two thousand ports as fast as it can: all are counted, few are named, nothing ends."""
    daemon = tap_guest.daemon
    deny_all(tap_guest)
    worker = daemon.worker_pid("guest")
    began = time.monotonic()
    client = knock(tap_guest, 1000, 2000, 3)
    attempts = int(client.communicate(timeout=60)[0])
    wait_for(lambda: flows(events(daemon)) >= attempts, 10, "all refusals")
    seconds = time.monotonic() - began
    found = refused(events(daemon))
    assert flows(found) == attempts
    assert daemon.worker_pid("guest") == worker
    assert len(found) < 33 + 10 * (seconds + 1), (len(found), seconds)
    assert any(e["data"]["to"] == "others" for e in found)


def test_insisting_is_told_once_a_second(tap_guest):
    daemon = tap_guest.daemon
    deny_all(tap_guest)
    client = knock(tap_guest, 99, 1, 1000, 0.003)
    attempts = int(client.communicate(timeout=60)[0])
    wait_for(lambda: flows(events(daemon)) >= attempts, 10, "all refusals")
    found = refused(events(daemon))
    times = [time.strptime(e["time"].split(".")[0], "%Y-%m-%dT%H:%M:%S") for e in found]
    seconds = time.mktime(times[-1]) - time.mktime(times[0])
    assert flows(found) == attempts
    assert len(found) <= seconds + 3, [e["time"] for e in found]


# ---- who comes late, or is slow ----------------------------------------------------------------

def fill(daemon, n, text="x" * 200):
    """So many events more, as an earlier life would have left them."""
    daemon.stop()
    with sqlite3.connect(os.path.join(daemon.state, "netctl.db")) as db:
        last = db.execute("SELECT COALESCE(MAX(id), 0) FROM events").fetchone()[0]
        db.executemany("INSERT INTO events (id, time_ms, vm, type, data) VALUES (?, 0, ?, 'link.up', ?)",
                       ((last + i, "vm%d" % (i % 2), json.dumps({"reason": text}))
                        for i in range(1, n + 1)))
    db.close()
    daemon.start()
    return last + n


def test_hundred_thousand_are_kept_and_older_ones_are_gone(daemon):
    newest = fill(daemon, 100600, "")
    for i in range(600):  # trimmed now and then
        daemon.ask("POST", "/v1/vms", {"name": "a", "link": {"kind": "none"}})
        daemon.ask("DELETE", "/v1/vms/a")
    response = daemon.api("GET", "/v1/events?since=5")
    assert response.status == 410 and response.headers["Content-Type"] == "application/problem+json"
    problem = response.json
    oldest = problem["oldest"]
    assert problem["status"] == 410 and problem["field"] == "since" and str(oldest) in problem["detail"]
    found = events(daemon, "since=%d" % (oldest - 1))
    assert found[0]["id"] == oldest and len(found) >= 100000
    assert found[-1]["id"] == newest + 1200
    assert [e["id"] for e in found] == list(range(oldest, newest + 1201))
    assert daemon.api("GET", "/v1/events?since=%d" % (oldest - 2)).status == 410
    future = daemon.api("GET", "/v1/events?since=%d" % (newest + 1201))
    assert future.status == 410 and "newest" in future.json["detail"]
    text = daemon.fails("events", "--since", 5)
    assert text.startswith("netctl: ") and len(text.splitlines()) == 1 and str(oldest) in text
    # Without since they begin at the oldest.
    assert events(daemon, "vm=a&last=3") == found[-3:]


def test_slow_reader_is_cut_and_told_so(daemon):
    newest = fill(daemon, 20000)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(daemon.socket)
        sock.sendall(b"GET /v1/events?since=0&follow=1 HTTP/1.1\r\nHost: netctl\r\n\r\n")
        began = time.monotonic()
        while time.monotonic() - began < 17:
            sent = time.monotonic()
            assert daemon.api("GET", "/v1/health").status == 200
            assert time.monotonic() - sent < 1 * SLOW
            time.sleep(0.5)
        text = b""
        while not text.endswith(b"\r\n0\r\n\r\n"):
            data = sock.recv(65536)
            assert data, text[-200:]
            text += data
    body = text.split(b"\r\n\r\n", 1)[1]
    lines = [line for line in body.split(b"\r\n") if line.startswith(b"{")]
    found = [json.loads(line) for line in b"".join(lines).splitlines()]
    assert found[-1]["type"] == "stream.cut" and "too slow" in found[-1]["data"]["reason"]
    assert [e["id"] for e in found[:-1]] == list(range(1, len(found)))
    assert len(found) - 1 == found[-1]["id"] < newest
    rest = events(daemon, "since=%d" % found[-1]["id"])
    assert rest[0]["id"] == found[-1]["id"] + 1 and rest[-1]["id"] == newest


def test_events_are_chosen_by_vm_and_type(daemon):
    fill(daemon, 3000, "")
    daemon.ask("POST", "/v1/vms", {"name": "web", "link": {"kind": "none"}})
    daemon.ask("DELETE", "/v1/vms/web")

    def ids(*args):
        out = daemon.netctl("events", *args)
        lines = out.splitlines() if isinstance(out, str) else [json.dumps(out)] if out else []
        return [json.loads(line)["id"] for line in lines]
    assert ids("--vm", "web") == [3001, 3002]
    assert ids("--vm", "web", "--type", "vm.deleted") == [3002]
    assert ids("--type", "vm,policy.set") == [3001, 3002]
    assert events(daemon, "type=v") == []
    assert ids("--vm", "vm1") == list(range(1, 3001, 2))
    assert ids("--last", 3) == [3000, 3001, 3002]
    assert ids("--since", 2999, "--vm", "vm0") == [3000]


def test_lines_are_aligned_and_plain(daemon):
    fill(daemon, 11, "")
    daemon.ask("POST", "/v1/vms", {"name": "web", "link": {"kind": "none"},
                                   "forwards": [{"listen": {"port": 0}, "to": {"port": 80}}]})
    status, out, err = run(daemon.netctl_argv("events"), 20, env=daemon.env)
    lines = out.splitlines()
    assert status == 0 and [line[:8] for line in lines[8:10]] == ["     9  ", "    10  "]
    assert [line for line in lines if line != line.rstrip() or "{" in line] == []
    assert [line for line in lines if "listen.proto=tcp" in line and "to.port=80" in line], out


@pytest.mark.parametrize("query, field", [
    ("since=-1", "since"), ("since=x", "since"), ("since=", "since"), ("last=100001", "last"),
    ("since=0&last=1", "last"), ("vm=A", "vm"), ("vm=", "vm"), ("type=Link", "type"), ("type=,", "type"),
    ("type=" + ",".join(["a"] * 17), "type"), ("type=" + "a" * 32, "type"), ("follow=2", "follow"),
])
def test_bad_question_names_its_field(shared_daemon, query, field):
    response = shared_daemon.api("GET", "/v1/events?" + query)
    assert response.status == 400 and response.json["field"] == field
