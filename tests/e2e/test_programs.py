# SPDX-License-Identifier: MIT
"""Programs that people use, through the data plane."""

import json
import os
import re
import shutil

import pytest

from netctltest.process import Process, SANITIZED, SLOW, run, wait_for

MBIT = 1e6


@pytest.fixture
def iperf(daemon):
    """iperf3 on the host's loopback."""
    from netctltest.servers import free_port
    port = free_port()
    server = Process("iperf3", ["iperf3", "-s", "-B", "127.0.0.1", "-p", str(port)], daemon.directory)
    wait_for(lambda: run(["ss", "-Hltn", "sport = :%d" % port])[1].strip(), 5, "iperf3")
    yield port
    server.stop()


def iperf_client(guest, port, *options):
    status, text = guest.run(["iperf3", "-c", guest.gateway, "-p", str(port), "-t", "2", "-J",
                              *options], 30)
    report = json.loads(text)
    assert status == 0 and "error" not in report, report.get("error", text)
    return report["end"]


@pytest.mark.parametrize("options", [[], ["-R"], ["-P", "8"], ["-R", "-P", "8"], ["--bidir"]],
                         ids=lambda o: " ".join(o) or "plain")
def test_iperf_tcp(guest, iperf, options):
    end = iperf_client(guest, iperf, *options)
    assert end["sum_received"]["bits_per_second"] > 50 * MBIT / SLOW


@pytest.mark.parametrize("options", [[], ["-R"]], ids=lambda o: " ".join(o) or "plain")
def test_iperf_udp(guest, iperf, options):
    end = iperf_client(guest, iperf, "-u", "-b", "20M", "-l", "1400", *options)
    assert end["sum"]["packets"] > 1000
    assert end["sum"]["lost_percent"] < 5


NGINX = """
daemon off; worker_processes 1; pid {dir}/nginx.pid; error_log {dir}/nginx.err;
events {{ worker_connections 2048; }}
http {{
  access_log off; keepalive_requests 1000000;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  server {{ listen 8080 backlog=1024; location / {{ return 200 "hello from nginx\\n"; }} }}
}}
"""


@pytest.mark.skipif(not shutil.which("wrk"), reason="no wrk")
def test_nginx_and_wrk(daemon, guest):
    config = os.path.join(daemon.directory, "nginx.conf")
    with open(config, "w") as f:
        f.write(NGINX.format(dir=daemon.directory))
    guest.popen(["nginx", "-c", config, "-e", os.path.join(daemon.directory, "nginx.err")])
    wait_for(lambda: guest.run("ss -Hltn sport = :8080")[1].strip(), 5, "nginx")
    port = guest.forward("tcp:0:8080")
    status, out, err = run(["wrk", "-t1", "-c50", "-d3s", "http://127.0.0.1:%d/" % port], 30)
    assert status == 0, err
    assert "Socket errors" not in out and "Non-2xx" not in out, out
    assert float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)) > 200


@pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/usr/sbin/sshd"), reason="no sshd")
def test_ssh(daemon, tap_guest):
    home = daemon.directory
    for name in ("host", "user"):
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(home, name)])
    os.makedirs("/run/sshd", exist_ok=True)
    tap_guest.popen(["/usr/sbin/sshd", "-D", "-e", "-p", "2222", "-f", "/dev/null", "-h", home + "/host",
                     "-o", "PidFile=none", "-o", "StrictModes=no", "-o", "PermitRootLogin=yes",
                     "-o", "UsePAM=no", "-o", "AuthorizedKeysFile=" + home + "/user.pub"])
    wait_for(lambda: tap_guest.run("ss -Hltn sport = :2222")[1].strip(), 5, "sshd")
    port = tap_guest.forward("tcp:0:2222")
    status, out, err = run(["ssh", "-F", "none", "-i", home + "/user", "-p", port, "-o", "BatchMode=yes",
                            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                            "root@127.0.0.1", "head -c 5000000 /dev/zero | sha256sum; echo done"], 30)
    assert status == 0, err
    assert out.endswith("done\n")


def test_socat_over_a_unix_forward(daemon, tap_guest):
    path = os.path.join(daemon.runtime, "vms", "guest", "page.sock")
    tap_guest.popen(["socat", "TCP4-LISTEN:7000,fork,reuseaddr", "EXEC:cat"])
    wait_for(lambda: tap_guest.run("ss -Hltn sport = :7000")[1].strip(), 5, "socat")
    daemon.netctl("forward", "add", "guest", "unix:%s:7000" % path)
    status, out, err = run(["socat", "-t", "5", "-", "UNIX-CONNECT:" + path], stdin="through a path\n")
    assert (status, out) == (0, "through a path\n"), err


def test_curl_many_files(guest, web):
    web.pages = {"/%d" % i: os.urandom(1 + i * 1000) for i in range(40)}
    import hashlib
    urls = " ".join("http://10.0.2.2:%d/%d" % (web.port, i) for i in range(40))
    text = guest.sh("curl -sS --max-time 20 %s | sha256sum" % urls)
    want = hashlib.sha256(b"".join(web.pages["/%d" % i] for i in range(40))).hexdigest()
    assert text.split()[0] == want


def test_curl_upload(guest, web):
    status, text = guest.run("head -c 20000000 /dev/zero | curl -sS --max-time 20 -T - -H 'Expect:' "
                             "-H 'Transfer-Encoding:' -H 'Content-Length: 20000000' "
                             "http://10.0.2.2:%d/up" % web.port)
    assert status == 0, text
    assert web.pages["/up"] == bytes(20000000)


# --- in the virtual machine ----------------------------------------------------------------------

@pytest.mark.parametrize("options", ["", "-R", "-P 4"])
def test_vm_iperf(vm, options, shared_daemon):
    from netctltest.servers import free_port
    port = free_port()
    server = Process("vm-iperf3", ["iperf3", "-s", "-B", "127.0.0.1", "-p", str(port)],
                     shared_daemon.directory)
    try:
        wait_for(lambda: run(["ss", "-Hltn", "sport = :%d" % port])[1].strip(), 5, "iperf3")
        text = vm.sh("iperf3 -c 10.0.2.2 -p %d -t 3 -J %s" % (port, options), 60)
        assert json.loads(text)["end"]["sum_received"]["bits_per_second"] > 10 * MBIT / SLOW
    finally:
        server.stop()


def test_vm_big_transfers(vm):
    """The virtual machine's own TCP, both ways, every byte checked."""
    from netctltest import xfer
    size = (8 if SANITIZED else 64) << 20
    listener = xfer.Listener(vm.daemon.directory, "--send", size, "--count", 1)
    out = vm.sh("xfer connect 10.0.2.2 %d --send %d --seed 3" % (listener.port, size), 120)
    xfer.both_same(xfer.parse(out), listener.results())


def test_vm_serves(vm):
    from netctltest import xfer
    job = vm.start("xfer listen 0.0.0.0 7001 --count 20 --send 300000")
    port = vm.forward("tcp:0:7001")
    wait_for(lambda: vm.run("nc -z 127.0.0.1 7002; netstat -ltn | grep -q :7001")[0] == 0, 10, "xfer", 0.3)
    here = xfer.connect(vm.daemon.directory, "127.0.0.1", port, "--count", 20, "--send", 200000,
                        "--random")
    status, text = job.wait(30)
    xfer.both_same(here, xfer.parse(text))
    assert status == 0
