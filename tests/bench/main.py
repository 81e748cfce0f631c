# SPDX-License-Identifier: MIT
"""The work of tests/bench/run: run that, not this. Its head says what is measured, and how."""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import guests
import names
import policy
import vsock
from guests import DIE_WITH_US, Failure
from netctltest.process import tool

# Of each suite the guests, ours and whom it is compared with, and what is measured.
GUESTS = guests.ALL + vsock.ALL
COMPARED = {"namespace": ("netctl", "pasta"), "vsock": ("netctl-vsock", "vhost-device-vsock")}
METRICS = {
    "namespace": ("send", "receive", "udp-send", "udp-receive", "connections", "requests", "dns",
                  "dns-again"),
    "vsock": ("vsock-send", "vsock-receive", "vsock-exchange", "vsock-idle"),
}
ALL_METRICS = sum(METRICS.values(), ())
PROBE = {"namespace": "requests", "vsock": "vsock-exchange"}
EACH = ("connections", "requests", "dns", "dns-again", "vsock-exchange")  # are counted, not bytes
ALIASES = {"us": ["netctl"], "slirp": ["slirp4netns"], "none": ["loopback"],
           "vsock": [g.name for g in vsock.ALL]}
ENOUGH = 25  # seconds beyond what a measurement was to take


def say(text):
    print("bench: " + text, file=sys.stderr, flush=True)


# -- what is measured -------------------------------------------------------------------------


class Server:
    """One of the servers on the host's loopback."""

    def __init__(self, name):
        self.process = subprocess.Popen(
            [*DIE_WITH_US, tool(name), "serve", "127.0.0.1", "0"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.port = int(self.process.stdout.readline().split()[1])

    def stop(self):
        self.process.stdout.close()
        guests.end_process(self.process, 0)


class Bench:
    def __init__(self, options):
        self.options = options
        self.servers = {}

    def __enter__(self):
        for name in ("bench_http", "bench_stream", "bench_dns", "bench_vsock"):
            if not os.access(tool(name), os.X_OK):
                raise Failure("no %s: build it first" % tool(name))
            if name != "bench_vsock":  # its server is in the guest
                self.servers[name] = Server(name)
        return self

    def __exit__(self, *_):
        for server in self.servers.values():
            server.stop()

    def load(self, guest, metric, seconds):
        """Runs the load tool in a guest and returns what it counted."""
        argv = guest.load_argv(metric, seconds, self.options, self.servers)
        try:
            done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                                  timeout=seconds + ENOUGH)
        except subprocess.TimeoutExpired:
            raise Failure("%s: %s: no end" % (guest.name, metric)) from None
        if done.returncode != 0:
            raise Failure("%s: %s: %s" % (guest.name, metric, done.stderr.strip()
                                          or "status %d" % done.returncode))
        return json.loads(done.stdout)

    def wait_ready(self, guest):
        def ready():
            try:
                return self.load(guest, PROBE[guest.suite], 0.05)["done"] > 0
            except Failure:
                return False
        guests.wait_for(ready, 15, "%s: its first request" % guest.name)

    def measure(self, guest, metric):
        """One sample: {"value", "busy", and what else there is to say}."""
        if metric == "vsock-idle":
            return {"value": guest.idle_bytes(self.options.idle)}
        before = guests.cpu_seconds(guest.workers)
        began = time.monotonic()
        counted = self.load(guest, metric, self.options.seconds)
        took = time.monotonic() - began
        cpu = guests.cpu_seconds(guest.workers) - before
        sample = {"cpu": cpu, "busy": cpu / took, "counted": counted}
        if metric in EACH:
            sample["value"] = counted["done"] / counted["seconds"]
            sample["cpu_each"] = cpu / max(counted["done"], 1)
            if counted.get("failed"):
                say("%s: %s: %d failed" % (guest.name, metric, counted["failed"]))
        elif metric.startswith("udp"):
            seconds = max(counted["seconds"], self.options.seconds)
            sample["value"] = counted["bytes"] * 8 / seconds
            sample["offered"] = counted["sent"] * self.options.udp_size * 8 / seconds
            sample["lost"] = 1 - counted["received"] / max(counted["sent"], 1)
        else:
            sample["value"] = counted["bytes"] * 8 / max(counted["seconds"], 1e-9)
            sample["cpu_per_gb"] = cpu / max(counted["bytes"] / 1e9, 1e-9)
        return sample

    def metrics_of(self, guest, first=True):
        """Memory does not drift as speed does: it is measured in the first round only."""
        return [m for m in self.options.metrics
                if m in METRICS[guest.suite] and m not in guest.skips and
                (first or m != "vsock-idle")]

    def round(self, guest, samples, first):
        """All metrics of one guest, which lives no longer. Returns whether all went well."""
        well = True
        try:
            guest.start()
            guest.prepare(self.servers)
            self.wait_ready(guest)
            for metric in self.metrics_of(guest, first):
                try:
                    samples[metric].append(self.measure(guest, metric))
                except Failure as failure:
                    say(str(failure))
                    well = False
        except (Failure, AssertionError, OSError) as failure:
            say("%s: %s" % (guest.name, failure))
            well = False
        finally:
            guest.stop()
        return well


# -- what is told -----------------------------------------------------------------------------


def median(samples, field):
    values = [s[field] for s in samples if field in s]
    return statistics.median(values) if values else None


def gbps(value):
    return "%.2f" % (value / 1e9)


def rate(value):
    return "{:,.0f}".format(value)


def seconds(value):
    return "%.3f" % value


def cell(samples, field, form, spread):
    """What stands in the table for these samples."""
    values = sorted(s[field] for s in samples)
    if not values:
        return "failed"
    text = form(statistics.median(values))
    if spread:
        text += " [%s–%s]" % (form(values[0]), form(values[-1]))
    if "lost" in samples[0]:
        text += " (%.1f %%)" % (max(median(samples, "lost"), 0) * 100)
    return text


def micro(value):
    return "%.1f" % (value * 1e6)


def rows(suite, options):
    """(title, metric, the field of its samples, how to write it)"""
    if suite == "vsock":
        return [
            ("guest→host, Gb/s", "vsock-send", "value", gbps),
            ("host→guest, Gb/s", "vsock-receive", "value", gbps),
            ("round trips/s, %d B" % options.exchange_size, "vsock-exchange", "value", rate),
            ("CPU s/GB, guest→host", "vsock-send", "cpu_per_gb", seconds),
            ("CPU s/GB, host→guest", "vsock-receive", "cpu_per_gb", seconds),
            ("CPU µs a round trip", "vsock-exchange", "cpu_each", micro),
            ("memory, B a connection, {:,} idle".format(options.idle), "vsock-idle", "value",
             rate),
        ]
    offered = "%g Gb/s by %d B" % (options.udp_rate / 1e9, options.udp_size)
    return [
        ("TCP guest→host, Gb/s", "send", "value", gbps),
        ("TCP host→guest, Gb/s", "receive", "value", gbps),
        ("UDP guest→host, Gb/s (lost), of %s" % offered, "udp-send", "value", gbps),
        ("UDP host→guest, Gb/s (lost), of %s" % offered, "udp-receive", "value", gbps),
        ("connections/s, %d at a time" % options.concurrent, "connections", "value", rate),
        ("requests/s, 1 connection", "requests", "value", rate),
        ("DNS answers/s, every name new, %d at a time" % options.concurrent, "dns", "value", rate),
        ("DNS answers/s, %d names again" % guests.SAME_NAMES, "dns-again", "value", rate),
        ("CPU s/GB, guest→host", "send", "cpu_per_gb", seconds),
        ("CPU s/GB, host→guest", "receive", "cpu_per_gb", seconds),
        ("CPU µs an answer, every name new", "dns", "cpu_each", micro),
    ]


def print_table(head, lines):
    print("| " + " | ".join(head) + " |")
    print("|---|" + "---:|" * (len(head) - 1))
    for line in lines:
        print("| " + " | ".join(line) + " |")


def print_results(suite, found, options, samples):
    ours, theirs = COMPARED[suite]
    compared = {ours, theirs} <= {g.name for g in found}
    head = {"namespace": "namespace guest, MTU " + guests.MTU, "vsock": "vsock of a VM"}
    lines = []
    for title, metric, field, form in rows(suite, options):
        if metric not in options.metrics:
            continue
        line = [title]
        for guest in found:
            line.append("–" if metric in guest.skips or
                        field.startswith("cpu_") and guest.name == "loopback"
                        else cell(samples[guest.name][metric], field, form, options.spread))
        if compared:
            a, b = (median(samples[n][metric], field) for n in (ours, theirs))
            line.append("%.2f×" % (a / b) if a is not None and b else "")
        lines.append(line)
    print_table([head[suite], *(g.title for g in found)] +
                ["netctl ÷ " + theirs] * compared, lines)


def print_load(found, options, samples):
    measured = [g for g in found if g.name != "loopback"]
    print("\nHow much of one CPU the data plane's process took:\n")
    lines = []
    for metric in options.metrics:
        busy = [median(samples[g.name].get(metric, []), "busy") for g in measured]
        if any(b is not None for b in busy):
            lines.append([metric, *("–" if b is None else "%.0f %%" % (b * 100) for b in busy)])
    print_table(["", *(g.name for g in measured)], lines)


def machine():
    model = "unknown CPU"
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {"cpu": model, "cpus": len(os.sched_getaffinity(0)), "kernel": platform.release(),
            "arch": platform.machine()}


def idle_share(seconds=0.5):
    def read():
        with open("/proc/stat") as f:
            fields = [int(x) for x in f.readline().split()[1:9]]
        return fields[3] + fields[4], sum(fields)
    idle, total = read()
    time.sleep(seconds)
    idle_now, total_now = read()
    return (idle_now - idle) / max(total_now - total, 1)


# -- perf -------------------------------------------------------------------------------------


def perf_record(pids, seconds, data):
    """Starts perf; None if there is none that works here."""
    for event in ("cycles", "cpu-clock"):
        try:
            process = subprocess.Popen(
                ["perf", "record", "-q", "-e", event, "-F", "1999", "-o", data, "-p",
                 ",".join(map(str, pids)), "--", "sleep", str(seconds)], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except FileNotFoundError:
            raise Failure("perf is not in the PATH (Debian: linux-perf)") from None
        time.sleep(0.3)
        if process.poll() is None:
            return process
    raise Failure("perf record does not work here: see /proc/sys/kernel/perf_event_paranoid")


def profile(bench, guest, metric):
    seconds = bench.options.seconds
    with tempfile.TemporaryDirectory(prefix="bench.") as directory:
        data = os.path.join(directory, "perf.data")
        perf = None
        try:
            guest.start()
            guest.prepare(bench.servers)
            bench.wait_ready(guest)
            perf = perf_record(guest.workers, seconds, data)
            sample = bench.measure(guest, metric)
            perf.wait(seconds + 10)
        finally:
            if perf:
                guests.end_process(perf, 2)
            guest.stop()
        # The peers' libraries are not the host's.
        root = []
        if guest.program and guest.peers:
            root = ["--symfs", guest.peers, "--kallsyms", "/proc/kallsyms"]
        report = subprocess.run(
            ["perf", "report", "-i", data, "--stdio", "--no-children", "-F",
             "overhead,dso,symbol", "--percent-limit", "0.7", *root], capture_output=True,
            text=True, timeout=120, stdin=subprocess.DEVNULL)
    figure = (rate(sample["value"]) + " a second" if metric in EACH
              else gbps(sample["value"]) + " Gb/s")
    print("%s through %s: %s, its process busy for %.0f %%\n" % (
        metric, guest.name, figure, sample["busy"] * 100))
    for line in report.stdout.splitlines():
        if line.strip() and not line.startswith("#"):
            print(line.rstrip())
    if report.returncode != 0:
        raise Failure("perf report: " + report.stderr.strip())


# -- main -------------------------------------------------------------------------------------


def some_of(known):
    def parse(text):
        words = [word for word in text.split(",") if word]
        chosen = [name for word in words for name in ALIASES.get(word, [word])]
        for word in chosen:
            if word not in known:
                raise argparse.ArgumentTypeError("%s: not one of %s" % (word, ", ".join(known)))
        return [k for k in known if k in chosen]
    return parse


def bits(text):
    scale = {"K": 1e3, "M": 1e6, "G": 1e9}.get(text[-1:].upper())
    value = float(text[:-1]) * scale if scale else float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("more than 0")
    return value


def parse_options():
    known = [g.name for g in GUESTS]
    parser = argparse.ArgumentParser(prog="tests/bench/run", add_help=False)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--only", type=some_of([*known, "policy", "names"]), default=known)
    parser.add_argument("--metrics", type=some_of(ALL_METRICS), default=list(ALL_METRICS))
    parser.add_argument("--peers")
    parser.add_argument("--udp-rate", type=bits, default=1e9)
    parser.add_argument("--udp-size", type=int, default=1400)
    parser.add_argument("--concurrent", type=int, default=16)
    parser.add_argument("--exchange-size", type=int, default=64)
    parser.add_argument("--idle", type=int, default=10000)
    parser.add_argument("--spread", action="store_true")
    parser.add_argument("--load", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--profile", choices=[m for m in ALL_METRICS if m != "vsock-idle"])
    options = parser.parse_args()
    if options.profile:
        options.metrics = [options.profile]
    if options.peers and not guests.ROOT:
        parser.error("--peers wants root, for pivot_root")
    if options.peers and not os.path.isdir(options.peers):
        parser.error("--peers: %s is not a directory" % options.peers)
    return options


def present(options):
    """The guests that can be measured here."""
    found = []
    for kind in GUESTS:
        if kind.name not in options.only or not set(METRICS[kind.suite]) & set(options.metrics):
            continue
        guest = kind(options.peers)
        why = guest.missing()
        if why:
            say("%s is left out: %s" % (guest.name, why))
        else:
            found.append(guest)
    if not found:
        raise Failure("nothing to measure")
    return found


def compare(bench, found):
    options = bench.options
    idle = idle_share()
    if idle < 0.9:
        say("this machine is not idle (%.0f %% of it is): the figures will be low" % (idle * 100))
    versions = {g.name: g.version() for g in found}
    samples = {g.name: {m: [] for m in options.metrics} for g in found}
    well = True
    for number in range(options.rounds):
        for guest in found:
            say("round %d of %d: %s" % (number + 1, options.rounds, guest.name))
            well = bench.round(guest, samples[guest.name], number == 0) and well
    here = machine()
    print("%s, %d CPUs, Linux %s %s; %s; medians of %d rounds of %g s.\n" % (
        here["cpu"], here["cpus"], here["kernel"], here["arch"],
        "; ".join(v for v in versions.values() if v), options.rounds, options.seconds))
    suites = [s for s in METRICS if any(g.suite == s for g in found)]
    for suite in suites:
        print_results(suite, [g for g in found if g.suite == suite], options, samples)
        if suite != suites[-1]:
            print()
    if options.load:
        print_load(found, options, samples)
    if options.json:
        with open(options.json, "w") as f:
            json.dump({"machine": here, "versions": versions, "options": vars(options),
                       "idle_at_start": idle, "samples": samples}, f, indent=1)
    return well


def interrupted(number, _):
    raise SystemExit(128 + number)


def main():
    options = parse_options()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    try:
        if "policy" in options.only:
            policy.measure(options)
            return 0
        if "names" in options.only:
            names.measure(options)
            return 0
        found = present(options)
        vsock.raise_file_limit()
        with Bench(options) as bench:
            if not options.profile:
                return 0 if compare(bench, found) else 1
            planes = [g for g in found if g.name != "loopback"]
            profile(bench, planes[0] if planes else found[0], options.profile)
    except (Failure, AssertionError) as failure:
        say(str(failure))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
