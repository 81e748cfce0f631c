# SPDX-License-Identifier: MIT
"""A guest that is a network namespace, on a tap or, through a relay, on another link.

    TapGuest      the tap's fd is handed to netctld
    StreamGuest   a relay carries the tap's frames to the VM's link.sock
    SpoiledGuest  a tap whose frames a relay drops, doubles and reorders

Each has an address set by hand (what DHCP would say), `run`, `popen`, and `nsenter`, the argv prefix
that puts a program inside.
"""

import os
import socket
import sys

from .process import Process, run, tool, wait_for

GATEWAY = "10.0.2.2"
ADDRESS = "10.0.2.15"
MAC = "52:54:00:12:34:56"
HERE = os.path.dirname(os.path.abspath(__file__))


class Namespace:
    """A network namespace that lives as long as this object says."""

    def __init__(self, name, directory):
        self.name = name
        self.directory = directory
        self.processes = []
        flags = ["--net"] if os.geteuid() == 0 else ["--net", "--user", "--map-root-user"]
        home = os.readlink("/proc/self/ns/net")
        self.holder = self._start("ns", ["unshare", *flags, "sleep", "100000"])
        wait_for(lambda: os.readlink("/proc/%d/ns/net" % self.holder.pid) != home
                 and os.path.basename(os.readlink("/proc/%d/exe" % self.holder.pid)) != "unshare",
                 5, "namespace " + name)
        self.pid = self.holder.pid
        self.nsenter = ["nsenter", "-t", str(self.pid), "-n"]
        if os.geteuid() != 0:
            self.nsenter += ["-U", "--preserve-credentials"]
        self.net = "/proc/%d/ns/net" % self.pid
        self.sh("ip link set lo up")

    def _start(self, what, argv, **options):
        process = Process("%s.%s" % (self.name, what), argv, self.directory, **options)
        self.processes.append(process)
        return process

    def run(self, argv, timeout=30):
        """Runs a program inside. Returns (status, stdout and stderr)."""
        if isinstance(argv, str):
            argv = ["sh", "-c", argv]
        status, out, err = run(self.nsenter + list(argv), timeout)
        return status, out + err

    def sh(self, script, timeout=30):
        """Runs a script inside that must succeed. Returns what it printed."""
        status, text = self.run(script, timeout)
        assert status == 0, "%s: %s: status %d\n%s" % (self.name, script, status, text)
        return text

    def popen(self, argv, name=None, **options):
        """Starts a program inside."""
        if isinstance(argv, str):
            argv = ["sh", "-c", argv]
        name = name or "%s%d" % (os.path.basename(argv[0]), len(self.processes))
        return self._start(name, self.nsenter + list(argv), **options)

    def make_tap(self, name):
        """A tap with virtio-net headers inside; returns its fd."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with here, there:
            status, out, err = run_with_fd(self.nsenter + [
                "/usr/bin/python3", os.path.join(HERE, "make_tap.py"), name, str(there.fileno())],
                there.fileno())
            assert status == 0, "tap %s: %s%s" % (name, out, err)
            _, fds, _, _ = socket.recv_fds(here, 1, 1)
        return fds[0]

    def address(self, mtu, interface="eth0"):
        """What DHCP would do."""
        self.sh("sysctl -qw net.ipv6.conf.%(i)s.disable_ipv6=1; ip link set %(i)s address %(mac)s &&"
                " ip link set %(i)s mtu %(mtu)d up && ip addr add %(a)s/24 dev %(i)s &&"
                " ip route add default via %(g)s && sysctl -qw net.ipv4.ping_group_range='0 2147483647'"
                % {"i": interface, "mac": MAC, "mtu": mtu, "a": ADDRESS, "g": GATEWAY})

    def close(self):
        for process in reversed(self.processes):
            process.stop(2)
        self.processes.clear()


def run_with_fd(argv, fd):
    import subprocess
    done = subprocess.run(argv, capture_output=True, text=True, pass_fds=[fd], timeout=30)
    return done.returncode, done.stdout, done.stderr


class _Guest(Namespace):
    """Makes a VM, then its link. silent: sends no frame by itself."""

    link = None

    def __init__(self, daemon, name="guest", mtu=65520, address=True, silent=False, **body):
        super().__init__(name, daemon.directory)
        self.daemon = daemon
        self.vm = name
        self.mtu = mtu
        self.addr = ADDRESS
        self.gateway = GATEWAY
        self.tap = None
        body.setdefault("policy", "open")
        body.setdefault("host_access", True)
        self.body = dict(body, name=name, link={"kind": self.link, "mtu": mtu})
        daemon.ask("POST", "/v1/vms", self.body)
        self.connect_link()
        if address:
            self.address(mtu)
        wait_for(lambda: daemon.vm(name)["state"] == "running", 10, "VM %s runs" % name)
        if address and not silent:
            # DHCP would have been its first words.
            self.run(["ping", "-c", "1", "-W", "1", GATEWAY])

    def connect_link(self):
        raise NotImplementedError

    def hand_over(self, fd):
        attach = self.daemon.attach()
        answer = attach.ask({"op": "link", "vm": self.vm, "kind": "tap"}, [fd])
        assert answer["ok"], answer

    def forward(self, spec, *args):
        """netctl forward add; returns the host's port."""
        forward = self.daemon.netctl("forward", "add", self.vm, spec, *args)
        return forward["listen"]["port"]

    def close(self):
        super().close()
        if self.tap is not None:
            os.close(self.tap)
            self.tap = None


class TapGuest(_Guest):
    link = "attach"

    def connect_link(self):
        self.tap = self.make_tap("eth0")
        self.hand_over(self.tap)


class StreamGuest(_Guest):
    link = "stream"

    def __init__(self, daemon, name="guest", spoil=(), **options):
        self.spoil = [str(s) for s in spoil]
        super().__init__(daemon, name, **options)

    def connect_link(self):
        path = self.daemon.vm(self.vm)["link"]["path"]
        wait_for(lambda: os.path.exists(path), 5, path)
        self.relay = self.popen([tool("relay"), "tap:eth0", "connect:" + path, *self.spoil], "relay")
        wait_for(lambda: "ready" in self.relay.log(), 5, "relay")


class SpoiledGuest(_Guest):
    link = "attach"

    def __init__(self, daemon, name="guest", spoil=(), **options):
        self.spoil = [str(s) for s in spoil]
        self.middle = Namespace(name + "-mid", daemon.directory)
        super().__init__(daemon, name, **options)

    def connect_link(self):
        self.tap = self.middle.make_tap("link0")
        self.middle.sh("sysctl -qw net.ipv6.conf.link0.disable_ipv6=1; ip link set link0 mtu %d up"
                       % self.mtu)
        self.hand_over(self.tap)
        self.relay = self._start("relay", [tool("relay"), "taphdr:eth0@" + self.net,
                                           "packet:link0@" + self.middle.net, *self.spoil])
        wait_for(lambda: "ready" in self.relay.log(), 5, "relay")

    def close(self):
        super().close()
        self.middle.close()


assert sys.version_info >= (3, 9)
