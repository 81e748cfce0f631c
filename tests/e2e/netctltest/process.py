# SPDX-License-Identifier: MIT
"""Programs beside a test: every one has a log, every wait has a deadline, each is ended by pid."""

import os
import signal
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.path.abspath(os.environ.get("NETCTL_BUILD", os.path.join(ROOT, "build", "release")))
SANITIZED = "asan" in os.path.basename(BUILD)
# How much slower all may be under the sanitizers.
SLOW = 3 if SANITIZED else 1

_logs = []
_started = []


def program(name):
    """The path of one of our programs."""
    return os.path.join(BUILD, "bin", name)


def tool(name):
    """The path of one of the tests' helper programs."""
    return os.path.join(BUILD, "tools", name)


def wait_for(condition, timeout=10, what="a condition", interval=0.02):
    """Waits until condition() is true and returns what it returned."""
    end = time.monotonic() + timeout * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("%s: not within %g s" % (what, timeout * SLOW))
        time.sleep(interval)


def quickest(action, times=5):
    """The least seconds of some attempts: a busy machine lengthens a few of them, a defect all."""
    took = []
    for _ in range(times):
        began = time.monotonic()
        action()
        took.append(time.monotonic() - began)
    return min(took)


class Process:
    """A program in the background whose output goes to a log file."""

    def __init__(self, name, argv, directory, env=None, pass_fds=(), cwd=None):
        self.name = name
        self.log_path = os.path.join(directory, name.replace("/", "_") + ".log")
        self.argv = [str(a) for a in argv]
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=log, env=env, pass_fds=pass_fds, cwd=cwd,
                                          start_new_session=True)
        self.pid = self.popen.pid
        _logs.append((name, self.log_path))
        _started.append(self)

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def running(self):
        return self.popen.poll() is None

    def wait(self, timeout=10):
        """Waits for the end and returns the exit status (negative: the signal's number)."""
        try:
            return self.popen.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError("%s: still running after %g s\n%s" % (
                self.name, timeout * SLOW, self.log())) from None

    def signal(self, number):
        if self.running():
            os.kill(self.pid, number)

    def stop(self, timeout=5):
        """SIGTERM, and SIGKILL if that does not do. Returns the exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self.popen.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            return self.popen.wait(timeout)

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.popen.wait(10)


def run(argv, timeout=30, env=None, stdin=None, cwd=None):
    """Runs a program to its end. Returns (status, stdout, stderr)."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, env=env, cwd=cwd,
                          input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
                          timeout=timeout * SLOW, errors="replace")
    return done.returncode, done.stdout, done.stderr


def end_left(directory):
    """Ends what a test that failed has left running with its logs in the directory."""
    for process in _started:
        if os.path.dirname(process.log_path) == directory and process.running():
            process.kill()
    _started[:] = [process for process in _started if process.running()]


def forget_logs():
    _logs.clear()


def logs(limit=8000):
    """The ends of the logs of all programs that this test started."""
    parts = []
    for name, path in _logs:
        try:
            with open(path, errors="replace") as f:
                text = f.read()
        except OSError:
            continue
        if text.strip():
            parts.append("---- %s (%s)\n%s" % (name, path, text[-limit:]))
    return "\n".join(parts)
