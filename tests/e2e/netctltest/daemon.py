# SPDX-License-Identifier: MIT
"""A private netctld, with all that talks to it."""

import array
import http.client
import json
import os
import re
import shutil
import signal
import socket
import tempfile
import time
import uuid

from .process import Process, end_left, program, run, wait_for

BAD_LOG = re.compile(r"AddressSanitizer|runtime error:|LeakSanitizer|stack smashing|Assertion .* failed"
                     r"|ThreadSanitizer|buffer overflow detected|double free|bad system call", re.I)


class NetctlError(Exception):
    """netctl ended with another status than 0."""

    def __init__(self, argv, status, text):
        super().__init__("%s: status %d\n%s" % (" ".join(argv), status, text))
        self.status = status
        self.text = text


class UnixHTTPConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=30):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Response:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body) if self.body else None

    def __repr__(self):
        return "<%d %s>" % (self.status, self.body[:500])


class Attach:
    """A connection to attach.sock: a line with an fd there, a line back."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(path)
        self.reader = self.sock.makefile("r")

    def send(self, request, fds=()):
        data = (json.dumps(request) + "\n").encode()
        sent = self.sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                           array.array("i", fds))] if fds else [])
        self.sock.sendall(data[sent:])

    def ask(self, request, fds=()):
        self.send(request, fds)
        line = self.reader.readline()
        assert line, "attach.sock: closed without an answer to %r" % request
        return json.loads(line)

    def close(self):
        self.reader.close()
        self.sock.close()


class Daemon:
    """netctld in the foreground, in directories of its own."""

    def __init__(self, directory=None, args=(), env=None, prefix=(), bin_dir=None):
        # Short, since the paths of unix sockets are.
        self.directory = directory or tempfile.mkdtemp(prefix="nct.")
        self.owns_directory = directory is None
        self.runtime = os.path.join(self.directory, "run")
        self.state = os.path.join(self.directory, "state")
        self.socket = os.path.join(self.runtime, "api.sock")
        self.attach_socket = os.path.join(self.runtime, "attach.sock")
        self.args = list(args)
        self.prefix = list(prefix)
        self.bin_dir = bin_dir
        # By which its processes are known: the workers get no more of its environment than this.
        self.mark = "/netctl-test-" + uuid.uuid4().hex
        self.env = dict(os.environ, **(env or {}))
        self.env["PATH"] = self.env.get("PATH", os.defpath) + ":" + self.mark
        self.process = None
        self.starts = 0
        self.attached = []
        os.makedirs(self.directory, exist_ok=True)

    def program(self, name):
        return os.path.join(self.bin_dir, name) if self.bin_dir else program(name)

    # -- life ---------------------------------------------------------------------------------

    def start(self, timeout=10):
        self.starts += 1
        self.process = Process("netctld.%d" % self.starts, self.prefix + [
            self.program("netctld"), "--runtime-dir", self.runtime, "--state-dir", self.state,
            *self.args], self.directory, env=self.env)
        try:
            wait_for(self.answers, timeout, "netctld answers")
        except AssertionError:
            raise AssertionError("netctld did not come up\n" + self.process.log()) from None
        return self

    def answers(self):
        if not self.process.running():
            raise AssertionError("netctld ended with status %d\n%s" % (
                self.process.popen.returncode, self.process.log()))
        try:
            return self.api("GET", "/v1/health").status == 200
        except OSError:
            return False

    def kill(self):
        """kill -9 of netctld alone."""
        self.process.kill()

    def stop(self):
        """SIGTERM and its end, with all workers. Returns the exit status."""
        for attach in self.attached:
            attach.close()
        self.attached.clear()
        status = self.process.stop() if self.process else 0
        left = []
        end = time.monotonic() + 5
        while time.monotonic() < end:
            left = self.processes()
            if not left:
                break
            time.sleep(0.05)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.left_over = left
        return status

    def cleanup(self):
        end_left(self.directory)
        if self.owns_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def processes(self):
        """The pids of all that this daemon started and still runs, itself included."""
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                exe = os.readlink("/proc/%s/exe" % name)
                with open("/proc/%s/environ" % name, "rb") as f:
                    environ = f.read()
                with open("/proc/%s/stat" % name) as f:
                    state = f.read().rpartition(")")[2].split()[0]
            except OSError:
                continue
            ours = os.path.basename(exe).split(" ")[0] in ("netctld", "netdp")
            if ours and state != "Z" and self.mark.encode() in environ:
                found.append(int(name))
        return found

    def complaints(self):
        """What in the logs no test may leave there."""
        found = []
        for number in range(1, self.starts + 1):
            path = os.path.join(self.directory, "netctld.%d.log" % number)
            with open(path, errors="replace") as f:
                found += [line.rstrip() for line in f if BAD_LOG.search(line)]
        return found

    # -- talk ---------------------------------------------------------------------------------

    def api(self, method, path, body=None, headers=None, timeout=30):
        """One HTTP request. body: an object for JSON, or bytes as they are."""
        connection = UnixHTTPConnection(self.socket, timeout)
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Response(response.status, response.headers, response.read())
        except http.client.HTTPException as problem:
            raise ConnectionError("netctld: %s %s: %r" % (method, path, problem)) from problem
        finally:
            connection.close()

    def ask(self, method, path, body=None):
        """One HTTP request that must succeed. Returns the JSON of its answer."""
        response = self.api(method, path, body)
        assert response.status in (200, 201, 202, 204), "%s %s: %r" % (method, path, response)
        return response.json

    def netctl_argv(self, *args):
        return [self.program("netctl"), "-s", self.socket, *[str(a) for a in args]]

    def netctl(self, *args, timeout=20):
        """netctl with JSON output: its object, or text that is none. Raises NetctlError."""
        argv = self.netctl_argv("-o", "json", *args)
        status, out, err = run(argv, timeout, env=self.env)
        if status != 0:
            raise NetctlError(argv, status, err or out)
        try:
            return json.loads(out) if out.strip() else None
        except ValueError:
            return out

    def fails(self, *args):
        """netctl must fail: returns the one line that it says."""
        try:
            answer = self.netctl(*args)
        except NetctlError as error:
            return error.text.strip()
        raise AssertionError("netctl %s should have failed: %r" % (" ".join(map(str, args)), answer))

    def attach(self):
        attach = Attach(self.attach_socket)
        self.attached.append(attach)
        return attach

    def vm(self, name):
        return self.ask("GET", "/v1/vms/" + name)

    def worker_pid(self, name, timeout=5):
        def pid():
            worker = self.vm(name).get("worker")
            return worker and worker.get("pid")
        return wait_for(pid, timeout, "VM %s has a worker" % name)

    def counters(self, name):
        return self.ask("GET", "/v1/vms/%s/stats" % name)["counters"]
