# SPDX-License-Identifier: MIT
"""netctl run: a command in a network of its own."""

import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time

import pytest

from netctltest import process
from netctltest.process import wait_for

NOBODY = 65534


class Runner:
    """netctl run, as root or as an ordinary user, without a daemon of ours."""

    def __init__(self, user):
        self.home = tempfile.mkdtemp(prefix="nct.")
        os.chmod(self.home, 0o755)
        self.prefix = []
        self.bin = os.path.join(process.BUILD, "bin")
        self.xdg = os.path.join(self.home, "xdg")
        os.mkdir(self.xdg, 0o700)
        if user and os.geteuid() == 0:
            self.bin = os.path.join(self.home, "bin")
            shutil.copytree(os.path.join(process.BUILD, "bin"), self.bin)
            os.chown(self.xdg, NOBODY, NOBODY)
            self.prefix = self._open_tun() + ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY),
                           "--clear-groups", "--"]
        self.env = {k: v for k, v in os.environ.items() if k != "NETCTL_SOCKET"}
        self.env.update(XDG_RUNTIME_DIR=self.xdg, XDG_STATE_HOME=self.xdg, HOME=self.xdg)

    def _open_tun(self):
        """Debian lets everybody open /dev/net/tun; where that is not so, a private one is."""
        if os.stat("/dev/net/tun").st_mode & 0o006 == 0o006:
            return []
        tun = os.path.join(self.home, "tun")
        os.mknod(tun, 0o600 | stat.S_IFCHR, os.stat("/dev/net/tun").st_rdev)
        os.chmod(tun, 0o666)
        return ["unshare", "-m", "sh", "-c", 'mount --bind %s /dev/net/tun && exec "$@"' % tun, "sh"]

    def argv(self, *args):
        return [*self.prefix, os.path.join(self.bin, "netctl"), "run", *map(str, args)]

    def run(self, *args, timeout=30, cwd=None):
        return process.run(self.argv(*args), timeout, env=self.env, cwd=cwd)

    def popen(self, *args):
        return subprocess.Popen(self.argv(*args), env=self.env, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def left(self):
        """Processes that use our XDG_RUNTIME_DIR."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                try:
                    with open("/proc/%s/environ" % name, "rb") as f:
                        if self.xdg.encode() in f.read():
                            with open("/proc/%s/stat" % name) as g:
                                if g.read().rpartition(")")[2].split()[0] != "Z":
                                    found.append(int(name))
                except OSError:
                    pass
        return found

    def close(self):
        shutil.rmtree(self.home, ignore_errors=True)


@pytest.fixture(params=["root", "user"])
def runner(request):
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("not root")
    it = Runner(request.param == "user")
    yield it
    wait_for(lambda: not it.left(), 5, "nothing is left behind")
    it.close()


def test_address_and_gateway(runner):
    status, out, err = runner.run("--", "sh", "-c", "ip -4 -o addr show; ip route")
    assert status == 0, err
    assert "10.0.2.15/24" in out and "default via 10.0.2.2" in out


def test_resolv_conf(runner):
    status, out, err = runner.run("--", "cat", "/etc/resolv.conf")
    assert status == 0, err
    assert "nameserver 10.0.2.2" in out


def test_network_is_as_asked(runner):
    status, out, err = runner.run("--subnet", "10.77.0.0/24", "--mac", "52:54:00:00:00:77", "--dns", "192.0.2.1",
                                  "--search", "a.org", "--dns-unlisted", "answer", "--", "sh", "-c",
                                  "cat /etc/resolv.conf; ip addr show eth0")
    assert status == 0, err
    assert "nameserver 10.77.0.2" in out and "search a.org" in out and "52:54:00:00:00:77" in out and "10.77.0.15" in out


def test_resolves(runner):
    status, out, err = runner.run("--host-access", "--", "getent", "ahostsv4", "host.internal")
    assert status == 0, err
    assert out.startswith("10.0.2.2 ")


def test_keeps_ids_and_directory(runner, tmp_path):
    where = runner.home
    status, out, err = runner.run("--", "sh", "-c", "id -u; id -g; pwd", cwd=where)
    assert status == 0, err
    want = str(NOBODY) if runner.prefix else str(os.geteuid())
    assert out.split() == [want, want, where]


def test_holds_no_capability(runner):
    status, out, err = runner.run("--", "grep", "^Cap", "/proc/self/status")
    assert status == 0, err
    values = dict(line.split(":\t") for line in out.splitlines())
    for which in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(values[which], 16) == 0, out


def test_cannot_change_its_network(runner):
    status, _, _ = runner.run("--", "ip", "addr", "add", "10.9.9.9/24", "dev", "lo")
    assert status != 0


def test_map_root(runner):
    status, out, err = runner.run("--map-root", "--", "id", "-u")
    assert (status, out) == (0, "0\n"), err


def test_mtu(runner):
    status, out, err = runner.run("--mtu", "1400", "--", "cat", "/proc/net/dev")
    assert status == 0, err
    status, out, err = runner.run("--mtu", "1400", "--", "ip", "-o", "link")
    assert "mtu 1400" in out


@pytest.mark.parametrize("command, want", [
    (["true"], 0), (["false"], 1), (["sh", "-c", "exit 42"], 42), (["sh", "-c", "kill -TERM $$"], 143),
    (["/nowhere/program"], 127), (["no-such-program-in-path"], 127), (["/etc/passwd"], 126), (["/"], 126),
])
def test_exit_status(runner, command, want):
    assert runner.run("--", *command)[0] == want


def test_own_failure_is_125(runner):
    status, _, err = runner.run("--policy", "/no/such/file", "--", "true")
    assert status == 125
    assert "/no/such/file" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_are_passed_on(runner, number):
    name = number.name[3:]
    popen = runner.popen("--", "sh", "-c", "trap 'echo got %s; exit 9' %s; echo up; "
                         "while :; do sleep 0.05; done" % (name, name))
    assert popen.stdout.readline() == "up\n"
    popen.send_signal(number)
    assert popen.stdout.readline() == "got %s\n" % name
    assert popen.wait(10) == 9


def test_killed_leaves_nothing(runner):
    popen = runner.popen("--", "sh", "-c", "echo up; sleep 1000")
    assert popen.stdout.readline() == "up\n"
    time.sleep(0.2)
    for pid in netctl_pids(popen.pid):
        os.kill(pid, signal.SIGKILL)
    popen.wait(10)
    wait_for(lambda: not runner.left(), 5, "nothing is left behind")


def netctl_pids(pid):
    """The process that was started: setpriv has become netctl."""
    return [pid]


def test_output_is_only_the_commands(runner):
    status, out, err = runner.run("--", "echo", "hello")
    assert (status, out, err) == (0, "hello\n", "")


def test_two_at_once(runner):
    one = runner.popen("--", "sh", "-c", "echo up; sleep 2; ip -4 -o addr show")
    assert one.stdout.readline() == "up\n"
    status, out, err = runner.run("--", "ip", "-4", "-o", "addr", "show")
    assert status == 0, err
    assert "10.0.2.15/24" in out
    assert "10.0.2.15/24" in one.stdout.read()
    assert one.wait(10) == 0


def test_runtime_is_hidden(daemon):
    """The command cannot talk to the daemon that serves it."""
    argv = daemon.netctl_argv("run", "--", "ls", daemon.runtime)
    status, out, _ = process.run(argv, 30)
    assert status != 0 or out.strip() == ""
