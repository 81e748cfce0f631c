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

NAME = "bench.example"
POLICIES = {
    "by address": {"default": "deny", "rules": [{"action": "allow", "to": [guests.Netctl.host]}]},
    "by name": {"default": "deny", "rules": [{"action": "allow", "to": [NAME]},
                                             {"action": "deny", "to": [guests.Netctl.host]}]},
}
# title, direction, what it is said as
STREAMS = (("TLS, guest→host", "send", "tls:"), ("TLS, host→guest", "receive", "tls:"),
           ("HTTP body, guest→host", "send", "http:"))


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


def load(guest, port, direction, said_as, seconds):
    """bits a second, and CPU seconds a GB of the worker."""
    before = guests.cpu_seconds(guest.workers)
    done = subprocess.run(
        [*guest.enter, *DIE_WITH_US, tool("bench_stream"), direction, guest.host, str(port),
         str(seconds), said_as + NAME], capture_output=True, text=True, timeout=seconds + 30)
    if done.returncode != 0:
        raise Failure("names: %s: %s" % (direction, done.stderr.strip()))
    counted = json.loads(done.stdout)
    cpu = guests.cpu_seconds(guest.workers) - before
    return {"value": counted["bytes"] * 8 / counted["seconds"], "cpu_per_gb": cpu / counted["bytes"] * 1e9}


def checked(daemon, name):
    counters = daemon.counters(name)
    return counters["verify.tls_hellos"] + counters["verify.http_requests"]


def rounds(options, guest, port):
    samples = {(title, how): [] for title, _, _ in STREAMS for how in POLICIES}
    daemon = guest.daemon
    vm = daemon.ask("GET", "/v1/vms")["items"][0]["name"]
    daemon.netctl("hosts", "set", vm, "%s=%s" % (NAME, guest.host))
    for _ in range(options.rounds):
        for title, direction, said_as in STREAMS:
            for how, policy in POLICIES.items():
                daemon.ask("PUT", "/v1/vms/%s/policy" % vm, policy)
                resolve(guest)
                before = checked(daemon, vm)
                samples[title, how].append(load(guest, port, direction, said_as, options.seconds))
                if checked(daemon, vm) - before != (how == "by name"):
                    raise Failure("names: %s, %s: not what was to be measured" % (title, how))
    return samples


def print_table(samples):
    print("| one stream | by address, Gb/s | by name, Gb/s | ratio | CPU s/GB, by address | by name |")
    print("|---|---:|---:|---:|---:|---:|")
    for title, _, _ in STREAMS:
        value, cpu = ([statistics.median(s[field] for s in samples[title, how]) for how in POLICIES]
                      for field in ("value", "cpu_per_gb"))
        # Of the same round: a machine's speed drifts.
        pairs = zip(samples[title, "by name"], samples[title, "by address"])
        ratio = statistics.median(n["value"] / a["value"] for n, a in pairs)
        print("| %s | %.2f | %.2f | %.3f | %.3f | %.3f |" % (
            title, value[0] / 1e9, value[1] / 1e9, ratio, cpu[0], cpu[1]))


def measure(options):
    if not os.access(tool("bench_stream"), os.X_OK):
        raise Failure("no %s: build it first" % tool("bench_stream"))
    server = subprocess.Popen([*DIE_WITH_US, tool("bench_stream"), "serve", "127.0.0.1", "0"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                              start_new_session=True)
    guest = guests.Netctl(None)
    try:
        guest.start()
        samples = rounds(options, guest, int(server.stdout.readline().split()[1]))
    finally:
        guest.stop()
        server.stdout.close()
        guests.end_process(server, 0)
    print_table(samples)
    if options.json:
        with open(options.json, "w") as f:
            json.dump({"names": [{"stream": t, "policy": h, "samples": s}
                                 for (t, h), s in samples.items()]}, f, indent=1)
