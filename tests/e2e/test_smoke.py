# SPDX-License-Identifier: MIT
"""A guest gets an address, resolves a name, fetches from the host and serves through a forward."""

import os
import subprocess

import pytest

from netctltest.process import program, run, wait_for
from netctltest.servers import connect_refused, fetch
from netctltest.daemon import NetctlError


def test_daemon_answers(daemon):
    version = daemon.ask("GET", "/v1/version")
    assert version["version"].startswith("0.") and version["api"] == "v1"
    assert daemon.ask("GET", "/v1/health")["status"] == "ok"
    assert daemon.ask("GET", "/v1/vms") == {"items": []}
    assert daemon.stop() == 0


def test_tap_guest_fetches_from_host(tap_guest, web):
    text = tap_guest.sh("curl -sS --max-time 5 http://10.0.2.2:%d/" % web.port)
    assert text == "hello from the host\n"


def test_tap_guest_pings_gateway(tap_guest):
    assert "1 received" in tap_guest.sh("ping -c 1 -W 2 10.0.2.2")


# --- the virtual machine -------------------------------------------------------------------------

def test_vm_lease(vm):
    lease = vm.lease()
    assert lease["ip"] == "10.0.2.15"
    assert lease["router"] == "10.0.2.2"
    assert lease["dns"].split()[0] == "10.0.2.2"
    assert lease["mtu"] == "65520"
    assert "test.internal" in lease["search"] + lease["domain"]


def test_vm_lease_is_shown(vm):
    record = vm.daemon.netctl("vm", "show", "vm")
    assert record["state"] == "running"
    assert record["lease"]["addr"] == "10.0.2.15"
    assert record["link"]["connected"] is True


def test_vm_resolves(vm, dns_server):
    text = vm.sh("dig +short +time=3 +tries=2 page.example")
    assert text.strip() == "192.0.2.80"


def test_vm_resolves_over_tcp(vm, dns_server):
    text = vm.sh("dig +tcp +short +time=3 +tries=2 alias.example")
    assert text.split() == ["page.example.", "192.0.2.80"]


def test_vm_resolves_host_internal(vm):
    assert vm.sh("dig +short +time=3 +tries=2 host.internal").strip() == "10.0.2.2"


def test_vm_fetches_from_host(vm, web):
    assert vm.sh("curl -sS --max-time 10 http://host.internal:%d/" % web.port) == "hello from the host\n"


def test_vm_pings(vm):
    assert "0% packet loss" in vm.sh("ping -c 3 -W 2 10.0.2.2")


def test_vm_serves_through_forward(vm):
    vm.sh("mkdir -p /www && echo hello from the guest >/www/index.html && httpd -p 80 -h /www")
    forward = vm.daemon.netctl("forward", "add", "vm", "tcp:0:80")
    port = forward["listen"]["port"]
    assert forward["id"] == "tcp:127.0.0.1:%d" % port
    assert fetch("127.0.0.1", port) == (200, b"hello from the guest\n")
    vm.daemon.netctl("forward", "delete", "vm", forward["id"])
    assert connect_refused("127.0.0.1", port) < 1
    vm.sh("kill $(pidof httpd)")


# --- netctl run ----------------------------------------------------------------------------------

def netctl_run(daemon, *args, timeout=30):
    return run(daemon.netctl_argv("run", *args), timeout)


def test_run_has_an_address(daemon):
    status, out, err = netctl_run(daemon, "--", "ip", "-4", "addr", "show")
    assert status == 0, err
    assert "10.0.2.15/24" in out


def test_run_fetches_from_host(daemon, web):
    status, out, err = netctl_run(daemon, "--policy", "open", "--host-access", "--", "curl", "-sS",
                                  "--max-time", "5", "http://host.internal:%d/" % web.port)
    assert (status, out) == (0, "hello from the host\n"), err


def test_run_serves_through_forward(daemon, tmp_path):
    (tmp_path / "page").write_text("hello from the namespace\n")
    argv = daemon.netctl_argv("run", "--forward", "tcp:0:8000", "--", "/usr/bin/python3", "-m",
                              "http.server", "8000", "--directory", str(tmp_path))
    popen = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        def forwards():
            for record in daemon.ask("GET", "/v1/vms")["items"]:
                items = daemon.ask("GET", "/v1/vms/%s/forwards" % record["name"])["items"]
                if items:
                    return items
            return None
        port = wait_for(forwards, 10, "the forward of netctl run")[0]["listen"]["port"]

        def page():
            try:
                return fetch("127.0.0.1", port, "/page", 2)
            except OSError:
                return None
        assert wait_for(page, 10, "the page") == (200, b"hello from the namespace\n")
    finally:
        popen.terminate()
        popen.wait(10)
    assert popen.returncode == 128 + 15
    wait_for(lambda: daemon.ask("GET", "/v1/vms")["items"] == [], 5, "nothing is left")


@pytest.mark.parametrize("command, status", [
    (["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137),
    (["/no/such/program"], 127), (["/etc/passwd"], 126),
])
def test_run_exit_status(daemon, command, status):
    assert netctl_run(daemon, "--", *command)[0] == status


def test_run_without_daemon(tmp_path):
    """A private daemon is started, and ended."""
    env = {k: v for k, v in os.environ.items() if k not in ("NETCTL_SOCKET",)}
    env["XDG_RUNTIME_DIR"] = str(tmp_path)
    status, out, err = run([program("netctl"), "run", "--", "ip", "-4", "addr", "show"], 30, env=env)
    assert status == 0, err
    assert "10.0.2.15/24" in out


def test_unknown_vm_is_named(daemon):
    with pytest.raises(NetctlError) as failure:
        daemon.netctl("vm", "show", "nobody")
    assert failure.value.status > 0
    assert "nobody" in failure.value.text
    assert len(failure.value.text.strip().splitlines()) == 1
