# SPDX-License-Identifier: MIT
"""`tests/bench/run --only names`: throughput with and without a look at the names that a guest says."""

import json
import os
import statistics
import subprocess
import sys

import guests
from guests import DIE_WITH_US, Failure
from netctltest.process import tool

NAME = "bench"  # which bench_http asks for
POLICIES = {
    "by address": {"default": "deny", "rules": [{"action": "allow", "to": [guests.Netctl.host]}]},
    "by name": {"default": "deny", "rules": [{"action": "allow", "to": [NAME]},
                                             {"action": "deny", "to": [guests.Netctl.host]}]},
}
# title, how it is counted, the load tool's argv: %(…)s
LOADS = (
    ("TLS, guest→host, Gb/s", "bytes", "bench_stream send %(stream)s tls:" + NAME),
    ("TLS, host→guest, Gb/s", "bytes", "bench_stream receive %(stream)s tls:" + NAME),
    ("HTTP body, guest→host, Gb/s", "bytes", "bench_stream send %(stream)s http:" + NAME),
    ("HTTP requests/s, 1 connection", "done", "bench_http load %(http)s 1 keep"),
    ("HTTP connections/s, 16 at a time", "done", "bench_http load %(http)s 16 close"),
)


# A name admits what the guest has resolved by it.
RESOLVE = r"""
import socket, sys
name, server = sys.argv[1:]
query = b"\0\1\1\0\0\1" + bytes(6) + b"".join(bytes([len(l)]) + l.encode() for l in name.split("."))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(3)
s.sendto(query + b"\0\0\1\0\1", (server, 53))
sys.exit(s.recv(999)[3] & 15)
"""


def resolve(guest):
    done = subprocess.run([*guest.enter, sys.executable, "-c", RESOLVE, NAME, guest.host],
                          capture_output=True, text=True, timeout=10)
    if done.returncode != 0:
        raise Failure("names: %s: not resolved: %s" % (NAME, done.stderr.strip()))


def load(guest, argv, seconds):
    """The value, and CPU seconds of the worker for each of what was counted."""
    before = guests.cpu_seconds(guest.workers)
    done = subprocess.run([*guest.enter, *DIE_WITH_US, tool(argv[0]), *argv[1:]], capture_output=True,
                          text=True, timeout=seconds + 30)
    if done.returncode != 0:
        raise Failure("names: %s" % done.stderr.strip())
    counted = json.loads(done.stdout)
    cpu = guests.cpu_seconds(guest.workers) - before
    if "bytes" in counted:
        counted["done"] = counted["bytes"] * 8 / 1e9
    return {"value": counted["done"] / counted["seconds"], "cpu": cpu / max(counted["done"], 1e-9)}


def checked(daemon, name):
    counters = daemon.counters(name)
    return counters["verify.tls_hellos"] + counters["verify.http_requests"]


def rounds(options, guest, places):
    samples = {(title, how): [] for title, _, _ in LOADS for how in POLICIES}
    daemon = guest.daemon
    vm = daemon.ask("GET", "/v1/vms")["items"][0]["name"]
    daemon.netctl("hosts", "set", vm, "%s=%s" % (NAME, guest.host))
    for _ in range(options.rounds):
        for title, _, command in LOADS:
            for how, policy in POLICIES.items():
                daemon.ask("PUT", "/v1/vms/%s/policy" % vm, policy)
                resolve(guest)
                before = checked(daemon, vm)
                samples[title, how].append(load(guest, (command % places).split(), options.seconds))
                if (checked(daemon, vm) > before) != (how == "by name"):
                    raise Failure("names: %s, %s: not what was to be measured" % (title, how))
    return samples


def print_table(samples):
    print("| | by address | by name | ratio | CPU µs each (or a Gb), by address | by name |")
    print("|---|---:|---:|---:|---:|---:|")
    for title, counted, _ in LOADS:
        value, cpu = ([statistics.median(s[field] for s in samples[title, how]) for how in POLICIES]
                      for field in ("value", "cpu"))
        # Of the same round: a machine's speed drifts.
        pairs = zip(samples[title, "by name"], samples[title, "by address"])
        ratio = statistics.median(n["value"] / a["value"] for n, a in pairs)
        form = "{:.2f}" if counted == "bytes" else "{:,.0f}"
        print("| %s | %s | %s | %.3f | %.1f | %.1f |" % (
            title, form.format(value[0]), form.format(value[1]), ratio, cpu[0] * 1e6, cpu[1] * 1e6))


def serve(name):
    """A server on the host's loopback, and its port."""
    process = subprocess.Popen([*DIE_WITH_US, tool(name), "serve", "127.0.0.1", "0"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                               start_new_session=True)
    return process, process.stdout.readline().split()[1]


def measure(options):
    for name in ("bench_stream", "bench_http"):
        if not os.access(tool(name), os.X_OK):
            raise Failure("no %s: build it first" % tool(name))
    servers = [serve("bench_stream"), serve("bench_http")]
    guest = guests.Netctl(None)
    try:
        guest.start()
        places = {what: "%s %s %g" % (guest.host, port, options.seconds)
                  for what, (_, port) in zip(("stream", "http"), servers)}
        samples = rounds(options, guest, places)
    finally:
        guest.stop()
        for server, _ in servers:
            server.stdout.close()
            guests.end_process(server, 0)
    print_table(samples)
    if options.json:
        with open(options.json, "w") as f:
            json.dump({"names": [{"load": t, "policy": h, "samples": s}
                                 for (t, h), s in samples.items()]}, f, indent=1)
