# SPDX-License-Identifier: MIT
"""One guest with a vsock for each transport, with the same words for all.

    VhostGuest    a virtual machine: QEMU's vhost-user-vsock, Debian's kernel, xfer and socat inside
    StreamGuest   vsock.Guest at the end of a stream of packets, with programs of this host's
    HybridGuest   hybrid.VMM, likewise

A guest's program is an xfer (tests/tools/xfer.c) in all three, so that every byte is known.
"""

import base64
import gzip
import os
import socket

from . import hybrid, tsi, xfer
from .process import wait_for
from .vm import VhostVM

_count = 0


def number():
    global _count
    _count += 1
    return _count


class VsockGuest:
    """What the tests ask of each. name is the VM's and the transport's."""

    name = None
    # Whether the guest or VMM can tell a connection that was reset from one that ended.
    tells_reset = True

    def __init__(self, daemon, name=None):
        self.daemon = daemon
        self.vm = name or self.name
        self.programs = []

    def counters(self):
        return self.daemon.counters(self.vm)

    def forward(self, spec, *args):
        """netctl forward add; returns the host's port."""
        return self.daemon.netctl("forward", "add", self.vm, spec, *args)["listen"].get("port")

    def host_socket(self):
        """The VM's hybrid socket, for programs of the host."""
        return self.daemon.vm(self.vm)["vsock"]["socket"]

    def map_unix(self, port, path):
        self.daemon.netctl("vsock", "map", self.vm, port, "unix:" + path)

    def map_tcp(self, port, tcp_port, addr="127.0.0.1"):
        self.daemon.netctl("vsock", "map", self.vm, port, "tcp:%s:%d" % (addr, tcp_port))

    def unmap(self, port):
        self.daemon.netctl("vsock", "unmap", self.vm, port)

    # -- programs of the guest's ------------------------------------------------------------------

    def start(self, port, *options):
        """An xfer in the guest that connects to a port of the host's. results() has its end."""
        raise NotImplementedError

    def connect(self, port, *options, timeout=60):
        return self.start(port, *options).results(timeout)

    def listen(self, port, *options):
        """An xfer in the guest that listens."""
        raise NotImplementedError

    def read(self, port):
        """All that comes from a port of the host's."""
        raise NotImplementedError

    def refused(self, port):
        """Whether the host refuses."""
        raise NotImplementedError

    def close(self):
        for program in self.programs:
            program.stop()


class Program:
    """A program of this host's that plays one of a guest's."""

    def __init__(self, process):
        self.process = process

    def results(self, timeout=60):
        self.process.wait(timeout)
        found = xfer.parse(self.process.log())
        assert found, "xfer said nothing: " + self.process.log()
        return found

    def stop(self):
        self.process.stop(2)


class _Played(VsockGuest):
    """peer: has bridge_door() and listen(), which tie programs of this host's to the vsock."""

    peer = None

    def start(self, port, *options):
        door = self.peer.bridge_door(port)
        program = Program(xfer.start(self.daemon.directory, "127.0.0.1", door, *options))
        self.programs.append(program)
        return program

    def listen(self, port, *options):
        listener = xfer.Listener(self.daemon.directory, *options)
        self.peer.listen(port, ("127.0.0.1", listener.port))
        self.programs.append(listener)
        return listener

    def close(self):
        super().close()
        self.peer.close()


class StreamGuest(_Played):
    name = "stream"

    def __init__(self, daemon, name=None, cid=3, **body):
        super().__init__(daemon, name)
        self.cid = cid
        record = daemon.ask("POST", "/v1/vms", dict(body, name=self.vm, link={"kind": "none"},
                                                    vsock={"kind": "stream", "cid": cid}))
        self.path = record["vsock"]["path"]
        self.peer = tsi.Guest(self.path)
        assert self.peer.cid == cid

    def read(self, port):
        with self.peer.connect_to(port) as stream:
            return stream.recv_all()

    def refused(self, port):
        try:
            self.peer.connect_to(port).close()
        except ConnectionRefusedError:
            return True
        return False

    def close(self):
        super().close()
        assert not self.peer.violations, self.peer.violations[:5]


class HybridGuest(_Played):
    name = "hybrid"
    tells_reset = False

    def __init__(self, daemon, name=None, cid=3, **body):
        super().__init__(daemon, name)
        self.path = os.path.join(daemon.directory, self.vm + ".v.sock")
        self.cid = cid
        self.peer = hybrid.VMM(self.path)
        self.hand_over()
        wait_for(lambda: os.path.exists(self.path + "_1026"), 5, "somebody listens for env")

    def hand_over(self):
        """netctld gets the VMM's directory, which it keeps until its end."""
        self.daemon.netctl("vm", "create", self.vm, "--link", "none", "--vsock", "hybrid:" + self.path,
                           "--cid", self.cid)

    def read(self, port):
        with self.peer.connect_to(port) as sock, sock.makefile("rb") as reader:
            return reader.read()

    def refused(self, port):
        """Where the socket is gone, or whoever has it hangs up before a word."""
        try:
            with self.peer.connect_to(port) as sock:
                return sock.recv(1) == b""
        except (ConnectionRefusedError, ConnectionResetError):
            return True
        except socket.timeout:
            return False


# A guest's answer is 64 KiB at most.
PACK = "gzip -c | base64"


class VMProgram:
    """An xfer in the virtual machine."""

    def __init__(self, vm, script):
        self.job = vm.start(script)

    def results(self, timeout=60):
        _, text = self.job.wait(timeout)
        text = gzip.decompress(base64.b64decode(text)).decode()
        found = xfer.parse(text)
        assert found, "xfer said nothing: " + text
        return found

    def stop(self):
        pass


class VhostGuest(VsockGuest):
    name = "vhost"
    # Linux reads an end of file where RST ends an established connection.
    tells_reset = False

    def __init__(self, daemon, name=None, cid=3, **body):
        super().__init__(daemon, name)
        self.machine = VhostVM(daemon, self.vm, cid, **body)
        self.machine.boot()

    def start(self, port, *options):
        return VMProgram(self.machine, "xfer connect vsock %d %s 2>&1 | %s" % (
            port, " ".join(map(str, options)), PACK))

    def listen(self, port, *options):
        log = "/tmp/listen.%d" % number()
        program = VMProgram(self.machine, "xfer listen vsock %d %s >%s 2>&1; cat %s | %s" % (
            port, " ".join(map(str, options)), log, log, PACK))
        wait_for(lambda: self.machine.run("grep -q ^port " + log)[0] == 0, 10,
                 "xfer listens in the guest", 0.1)
        return program

    def read(self, port):
        return self.machine.sh("socat -u VSOCK-CONNECT:2:%d -" % port).encode()

    def refused(self, port):
        status, text = self.machine.run("socat -u VSOCK-CONNECT:2:%d -" % port)
        return status != 0 and "reset" in text.lower()

    def close(self):
        self.machine.close()


KINDS = {kind.name: kind for kind in (VhostGuest, StreamGuest, HybridGuest)}
