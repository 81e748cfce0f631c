# SPDX-License-Identifier: MIT
"""A guest that is a virtual machine: QEMU without KVM, and the guest of tests/guest."""

import base64
import os
import queue
import socket
import threading
import time

from .process import BUILD, Process, ROOT, SLOW, run, wait_for

GUEST = os.environ.get("NETCTL_GUEST", os.path.join(ROOT, "build", "guest"))
ADDRESS = "10.0.2.15"


def build_guest():
    """Makes kernel and initramfs, if they are not there."""
    status, out, err = run([os.path.join(ROOT, "tests", "guest", "build")], timeout=300)
    assert status == 0, out + err


class Job:
    """A command that runs in the guest."""

    def __init__(self, vm, script):
        self.vm = vm
        self.script = script
        self.done = threading.Event()
        self.status = None
        self.output = None

    def wait(self, timeout=30):
        """Returns (status, output)."""
        if not self.done.wait(timeout * SLOW):
            raise AssertionError("guest %s: %r: no end after %g s" % (
                self.vm.name, self.script, timeout * SLOW))
        return self.status, self.output


class VM:
    """net: what follows -netdev, with the id n; None for a guest without a NIC.

    extra: further arguments for QEMU; prefix: the command that runs it.
    """

    def __init__(self, directory, net, name="vm", memory=512, device="", append="", cpus=1,
                 extra=(), prefix=()):
        build_guest()
        self.name = name
        self.directory = directory
        self.addr = ADDRESS
        self.jobs = {}
        self.next_job = 0
        self.ready = queue.Queue()
        path = os.path.join(directory, name + ".agent")
        if os.path.exists(path):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(30)
        network = ["-nic", "none"]
        if net:
            network = ["-netdev", net, "-device",
                       "virtio-net-pci,netdev=n,romfile=" + (device and "," + device)]
        self.began = time.monotonic()
        self.qemu = Process(name + ".qemu", [
            *prefix, "qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max",
            "-smp", str(cpus), "-m", str(memory), "-nodefaults", "-display", "none", "-no-reboot",
            "-serial", "file:" + os.path.join(directory, name + ".console.log"),
            "-chardev", "socket,id=agent,path=" + path, "-serial", "chardev:agent", *network, *extra,
            "-kernel", os.path.join(GUEST, "vmlinuz"),
            "-initrd", os.path.join(GUEST, "initramfs.img"),
            "-append", "console=ttyS0 quiet panic=-1 " + append], directory)
        try:
            self.agent, _ = listener.accept()
        except socket.timeout:
            raise AssertionError("QEMU did not start\n" + self.qemu.log()) from None
        finally:
            listener.close()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        with self.agent.makefile("r", errors="replace") as lines:
            for line in lines:
                words = line.rstrip("\n").split(" ")
                if words[0] == "READY":
                    self.ready.put(True)
                elif words[0] == "DONE" and int(words[1]) in self.jobs:
                    job = self.jobs.pop(int(words[1]))
                    job.status = int(words[2])
                    job.output = base64.b64decode(words[3]).decode(errors="replace")
                    job.done.set()

    def console(self):
        with open(os.path.join(self.directory, self.name + ".console.log"), errors="replace") as f:
            return f.read()

    def boot(self, timeout=60):
        """Waits until the guest takes commands. Returns self."""
        try:
            self.ready.get(timeout=timeout * SLOW)
        except queue.Empty:
            raise AssertionError("guest %s did not boot\n%s\n%s" % (
                self.name, self.qemu.log(), self.console())) from None
        self.boot_seconds = time.monotonic() - self.began
        return self

    def start(self, script):
        """Starts a shell script in the guest. Returns a Job."""
        job = Job(self, script)
        self.next_job += 1
        self.jobs[self.next_job] = job
        text = base64.b64encode(script.encode()).decode()
        self.agent.sendall(("RUN %d %s\n" % (self.next_job, text)).encode())
        return job

    def run(self, script, timeout=30):
        """Runs a shell script in the guest. Returns (status, stdout and stderr)."""
        return self.start(script).wait(timeout)

    def sh(self, script, timeout=30):
        """Runs a shell script that must succeed. Returns what it printed."""
        status, text = self.run(script, timeout)
        assert status == 0, "%s: %s: status %d\n%s" % (self.name, script, status, text)
        return text

    def lease(self, timeout=20):
        """What DHCP said, as a dictionary."""
        def get():
            status, text = self.run("cat /run/lease")
            return text if status == 0 else None
        text = wait_for(get, timeout, "a lease in guest " + self.name, 0.2)
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def close(self):
        self.qemu.stop(3)
        self.agent.close()


class StreamVM(VM):
    """A VM of netctld's whose NIC is the stream link."""

    def __init__(self, daemon, name="vm", mtu=65520, qemu=None, **body):
        self.daemon = daemon
        self.vm = name
        self.gateway = "10.0.2.2"
        body.setdefault("policy", "open")
        body.setdefault("host_access", True)
        record = daemon.ask("POST", "/v1/vms", dict(body, name=name,
                                                    link={"kind": "stream", "mtu": mtu}))
        self.path = record["link"]["path"]
        super().__init__(daemon.directory,
                         "stream,id=n,server=off,addr.type=unix,addr.path=" + self.path, name,
                         **(qemu or {}))

    def forward(self, spec, *args):
        """netctl forward add; returns the host's port."""
        return self.daemon.netctl("forward", "add", self.vm, spec, *args)["listen"]["port"]


class DgramVM(VM):
    """A VM of netctld's whose NIC is the dgram link."""

    def __init__(self, daemon, name="vm", mtu=1500, qemu=None, **body):
        self.daemon = daemon
        self.vm = name
        self.gateway = "10.0.2.2"
        body.setdefault("policy", "open")
        body.setdefault("host_access", True)
        record = daemon.ask("POST", "/v1/vms", dict(body, name=name,
                                                    link={"kind": "dgram", "mtu": mtu}))
        self.path = record["link"]["path"]
        local = os.path.join(daemon.directory, name + ".peer")
        super().__init__(daemon.directory,
                         "dgram,id=n,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s"
                         % (local, self.path), name, **(qemu or {}))

    forward = StreamVM.forward


class VhostVM(VM):
    """A VM of netctld's without a NIC, whose vsock is vhost-user's."""

    def __init__(self, daemon, name="vm", cid=3, qemu=None, **body):
        self.daemon = daemon
        self.vm = name
        record = daemon.ask("POST", "/v1/vms", dict(body, name=name, link={"kind": "none"},
                                                    vsock={"kind": "vhost", "cid": cid}))
        self.path = record["vsock"]["path"]
        # QEMU does not wait for a socket.
        wait_for(lambda: os.path.exists(self.path), 5, self.path)
        super().__init__(daemon.directory, None, name, extra=[
            "-object", "memory-backend-memfd,id=m,size=512M,share=on", "-machine", "memory-backend=m",
            "-chardev", "socket,id=v,path=" + self.path,
            "-device", "vhost-user-vsock-pci,chardev=v"], **(qemu or {}))

    def connections(self):
        """How many vsock connections the worker has."""
        return self.daemon.ask("GET", "/v1/vms/%s/stats" % self.name)["flows"]["vsock"]

    forward = StreamVM.forward


assert BUILD
