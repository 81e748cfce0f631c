# SPDX-License-Identifier: MIT
"""A secret reaches the guest, and is nowhere else: not in the store, logs, answers, argv or cores."""

import base64
import json
import os
import secrets
import time

import pytest

from netctltest import process
from netctltest.daemon import Daemon
from netctltest.process import SANITIZED, Process, run, wait_for
from netctltest.vsock_guests import StreamGuest

ENV = 1026
REGION_MAX = 256 << 20  # the sanitizers reserve terabytes


class Secret:
    """A value, and all that would give it away."""

    def __init__(self, name, value):
        self.name, self.value = name, value
        data = value.encode()
        self.signs = set()
        for at in (0, len(data) // 2, len(data) - 24):
            piece = data[at:at + 24]
            self.signs |= {piece, piece.hex().encode(), piece.hex().upper().encode(), piece[::-1],
                           json.dumps(piece.decode()).encode()[1:-1]}
            # A piece whose length is a multiple of three, wherever base64 has its borders.
            self.signs |= {base64.b64encode(data[at + i:at + i + 21]) for i in range(3)
                           if len(data[at + i:at + i + 21]) == 21}


def new_secrets():
    return [Secret("plain", secrets.token_urlsafe(48)),
            Secret("long", secrets.token_urlsafe(45000)),
            Secret("odd", 'quote " back \\ line \n' + secrets.token_urlsafe(24) + "\t" + secrets.token_urlsafe(24))]


def found_in(data, values):
    """The names of the secrets that these bytes give away."""
    return [value.name for value in values if any(sign in data for sign in value.signs)]


def found_in_file(path, values):
    with open(path, "rb") as f:
        return found_in(f.read(), values)


def memory_of(pid):
    """Everything that the process could read, by pieces."""
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", 0) as memory:
        for line in maps:
            words = line.split()
            start, end = (int(x, 16) for x in words[0].split("-"))
            if "r" not in words[1] or end - start > REGION_MAX or words[-1] in ("[vvar]", "[vsyscall]"):
                continue
            try:
                memory.seek(start)
                yield memory.read(end - start)
            except OSError:
                pass


def core_of(pid, directory, values):
    """A core as root makes it, and what is found in it."""
    if SANITIZED:  # whose reservations no core could hold
        return sorted({name for piece in memory_of(pid) for name in found_in(piece, values)})
    prefix = os.path.join(directory, "core")
    status, out, err = run(["gcore", "-a", "-o", prefix, pid], 60)
    path = "%s.%d" % (prefix, pid)
    assert status == 0 and os.path.getsize(path) > 100000, out + err
    try:
        return found_in_file(path, values)
    finally:
        os.unlink(path)


@pytest.fixture
def holder():
    """A netctld with a guest to which secrets were set, in all ways that there are."""
    daemon = Daemon()
    values = new_secrets()
    try:
        daemon.start()
        guest = StreamGuest(daemon)
        plain, long, odd = values
        status, _, err = run(daemon.netctl_argv("secret", "set", guest.vm, plain.name), stdin=plain.value)
        assert status == 0, err
        path = os.path.join(daemon.directory, "secret")
        with open(path, "w") as f:
            f.write(long.value)
        daemon.netctl("secret", "set", guest.vm, long.name, "--from-file", path)
        os.unlink(path)
        assert daemon.api("PUT", "/v1/vms/%s/secrets/odd" % guest.vm, odd.value.encode()).status == 204
        daemon.netctl("env", "set", guest.vm, "VISIBLE=by everybody")
        yield daemon, guest, values
        guest.close()
    finally:
        daemon.stop()
        process.forget_logs()
        daemon.cleanup()


def read(guest, values):
    document = json.loads(guest.read(ENV))
    assert document == {"env": {"VISIBLE": "by everybody"}, "secrets": {v.name: v.value for v in values}}


def test_the_search_finds(tmp_path):
    """A process that keeps a secret is found out; else the search below would mean nothing."""
    values = new_secrets()
    path = tmp_path / "value"
    for value in values:
        path.write_text(value.value)
        keeper = Process("keeper." + value.name, ["/usr/bin/python3", "-c", "import sys, time\nvalue = open(%r, 'rb').read()\n"
                                    "print('ready', flush=True)\ntime.sleep(60)" % str(path)], str(tmp_path))
        wait_for(lambda: "ready" in keeper.log(), 5, "keeper")
        assert core_of(keeper.pid, str(tmp_path), values) == [value.name]
        keeper.kill()
        data = value.value.encode()
        for form in (data, data.hex().encode(), base64.b64encode(b"x" + data), base64.b64encode(b"xx" + data),
                     base64.b64encode(data), json.dumps(value.value).encode()):
            assert found_in(b"before " + form + b" behind", values) == [value.name]


def test_no_core_has_a_secret(holder):
    """1 s after the last read, as root makes it, of netctld, spawner and worker."""
    daemon, guest, values = holder
    for _ in range(3):
        read(guest, values)
    # One that the guest asks for and never takes, and one that it takes half of.
    guest.peer.buf_alloc = 1000
    stingy = guest.peer.connect_to(ENV)
    stingy.recv(100)
    stingy.abort()
    guest.peer.buf_alloc = 262144
    read(guest, values)
    time.sleep(1)
    pids = daemon.processes()
    assert len(pids) == 3, pids
    for pid in pids:
        assert core_of(pid, daemon.directory, values) == [], "pid %d" % pid


def test_no_core_of_a_successor_has_a_secret(holder):
    """netctld reads the store again, the worker is another."""
    daemon, guest, values = holder
    read(guest, values)
    os.kill(daemon.worker_pid(guest.vm), 9)
    wait_for(lambda: (daemon.vm(guest.vm)["worker"] or {}).get("restarts") == 1, 5, "a new worker")
    wait_for(lambda: daemon.vm(guest.vm)["vsock"]["connected"], 5, "the VMM is there again")
    daemon.kill()
    daemon.start()
    read(guest, values)
    time.sleep(1)
    for pid in daemon.processes():
        assert core_of(pid, daemon.directory, values) == [], "pid %d" % pid


def every_file(directory):
    for where, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(where, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path


def test_no_file_has_a_secret(holder):
    """Store, its journal, the key's file, logs."""
    daemon, guest, values = holder
    read(guest, values)
    snapshot = daemon.ask("POST", "/v1/vms/%s/snapshots" % guest.vm, {})
    paths = list(every_file(daemon.directory))
    assert any(path.endswith("netctl.db") for path in paths)
    assert any(b"VISIBLE" in open(path, "rb").read() for path in paths), "the search sees nothing"
    assert any(path.endswith(".log") for path in paths)
    for path in paths:
        assert found_in_file(path, values) == [], path
    daemon.ask("DELETE", "/v1/snapshots/" + snapshot["id"])
    daemon.netctl("secret", "delete", guest.vm, "plain")
    daemon.stop()
    for path in every_file(daemon.directory):
        assert found_in_file(path, values) == [], path
    daemon.start()


def test_no_answer_has_a_secret(holder):
    daemon, guest, values = holder
    read(guest, values)
    snapshot = daemon.ask("POST", "/v1/vms/%s/snapshots" % guest.vm, {})
    vm = "/v1/vms/" + guest.vm
    asked = ["/v1/vms", vm, vm + "/env", vm + "/secrets", vm + "/stats", vm + "/flows", vm + "/policy",
             vm + "/maps", vm + "/listeners", vm + "/forwards", vm + "/hosts", vm + "/snapshots", "/metrics",
             "/v1/events?since=0", "/v1/snapshots", "/v1/snapshots/" + snapshot["id"],
             "/v1/snapshots/%s?export=1" % snapshot["id"], vm + "/secrets/plain"]
    answers = {path: daemon.api("GET", path) for path in asked}
    assert [path for path, a in answers.items() if a.status != 200] == [vm + "/secrets/plain"]
    for path, answer in answers.items():
        assert found_in(answer.body, values) == [], path
    assert b"plain" in answers[vm + "/secrets"].body
    # Refusals do not repeat what they refuse.
    value = values[0].value.encode()
    for method, path, body in (("PUT", vm + "/secrets/no/name", value), ("PUT", vm + "/secrets/" + "n" * 300, value),
                               ("PUT", vm + "/secrets/big", value * 3000), ("POST", vm + "/secrets/x", value),
                               ("PUT", "/v1/vms/nobody/secrets/x", value)):
        answer = daemon.api(method, path, body)
        assert answer.status >= 400, path
        assert found_in(answer.body, values) == [], path
    with open(daemon.process.log_path, "rb") as f:
        assert found_in(f.read(), values) == []


def test_no_argv_has_a_secret(holder):
    """Of anybody, while secrets are being set and read."""
    daemon, guest, values = holder
    seen = []
    argv = daemon.netctl_argv("secret", "set", guest.vm, "plain")
    for _ in range(5):
        setter = Process("setter", ["sh", "-c", "cat %s | %s" % (write_secret(daemon, values[0]), " ".join(argv))],
                         daemon.directory)
        while setter.running():
            seen += all_argv()
        assert setter.wait() == 0, setter.log()
        read(guest, values)
    assert any(b"secret\0set" in argv for argv in seen), "the search saw no netctl"
    for argv in seen:
        assert found_in(argv, values) == [], argv


def write_secret(daemon, value):
    path = os.path.join(daemon.directory, "secret")
    with open(path, "w") as f:
        f.write(value.value)
    return path


def all_argv():
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/cmdline" % name, "rb") as f:
                    found.append(f.read())
            except OSError:
                pass
    return found
