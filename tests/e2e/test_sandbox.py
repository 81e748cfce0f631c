# SPDX-License-Identifier: MIT
"""What a live worker may not do any more, read from /proc."""

import os
import shutil
import stat
import subprocess
import tempfile

import pytest

from netctltest import process
from netctltest.daemon import Daemon
from netctltest.namespace import TapGuest


def status_of(pid):
    with open("/proc/%d/status" % pid) as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def check_worker(record, pid):
    status = status_of(pid)
    assert record["sandbox"] in ("namespace", "landlock")
    for which in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[which], 16) == 0, which
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    if record["sandbox"] == "namespace":
        assert os.listdir("/proc/%d/root/" % pid) == []
        assert os.readlink("/proc/%d/ns/mnt" % pid) != os.readlink("/proc/self/ns/mnt")
        assert os.readlink("/proc/%d/ns/user" % pid) != os.readlink("/proc/self/ns/user")
    for fd in os.listdir("/proc/%d/fd" % pid):
        target = os.readlink("/proc/%d/fd/%s" % (pid, fd))
        mode = os.stat("/proc/%d/fd/%s" % (pid, fd)).st_mode
        allowed = (not target.startswith("/") or target.startswith("/memfd:")
                   or target in ("/dev/null", "/dev/net/tun") or stat.S_ISSOCK(mode)
                   or (fd == "2" and target.endswith(".log")) or (fd == "1" and target.endswith(".log")))
        assert allowed, "fd %s is %s" % (fd, target)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to look")
def test_worker_of_root(daemon, tap_guest):
    check_worker(daemon.vm("guest"), daemon.worker_pid("guest"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_worker_of_ordinary_user(tmp_path):
    """netctld, spawner and worker as a user without any privilege."""
    home = tempfile.mkdtemp(prefix="nct.")
    daemon = None
    try:
        os.chmod(home, 0o755)
        own = os.path.join(home, "own")
        programs = os.path.join(home, "bin")
        os.mkdir(own)
        shutil.copytree(os.path.join(process.BUILD, "bin"), programs)
        os.chown(own, 65534, 65534)
        daemon = Daemon(own, prefix=["setpriv", "--reuid", "65534", "--regid", "65534",
                                     "--clear-groups", "--"], bin_dir=programs)
        daemon.start()
        guest = TapGuest(daemon)
        try:
            check_worker(daemon.vm("guest"), daemon.worker_pid("guest"))
            assert "1 received" in guest.sh("ping -c 1 -W 2 10.0.2.2")
        finally:
            guest.close()
    finally:
        if daemon:
            daemon.stop()
        shutil.rmtree(home, ignore_errors=True)


def test_doctor_names_nothing_secret_in_argv(daemon, tap_guest):
    """A worker's argv says what it is, and no path of a VM."""
    with open("/proc/%d/cmdline" % daemon.worker_pid("guest"), "rb") as f:
        argv = f.read().split(b"\0")
    assert argv[0].endswith(b"netdp")
    assert daemon.runtime.encode() + b"/vms" not in b" ".join(argv)


assert subprocess
