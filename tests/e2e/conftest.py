# SPDX-License-Identifier: MIT
"""Fixtures of the end-to-end tests. What they give is described in netctltest/__init__.py."""

import os
import shutil
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from netctltest import process  # noqa: E402
from netctltest.daemon import Daemon  # noqa: E402
from netctltest.namespace import SpoiledGuest, StreamGuest, TapGuest  # noqa: E402
from netctltest.servers import DnsServer, UdpEcho, WebServer, loopback  # noqa: E402
from netctltest.vm import StreamVM  # noqa: E402

NAMES = {
    ("page.example", 1): ["192.0.2.80"],
    ("alias.example", 5): ["page.example"],
    ("big.example", 16): ["x" * 255 for _ in range(8)],
    ("v6.example", 28): ["2001:db8::80"],
}

# The fewest bytes first: what is broken shows early.
ORDER = ["test_smoke", "test_bad_input", "test_openapi", "test_api_bounds", "test_gvproxy", "test_apply",
         "test_run", "test_dns", "test_names_dns", "test_names_wire", "test_proxy", "test_udp", "test_dgram",
         "test_vsock_hostile", "test_tsi", "test_secrets", "test_snapshots", "test_sandbox", "test_events",
         "test_metrics", "test_capture",
         "test_crash", "test_vsock", "test_integrity", "test_programs", "test_scale"]


def pytest_configure(config):
    config.addinivalue_line("markers", "big: moves much data; small with the sanitizers")


def pytest_collection_modifyitems(items):
    def place(item):
        name = item.module.__name__
        return ORDER.index(name) if name in ORDER else len(ORDER)
    items.sort(key=place)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        text = process.logs()
        if text:
            report.sections.append(("logs of the programs", text))


@pytest.fixture(scope="session", autouse=True)
def programs():
    """The programs must be there."""
    for name in ("netctl", "netctld", "netdp"):
        if not os.path.exists(process.program(name)):
            pytest.exit("no %s: run tests/run e2e, or set NETCTL_BUILD" % process.program(name), 2)
    for name in ("nsenter", "unshare", "ip"):
        if not shutil.which(name):
            pytest.exit("no %s: packaging/deps test" % name, 2)


def finish(daemon):
    """Ends a daemon and says what it may not have left or logged."""
    daemon.stop()
    complaints = daemon.complaints()
    left = daemon.left_over
    assert not complaints, "in netctld's log: " + "\n".join(complaints[:20])
    assert not left, "still there after the end of netctld: pids %r" % left


@pytest.fixture
def daemon():
    """A netctld that runs."""
    it = Daemon()
    try:
        it.start()
        yield it
        finish(it)
    finally:
        it.stop()
        process.forget_logs()
        it.cleanup()


@pytest.fixture(scope="module")
def shared_daemon():
    """A netctld for all tests of a module, that must leave nothing behind in it."""
    it = Daemon()
    try:
        it.start()
        yield it
        finish(it)
    finally:
        it.stop()
        process.forget_logs()
        it.cleanup()


class Guests(list):
    def add(self, guest):
        self.append(guest)
        return guest

    def close(self):
        for guest in reversed(self):
            guest.close()


@pytest.fixture
def guests(daemon):
    """guests.add(TapGuest(daemon, …)): guests that end with the test."""
    it = Guests()
    yield it
    it.close()


@pytest.fixture(params=["tap", "stream"])
def guest(request, daemon):
    """A namespace guest, once on a tap and once on a stream link."""
    it = (TapGuest if request.param == "tap" else StreamGuest)(daemon)
    yield it
    it.close()


@pytest.fixture
def tap_guest(daemon):
    it = TapGuest(daemon)
    yield it
    it.close()


@pytest.fixture(params=["tap", "stream"])
def spoiled_guest(request, daemon):
    """A guest whose link loses 1 % of the frames, doubles 1 % and reorders 1 %."""
    spoil = ["--drop", 10, "--dup", 10, "--reorder", 10, "--seed", 7]
    # Ordinary frames, so that one in a hundred is many.
    it = (SpoiledGuest if request.param == "tap" else StreamGuest)(daemon, spoil=spoil, mtu=1500)
    yield it
    it.close()


@pytest.fixture(scope="module")
def dns_server():
    """A DNS server of a few names: NAMES. An upstream that VMs can be given."""
    server = DnsServer(NAMES, addr=loopback(0), port=53 if os.geteuid() == 0 else 0,
                       failing=["broken.example"])
    yield server
    server.close()


@pytest.fixture(scope="module")
def vm(shared_daemon, dns_server):
    """A virtual machine on a stream link, for all tests of a module."""
    it = StreamVM(shared_daemon, dns={"upstreams": [dns_server.addr], "search": ["test.internal"]})
    try:
        it.boot()
        yield it
    finally:
        it.close()


@pytest.fixture
def web():
    server = WebServer()
    yield server
    server.close()


@pytest.fixture
def udp_echo():
    server = UdpEcho()
    yield server
    server.close()
