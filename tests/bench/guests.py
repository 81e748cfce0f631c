# SPDX-License-Identifier: MIT
"""The guests that are measured: a network namespace each, and the data plane that serves it.

A guest lives from start() to stop(), and has
    host     the address at which it finds the host's loopback
    enter    the argv prefix that puts a program into it
    workers  the pids of the data plane's processes
Its namespace is held by cat(1), which ends when its standard input, our pipe, does: so a guest and
its data plane are gone even if this program dies of SIGKILL.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))

from netctltest import process as program  # noqa: E402
from netctltest.daemon import Daemon  # noqa: E402

ROOT = os.geteuid() == 0
MTU = "65520"
SAME_NAMES = 100  # of "dns-again"
# Who the peers are that do not want to be root.
USER = 1000
DIE_WITH_US = ["setpriv", "--pdeathsig", "TERM", "--"]


class Failure(Exception):
    """A guest that does not work, or a measurement that did not: one line."""


def stat(pid):
    """(comm, the fields after it) of /proc/PID/stat, or None if there is no such process."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            head, _, tail = f.read().rpartition(")")
    except OSError:
        return None
    fields = tail.split()
    return (head.partition("(")[2], fields) if fields[0] not in "ZX" else None


def cpu_seconds(pids):
    """User and system time that these processes have had so far."""
    ticks = 0
    for pid in pids:
        found = stat(pid)
        if not found:
            raise Failure("the data plane (pid %d) died" % pid)
        ticks += int(found[1][11]) + int(found[1][12])
    return ticks / os.sysconf("SC_CLK_TCK")


def family(pid):
    """{pid: start time} of a process and of all that descend from it."""
    children, born = {}, {}
    for name in os.listdir("/proc"):
        found = stat(int(name)) if name.isdigit() else None
        if found:
            children.setdefault(int(found[1][1]), []).append(int(name))
            born[int(name)] = found[1][19]
    todo, all_of_it = [pid], {}
    while todo:
        one = todo.pop()
        if one in born:
            all_of_it[one] = born[one]
        todo += children.get(one, [])
    return all_of_it


def named(pids, name):
    """Those whose command's name begins so."""
    return sorted(p for p in pids if (stat(p) or ("",))[0].startswith(name))


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure("%s: not within %g s" % (what, seconds))
        time.sleep(0.02)


class Guest:
    """What all have in common. This one has no data plane: it is the host itself."""

    suite = "namespace"
    name = "loopback"
    title = "none (loopback)"
    host = "127.0.0.1"
    program = None
    directories = ()  # of the host that its programs see
    skips = ()  # metrics that would say nothing of it

    def __init__(self, peers):
        self.peers = peers
        self.enter = []
        self.workers = []
        self.started = []

    def missing(self):
        """Why it cannot be measured here, or None."""
        if not self.program:
            return None
        path = os.path.join(self.peers, "usr/bin", self.program) if self.peers else None
        if path and not os.path.exists(path):
            return "no %s in %s" % (self.program, self.peers)
        if not path and not shutil.which(self.program):
            return "no %s in the PATH" % self.program
        if not ROOT and not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            return "/dev/net/tun is not open to this user"
        status, text = self.ask("--version")
        return text.partition("\n")[0] if status != 0 else None

    def ask(self, option):
        """What the program says to --version or --help: (status, text)."""
        done = subprocess.run(self.staged([self.program, option]), text=True, timeout=20,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        return done.returncode, done.stdout

    def version(self):
        return self.ask("--version")[1].partition("\n")[0].strip() if self.program else None

    def staged(self, argv):
        """A peer's argv, run where its program is."""
        place = ":".join([self.peers or "/", *self.directories])
        return [os.path.join(HERE, "stage"), place, *argv] if ROOT else argv

    def start(self):
        pass

    def prepare(self, servers):
        """What is to be told to a guest that is up."""

    def resolver(self, servers):
        """(address, port) that its programs ask for names: the server itself, unless it has one."""
        return self.host, servers["bench_dns"].port

    def load_argv(self, metric, seconds, options, servers):
        """The load tool's argv."""
        if metric in ("connections", "requests"):
            what = [options.concurrent, "close"] if metric == "connections" else [1, "keep"]
            argv = ["bench_http", "load", self.host, servers["bench_http"].port, seconds, *what]
        elif metric in ("dns", "dns-again"):
            argv = ["bench_dns", "load", *self.resolver(servers), seconds, options.concurrent,
                    0 if metric == "dns" else SAME_NAMES]
        else:
            argv = ["bench_stream", metric, self.host, servers["bench_stream"].port, seconds]
            if metric.startswith("udp"):
                argv += [options.udp_rate, options.udp_size]
        return [*self.enter, *DIE_WITH_US, program.tool(argv[0]), *map(str, argv[1:])]

    def popen(self, argv, **options):
        self.log = tempfile.TemporaryFile()
        options.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(argv, stdout=self.log, stderr=self.log, start_new_session=True,
                                   **options)
        self.started.append(process)
        return process

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace").strip().replace("\n", "; ")

    def find(self, process, name, seconds=15):
        """The pids of the processes of this name below one of ours."""
        def look():
            if process.poll() is not None:
                raise Failure("%s ended with status %d: %s" % (
                    self.name, process.returncode, self.said()))
            return named(family(process.pid), name)
        return wait_for(look, seconds, "%s: %s" % (self.name, name))

    def go_into(self, pid):
        self.enter = ["nsenter", "-t", str(pid), "-n"]
        if not ROOT:
            self.enter += ["-U", "--preserve-credentials"]

    def stop(self):
        """Ends what start() started, in the reverse order, by pid; complains of what then lives."""
        relatives = {}
        for process in self.started:
            relatives.update(family(process.pid))
        for process in reversed(self.started):
            if process.stdin:
                process.stdin.close()
            end_process(process, 3 if process.stdin else 0)
        self.started.clear()
        deadline = time.monotonic() + 3
        left = relatives
        while left and time.monotonic() < deadline:
            left = {p: b for p, b in left.items() if (stat(p) or (0, [None] * 20))[1][19] == b}
            time.sleep(0.01)
        for pid in left:
            print("bench: %s left process %d behind" % (self.name, pid), file=sys.stderr)
            os.kill(pid, signal.SIGKILL)


def end_process(process, patience):
    """Waits so long, then SIGTERM, then SIGKILL."""
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        if number:
            process.send_signal(number)
        try:
            process.wait(5 if number else patience)
            return
        except subprocess.TimeoutExpired:
            pass


class Netctl(Guest):
    """netctl run, with a netctld of our own. Each is as the other is: root or an ordinary user."""

    name = title = "netctl"
    host = "10.0.2.2"

    def __init__(self, peers):
        super().__init__(peers)
        self.daemon = None

    def missing(self):
        if not ROOT and not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            return "/dev/net/tun is not open to this user"
        return None

    def version(self):
        return program.run([program.program("netctl"), "--version"])[1].partition("\n")[0]

    def start(self):
        self.daemon = Daemon(prefix=DIE_WITH_US)
        self.daemon.start()
        process = self.popen(self.daemon.netctl_argv("run", "--mtu", MTU, "--host-access", "--",
                                                     "cat"), stdin=subprocess.PIPE)
        self.go_into(self.find(process, "cat")[0])
        name = self.daemon.ask("GET", "/v1/vms")["items"][0]["name"]
        self.vm = "/v1/vms/" + name
        self.workers = [self.daemon.worker_pid(name)]

    def prepare(self, servers):
        upstream = "127.0.0.1:%d" % servers["bench_dns"].port
        self.daemon.ask("PATCH", self.vm, {"dns": {"upstreams": [upstream]}})

    def resolver(self, servers):
        return self.host, 53

    def stop(self):
        super().stop()
        if self.daemon:
            self.daemon.stop()
            for pid in self.daemon.left_over:
                print("bench: netctld left process %d behind" % pid, file=sys.stderr)
            self.daemon.cleanup()
            self.daemon = None


class Pasta(Guest):
    name = title = "pasta"
    # Of a range for examples in documents, and not on any interface of the host, one hopes.
    host = "198.51.100.1"
    address = "198.51.100.2"
    program = "pasta"
    skips = ("dns-again",)  # it keeps no answers

    def reach_host(self):
        """How the host's loopback becomes `host`: old ones map it to the gateway, always."""
        if "--map-host-loopback" in self.ask("--help")[1]:
            return ["--map-host-loopback", self.host]
        return ["--address", self.address, "--netmask", "24", "--gateway", self.host]

    def start(self):
        argv = ["pasta", "--config-net", "-q", "-t", "none", "-u", "none", "-T", "none", "-U",
                "none", "--mtu", MTU, *self.reach_host(), "--", "cat"]
        if ROOT:
            argv = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups",
                    "--", *argv]
        process = self.popen(self.staged(argv), stdin=subprocess.PIPE)
        self.go_into(self.find(process, "cat")[0])
        self.workers = named(family(process.pid), "pas")  # pasta.avx2, passt


class Slirp(Guest):
    name = title = "slirp4netns"
    host = "10.0.2.2"
    program = "slirp4netns"
    skips = ("dns-again",)
    exit_pipe = None

    def start(self):
        flags = ["--net"] if ROOT else ["--net", "--user", "--map-root-user"]
        process = self.popen(["unshare", *flags, "cat"], stdin=subprocess.PIPE)
        holder = self.find(process, "cat")[0]
        self.go_into(holder)
        argv = ["slirp4netns", "--configure", "--mtu", MTU, str(holder), "tap0"]
        if not ROOT:
            argv[1:1] = ["--userns-path", "/proc/%d/ns/user" % holder]
        # It ends when the pipe to its exit-fd does.
        here, there = os.pipe()
        argv[1:1] = ["--exit-fd", str(here)]
        process = self.popen(self.staged(argv), pass_fds=[here])
        os.close(here)
        self.exit_pipe = there
        self.workers = self.find(process, "slirp4netns")

    def stop(self):
        if self.exit_pipe is not None:
            os.close(self.exit_pipe)
            self.exit_pipe = None
        super().stop()


ALL = [Guest, Netctl, Pasta, Slirp]
