# SPDX-License-Identifier: MIT
"""The vsock guests of tests/bench: a virtual machine, and the back-end of its vsock device.

The machine is that of the end-to-end tests: QEMU without KVM, one processor, its memory shared with
the back-end, and the same kernel and initramfs for all. In it `bench_vsock serve` waits, of which
all is asked from the host through
    socket   the unix socket of the back-end that takes "CONNECT PORT"
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile

import guests
from guests import DIE_WITH_US, Failure, Guest
from netctltest import process as program
from netctltest.daemon import Daemon
from netctltest.vm import GUEST, VM

CID = 3
PORT = 5000
MEMORY = 512  # MiB
OPERATIONS = {"vsock-send": "send", "vsock-receive": "receive", "vsock-exchange": "exchange"}
PATIENCE = 120  # seconds for the idle connections to come, and to go


def raise_file_limit():
    """As many descriptors as may be had, for who is started from now on."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def resident(pids):
    """Bytes of memory that these processes have, but for the guest's own."""
    total = 0
    for pid in pids:
        guest_memory = False
        with open("/proc/%d/smaps" % pid) as f:
            for line in f:
                words = line.split()
                if not words[0].endswith(":"):
                    guest_memory = "memory-backend" in line
                elif words[0] == "Rss:" and not guest_memory:
                    total += int(words[1]) * 1024
    return total


class VsockGuest(Guest):
    suite = "vsock"
    directories = ("/tmp", os.path.realpath(GUEST))
    socket = None
    vm = None
    directory = None

    def qemu(self):
        """The root's QEMU, if there is one: all back-ends meet the same."""
        return self.peers and os.path.exists(os.path.join(self.peers, "usr/bin/qemu-system-x86_64"))

    def missing(self):
        why = super().missing()
        if not why and not self.qemu() and not shutil.which("qemu-system-x86_64"):
            why = "no qemu-system-x86_64 in the PATH"
        return why

    def start_backend(self):
        """Starts it; sets socket and workers. Returns the path to which QEMU connects."""
        raise NotImplementedError

    def start(self):
        # Where the root that --peers names has it too; and short, as the paths of sockets are.
        self.directory = tempfile.mkdtemp(prefix="ncv.", dir="/tmp")
        path = self.start_backend()
        guests.wait_for(lambda: os.path.exists(path), 10, "%s: its socket" % self.name)
        prefix = DIE_WITH_US
        if self.qemu():
            prefix = [*DIE_WITH_US, *self.staged([])]
        self.vm = VM(self.directory, None, memory=MEMORY, prefix=prefix, extra=[
            "-object", "memory-backend-memfd,id=memory,size=%dM,share=on" % MEMORY,
            "-machine", "memory-backend=memory",
            "-chardev", "socket,id=vsock,path=" + path,
            "-device", "vhost-user-vsock-pci,chardev=vsock"]).boot()
        self.vm.start("exec bench_vsock serve %d" % PORT)

    def stop(self):
        if self.vm:
            self.vm.close()
            self.vm = None
        super().stop()
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None

    def argv(self, operation, *args):
        return [*DIE_WITH_US, program.tool("bench_vsock"), operation, self.socket, str(PORT),
                *map(str, args)]

    def load_argv(self, metric, seconds, options, servers):
        operation = OPERATIONS[metric]
        more = [options.exchange_size] if operation == "exchange" else []
        return self.argv(operation, seconds, *more)

    def idle_bytes(self, count):
        """What the back-end keeps in memory for each of so many connections that do nothing."""
        before = resident(self.workers)
        holder = subprocess.Popen(self.argv("hold", count), stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            line = holder.stdout.readline()
            if not line:
                raise Failure("%s: %d connections: %s" % (
                    self.name, count, holder.stderr.read().strip()))
            return (resident(self.workers) - before) / json.loads(line)["held"]
        finally:
            holder.stdin.close()
            guests.end_process(holder, PATIENCE)


class VsockNetctl(VsockGuest):
    name = "netctl-vsock"
    title = "netctl"
    daemon = None

    def version(self):
        return program.run([program.program("netctl"), "--version"])[1].partition("\n")[0]

    def start_backend(self):
        self.daemon = Daemon(directory=os.path.join(self.directory, "d"), prefix=DIE_WITH_US)
        self.daemon.start()
        vm = self.daemon.ask("POST", "/v1/vms", {
            "name": "bench", "vsock": {"kind": "vhost", "cid": CID}})
        self.workers = [self.daemon.worker_pid("bench")]
        self.socket = vm["vsock"]["socket"]
        return vm["vsock"]["path"]

    def stop(self):
        if self.vm:
            self.vm.close()
            self.vm = None
        if self.daemon:
            self.daemon.stop()
            for pid in self.daemon.left_over:
                print("bench: netctld left process %d behind" % pid, file=sys.stderr)
            self.daemon = None
        super().stop()


class VhostDeviceVsock(VsockGuest):
    name = title = program = "vhost-device-vsock"

    def start_backend(self):
        path = os.path.join(self.directory, "vhost.sock")
        self.socket = os.path.join(self.directory, "vsock.sock")
        process = self.popen(self.staged([
            *DIE_WITH_US, self.program, "--vm", "guest-cid=%d,socket=%s,uds-path=%s" % (
                CID, path, self.socket)]))
        self.workers = [process.pid]
        return path


ALL = [VsockNetctl, VhostDeviceVsock]

