# SPDX-License-Identifier: MIT
"""What a live worker has given up, as /proc tells it: for netctld of root's and of an ordinary user's."""

import os
import shutil
import socket
import subprocess
import tempfile

import pytest

from netctltest import process
from netctltest.daemon import Daemon
from netctltest.process import wait_for

ORDINARY = 4242
NOTHING = "0000000000000000"
IS_ROOT = os.geteuid() == 0
AS_ORDINARY = ["setpriv", "--reuid", str(ORDINARY), "--regid", str(ORDINARY), "--clear-groups"]


def succeeds(argv):
    return subprocess.run(argv, capture_output=True).returncode == 0


class Sandboxed:
    """A VM with a stream link that somebody holds, so that it has a worker."""

    def __init__(self, who):
        self.who = who
        self.directory = tempfile.mkdtemp(prefix="nct.")
        prefix = []
        if who == "user" and IS_ROOT:
            os.chown(self.directory, ORDINARY, ORDINARY)
            prefix = AS_ORDINARY
            if not succeeds(prefix + ["test", "-x", process.program("netctld")]):
                pytest.skip("the programs lie where an ordinary user cannot reach them")
        self.daemon = Daemon(self.directory, prefix=prefix)
        self.link = socket.socket(socket.AF_UNIX)
        try:
            self.daemon.start()
            self.daemon.ask("POST", "/v1/vms", {"name": "caged", "link": {"kind": "stream"}})
            path = self.daemon.vm("caged")["link"]["path"]
            wait_for(lambda: os.path.exists(path), 5, path)
            self.link.connect(path)
            self.pid = self.daemon.worker_pid("caged")
            wait_for(lambda: self.daemon.vm("caged")["sandbox"], 5, "the sandbox has a level")
        except BaseException:
            self.close()
            raise

    def close(self):
        self.link.close()
        self.daemon.stop()
        process.forget_logs()
        shutil.rmtree(self.directory, ignore_errors=True)

    def status(self):
        with open("/proc/%d/status" % self.pid) as f:
            return dict((k, v.strip()) for k, _, v in (line.partition(":") for line in f))

    def namespace(self, kind):
        return os.readlink("/proc/%d/ns/%s" % (self.pid, kind))

    def descriptors(self):
        where = "/proc/%d/fd" % self.pid
        return {int(fd): os.readlink(os.path.join(where, fd)) for fd in os.listdir(where)}


@pytest.fixture(scope="module", params=["root", "user"])
def sandboxed(request):
    if request.param == "root" and not IS_ROOT:
        pytest.skip("needs root")
    it = Sandboxed(request.param)
    yield it
    it.close()


needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root may look into a worker")


def test_level_is_the_best_there_is(sandboxed):
    possible = succeeds((AS_ORDINARY if IS_ROOT else []) + ["unshare", "-U", "-m", "true"])
    level = sandboxed.daemon.vm("caged")["sandbox"]
    if possible or sandboxed.who == "root":
        assert level == "namespace"
    else:
        assert level == "landlock"


def test_capabilities_are_gone(sandboxed):
    status = sandboxed.status()
    for which in ("CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"):
        assert status[which] == NOTHING, which


def test_no_new_privileges_and_a_filter(sandboxed):
    status = sandboxed.status()
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


def test_user_is_nobody_special(sandboxed):
    status = sandboxed.status()
    uids = set(status["Uid"].split())
    assert len(uids) == 1 and "0" not in uids
    if sandboxed.who == "root":
        assert status["Groups"] == ""
    elif IS_ROOT:
        assert uids == {str(ORDINARY)}


def test_one_thread_and_no_children(sandboxed):
    assert sandboxed.status()["Threads"] == "1"
    with open("/proc/%d/limits" % sandboxed.pid) as f:
        limits = f.read().splitlines()
    for name in ("Max processes", "Max core file size"):
        line = next(line for line in limits if line.startswith(name))
        assert line[len(name):].split()[:2] == ["0", "0"], line


@needs_root
def test_root_is_empty_and_read_only(sandboxed):
    root = "/proc/%d/root/" % sandboxed.pid
    assert os.listdir(root) == []
    assert os.statvfs(root).f_flag & os.ST_RDONLY
    with open("/proc/%d/mountinfo" % sandboxed.pid) as f:
        mounts = f.read().splitlines()
    assert len(mounts) == 1 and " - tmpfs " in mounts[0], mounts


@needs_root
def test_only_the_network_namespace_is_the_hosts(sandboxed):
    ours = {kind: os.readlink("/proc/self/ns/" + kind) for kind in ("net", "mnt", "user", "ipc", "uts")}
    assert sandboxed.namespace("net") == ours["net"]
    for kind in ("mnt", "user", "ipc", "uts"):
        assert sandboxed.namespace(kind) != ours[kind], kind
    with open("/proc/%d/uid_map" % sandboxed.pid) as f:
        assert f.read() == "", "nobody exists in there"


@needs_root
def test_descriptors_lead_to_no_file(sandboxed):
    for fd, target in sandboxed.descriptors().items():
        if fd == 2:
            continue  # the log
        assert target == "/dev/null" or target.startswith(
            ("socket:", "pipe:", "anon_inode:", "/memfd:")), "%d is %s" % (fd, target)


@needs_root
def test_memory_is_not_both_writable_and_executable(sandboxed):
    with open("/proc/%d/maps" % sandboxed.pid) as f:
        rights = [line.split()[1] for line in f]
    assert not [r for r in rights if "w" in r and "x" in r]


def test_a_worker_serves_from_in_there(sandboxed):
    """ARP for the gateway is answered: what went was not what it needs."""
    mac, gateway, guest = b"\x52\x54\0\0\0\1", bytes([10, 0, 2, 2]), bytes([10, 0, 2, 15])
    request = (b"\xff" * 6 + mac + b"\x08\x06" + b"\0\1\x08\0\6\4\0\1" + mac + guest + bytes(6)
               + gateway)
    sandboxed.link.settimeout(10)
    sandboxed.link.sendall(len(request).to_bytes(4, "big") + request)
    reply = bytes(42)
    while reply[20:22] != b"\0\2":  # it asks for the guest's own address first
        size = int.from_bytes(sandboxed.link.recv(4, socket.MSG_WAITALL), "big")
        reply = sandboxed.link.recv(size, socket.MSG_WAITALL)
        assert reply[12:14] == b"\x08\x06"
    assert reply[28:32] == gateway
