# SPDX-License-Identifier: MIT
"""`tests/bench/run --only policy`: what a policy costs by its number of rules."""

import json
import os
import subprocess

from guests import Failure
from netctltest.process import tool


def print_table(lines):
    print("| rules | load, ms | a flow that a rule admits, ns | that the default admits, ns |")
    print("|---:|---:|---:|---:|")
    for line in lines:
        print("| %d | %.1f | %.0f | %.0f |" % (
            line["rules"], line["load_ms"], line["flow_ns"], line["flow_none_ns"]))


def measure(options):
    program = tool("bench_policy")
    if not os.access(program, os.X_OK):
        raise Failure("no %s: build it first" % program)
    done = subprocess.run([program, str(options.rounds)], capture_output=True, text=True,
                          timeout=60 + 10 * options.rounds)
    if done.returncode != 0:
        raise Failure("bench_policy: %s" % done.stderr.strip())
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    print_table(lines)
    if options.json:
        with open(options.json, "w") as f:
            json.dump({"policy": lines}, f, indent=1)
