# SPDX-License-Identifier: MIT
"""Wrong input: a clear error that names the object, and nothing half-done."""

import os
import random
import socket
import tempfile
import time

import pytest

from netctltest.daemon import NetctlError
from netctltest.namespace import StreamGuest, TapGuest
from netctltest.process import wait_for

PROBLEM = "application/problem+json"


def problem(response, status, *words):
    """The answer is a problem document with that status that says these words."""
    assert response.status == status, response
    assert response.headers["Content-Type"].split(";")[0] == PROBLEM
    document = response.json
    assert document["status"] == status and document["title"]
    for word in words:
        assert word in str(document), (word, document)
    return document


def new(daemon, name="vm", **body):
    body.setdefault("link", {"kind": "none"})
    return daemon.api("POST", "/v1/vms", dict(body, name=name))


# --- the API -------------------------------------------------------------------------------------

@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"{}x", b"\xff\xfe", b'{"name":1}'])
def test_body_is_not_a_vm(daemon, body):
    problem(daemon.api("POST", "/v1/vms", body, {"Content-Type": "application/json"}), 400)
    assert daemon.ask("GET", "/v1/vms") == {"items": []}


def test_unknown_field_is_named(daemon):
    document = problem(new(daemon, colour="green"), 400, "colour")
    assert document["field"] == "colour"
    assert problem(new(daemon, net={"gate": 1}), 400)["field"] == "net.gate"


@pytest.mark.parametrize("name", ["", "UPPER", "-x", "a/b", "..", "x" * 64, "a b", "ä"])
def test_name(daemon, name):
    assert problem(new(daemon, name), 400)["field"] == "name"


@pytest.mark.parametrize("subnet", ["10.0.0.0/31", "10.0.0.1/32", "10.0.0.0", "10.0.0.0/33", "x/24",
                                    "fd00::/64", "0.0.0.0/0"])
def test_subnet(daemon, subnet):
    assert problem(new(daemon, net={"subnet": subnet}), 400)["field"] == "net.subnet"


@pytest.mark.parametrize("mtu", [0, 67, 65521, 1 << 40, -1])
def test_mtu(daemon, mtu):
    assert problem(new(daemon, link={"kind": "stream", "mtu": mtu}), 400)["field"] == "link.mtu"


def test_path_outside_runtime(daemon):
    document = problem(new(daemon, link={"kind": "stream", "path": "/tmp/elsewhere.sock"}), 400)
    assert document["field"] == "link.path"


def test_name_taken_by_another(daemon):
    assert new(daemon).status == 201
    assert new(daemon).status == 200
    problem(new(daemon, host_access=True), 409, "vm")


def test_unknown_vm(daemon):
    for method, path, body in (("GET", "", None), ("GET", "/stats", None),
                               ("PUT", "/policy", "open"), ("POST", "/forwards", {"to": {"port": 1}})):
        problem(daemon.api(method, "/v1/vms/nobody" + path, body), 404, "nobody")


def test_unknown_route_and_method(daemon):
    assert daemon.api("GET", "/v2/nothing").status == 404
    assert daemon.api("PUT", "/v1/vms").status == 405


def test_body_too_big(daemon):
    try:
        status = daemon.api("POST", "/v1/vms", b'"' + b"x" * (2 << 20) + b'"').status
    except OSError:
        return
    assert status == 413


def test_port_taken(daemon):
    assert new(daemon).status == 201
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(1)
        port = sock.getsockname()[1]
        body = {"listen": {"proto": "tcp", "addr": "127.0.0.1", "port": port}, "to": {"port": 80}}
        document = problem(daemon.api("POST", "/v1/vms/vm/forwards", body), 409)
        assert "tcp:127.0.0.1:%d" % port in str(document)
        assert "in use" in str(document)
    assert daemon.ask("GET", "/v1/vms/vm/forwards") == {"items": []}


def test_all_or_none(daemon):
    """Of several forwards with one that cannot be, none is there."""
    assert new(daemon).status == 201
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(1)
        items = [{"listen": {"proto": "tcp", "addr": "127.0.0.1", "port": port}, "to": {"port": 80}}
                 for port in (0, 0, sock.getsockname()[1])]
        assert daemon.api("POST", "/v1/vms/vm/forwards", {"items": items}).status == 409
    assert daemon.ask("GET", "/v1/vms/vm/forwards") == {"items": []}
    assert daemon.api("POST", "/v1/vms/vm/forwards", {"items": items[:2]}).status == 201
    assert len(daemon.ask("GET", "/v1/vms/vm/forwards")["items"]) == 2


@pytest.mark.parametrize("policy, field", [
    ({"default": "maybe"}, "default"),
    ({"default": "deny", "preset": "open"}, "preset"),
    ({"default": "deny", "rules": [{"action": "allow", "to": ["300.1.1.1"]}]}, "rules[0].to[0]"),
    ({"default": "deny", "rules": [{"action": "allow", "ports": ["70000"]}]}, "rules[0].ports[0]"),
    ({"default": "deny", "rules": [{"action": "allow"}, {"action": "run"}]}, "rules[1].action"),
    ({"default": "deny", "rules": [{"action": "allow", "proto": "sctp"}]}, "rules[0].proto"),
])
def test_policy(daemon, policy, field):
    assert new(daemon).status == 201
    before = daemon.ask("GET", "/v1/vms/vm/policy")
    assert problem(daemon.api("PUT", "/v1/vms/vm/policy", policy), 400)["field"].endswith(field)
    assert daemon.ask("GET", "/v1/vms/vm/policy") == before


# --- the CLI -------------------------------------------------------------------------------------

@pytest.mark.parametrize("spec, part", [
    ("", ""), ("80", "80"), ("tcp:x:80", "x"), ("tcp:80:x", "x"), ("tcp:70000:80", "70000"),
    ("tcp:80:70000", "70000"), ("sctp:80:80", "sctp"), ("1.2.3:80:80", "1.2.3"), ("80-90:80-85", "80"),
])
def test_spec_says_which_part(daemon, spec, part):
    assert new(daemon).status == 201
    text = daemon.fails("forward", "add", "vm", spec)
    # A second line may point to the help.
    assert part in text.splitlines()[0] and len(text.splitlines()) <= 2
    assert daemon.ask("GET", "/v1/vms/vm/forwards") == {"items": []}


@pytest.mark.parametrize("words, complaint", [
    (("policy", "allow", "vm", "any", "--verify", "bogus"), "--verify bogus: strict or dns"),
    (("policy", "allow", "vm", "a b"), '"a b": an address, a prefix, a name'),
    (("policy", "deny", "vm", "10.0.0.1/8"), '"10.0.0.1/8" has host bits set'),
    (("policy", "deny", "vm", "bücher.example"), "xn--"),
    (("policy", "deny", "vm", "any", "70000"), '"70000" is no PORT'),
    (("policy", "deny", "vm", "any", "80,9-3/tcp"), '"9-3" is no PORT'),
    (("policy", "check", "vm", "8.8.8.8"), "the port is wanted, as in 8.8.8.8:443"),
    (("policy", "check", "vm", "2001:db8::1"), "as in [2001:db8::1]:443"),
    (("policy", "check", "vm", "icmp:8.8.8.8:5"), '"icmp:8.8.8.8:5": ICMP has no port'),
    (("policy", "check", "vm", "8.8.8.8:70000"), '"70000" is no port'),
    (("policy", "check", "vm", "a_b..c:1"), '"a_b..c": an address or a name is wanted'),
    (("policy", "check", "vm", "bücher.example:1"), "xn--"),
    (("policy", "check", "vm", "8.8.8.8:1", "*.x.org"), '"*.x.org"'),
    (("vm", "set", "vm", "--fake-ip", "yes"), "--fake-ip yes: auto, on or off"),
    (("vm", "set", "vm", "--proxy-failure", "x"), "--proxy-failure x: refuse or direct"),
    (("vm", "set", "vm", "--host-access", "yes"), "--host-access yes: on or off"),
    (("vm", "create", "x", "--dns", "foo"), "--dns foo: an address"),
    (("vm", "create", "x", "--dns-unlisted", "no"), "--dns-unlisted no: nxdomain or answer"),
    (("events", "--type", ","), "--type ,: no events"),
    (("events", "--type", "flow.refusd"), 'is it "flow.refused"'),
    (("events", "--type", "foo"), "they are of vm, worker, link"),
    (("capture", "vm", "-w", "-", "--port", "99999"), "at most 8 ports of 1 to 65535 are wanted"),
])
def test_bad_word_is_quoted(shared_daemon, words, complaint):
    shared_daemon.ask("POST", "/v1/vms", {"name": "vm", "link": {"kind": "none"}})
    before = shared_daemon.ask("GET", "/v1/vms")
    with pytest.raises(NetctlError) as error:
        shared_daemon.netctl(*words)
    assert error.value.status == 2 and complaint in error.value.text.splitlines()[0], error.value.text
    assert shared_daemon.ask("GET", "/v1/vms") == before


def test_help_is_that_of_the_command(daemon):
    assert daemon.netctl("help", "policy", "check") == daemon.netctl("policy", "check", "--help")
    assert daemon.netctl("help", "flows") == daemon.netctl("flows", "--help")
    assert daemon.netctl("help", "vm") == daemon.netctl("vm", "--help")
    assert 'is it "policy"' in daemon.fails("help", "polic")


def test_events_of_a_vm_that_never_was(daemon):
    assert new(daemon, "gone").status == 201
    daemon.ask("DELETE", "/v1/vms/gone")
    daemon.netctl("events", "--vm", "gone")
    with pytest.raises(NetctlError) as error:
        daemon.netctl("events", "--vm", "nobody")
    assert error.value.status == 3 and "nobody" in error.value.text


def test_socket_path_too_long(daemon):
    assert new(daemon).status == 201
    path = "/tmp/" + "x" * 120
    assert "xxx" in daemon.fails("forward", "add", "vm", "unix:%s:80" % path)


def test_forward_that_is_not_there(daemon):
    assert new(daemon).status == 201
    assert "9999" in daemon.fails("forward", "delete", "vm", "tcp:127.0.0.1:9999")


def test_runtime_dir_too_long(tmp_path):
    from netctltest.process import program, run
    status, _, err = run([program("netctld"), "--runtime-dir", str(tmp_path / ("x" * 100)),
                          "--state-dir", str(tmp_path)], 10)
    assert status != 0 and "too long" in err


def test_store_not_writable(tmp_path):
    from netctltest.process import program, run
    with tempfile.TemporaryDirectory(prefix="nct.") as short:
        status, _, err = run([program("netctld"), "--runtime-dir", short + "/r",
                              "--state-dir", "/proc/nowhere"], 10)
    assert status != 0 and "/proc/nowhere" in err


def test_store_is_no_directory(tmp_path):
    from netctltest.process import program, run
    (tmp_path / "file").write_text("")
    with tempfile.TemporaryDirectory(prefix="nct.") as short:
        status, _, err = run([program("netctld"), "--runtime-dir", short + "/r",
                              "--state-dir", str(tmp_path / "file")], 10)
    assert status != 0 and str(tmp_path / "file") in err


# --- attach.sock ---------------------------------------------------------------------------------

@pytest.mark.parametrize("line", [{"op": "link", "vm": "vm", "kind": "tap"}, {"op": "fly"}, {}, [],
                                  {"op": "link", "vm": "nobody", "kind": "tap"}])
def test_attach_without_fd(daemon, line):
    assert new(daemon, link={"kind": "attach"}).status == 201
    answer = daemon.attach().ask(line)
    assert answer["ok"] is False and answer["title"]


def test_attach_that_is_not_json(daemon):
    attach = daemon.attach()
    attach.sock.sendall(b"hello\n")
    line = attach.reader.readline()
    assert '"ok":false' in line.replace(" ", "")


def test_attach_fd_of_the_wrong_kind(daemon):
    assert new(daemon, link={"kind": "attach"}).status == 201
    with open("/dev/null") as null, socket.socket() as tcp:
        for fd in (null.fileno(), tcp.fileno()):
            answer = daemon.attach().ask({"op": "link", "vm": "vm", "kind": "tap"}, [fd])
            assert answer["ok"] is False, answer
    assert daemon.vm("vm")["state"] == "waiting"


def test_attach_endless_line(daemon):
    attach = daemon.attach()
    try:
        attach.sock.sendall(b"x" * (1 << 20))
        assert '"ok":false' in attach.reader.readline().replace(" ", "")
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert daemon.api("GET", "/v1/health").status == 200


def test_second_vmm_is_refused(daemon):
    """A link has one VMM: the second is turned away, the first never notices."""
    guest = StreamGuest(daemon)
    try:
        path = daemon.vm("guest")["link"]["path"]
        with socket.socket(socket.AF_UNIX) as second:
            second.settimeout(5)
            try:
                second.connect(path)
                assert second.recv(1) == b""
            except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
                pass
        assert "1 received" in guest.sh("ping -c 1 -W 2 10.0.2.2")
    finally:
        guest.close()


# --- frames --------------------------------------------------------------------------------------

RAW = """
import os, random, socket, sys
seed, count = int(sys.argv[1]), int(sys.argv[2])
r = random.Random(seed)
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
ours, gate = b"\\x52\\x54\\x00\\x12\\x34\\x56", b"\\xff" * 6
def ip(proto, body, **over):
    head = bytearray(b"\\x45\\0" + (20 + len(body)).to_bytes(2, "big") + b"\\0\\1\\0\\0\\x40"
                     + bytes([proto]) + b"\\0\\0" + bytes([10, 0, 2, 15]) + bytes([10, 0, 2, 2]))
    if r.random() < .5:
        total = sum(int.from_bytes(head[i:i + 2], "big") for i in range(0, 20, 2))
        total = (total & 0xffff) + (total >> 16)
        head[10:12] = (0xffff - ((total & 0xffff) + (total >> 16))).to_bytes(2, "big")
    if r.random() < .5:
        head[r.randrange(20)] = r.randrange(256)
    return bytes(head) + body
for _ in range(count):
    body = r.randbytes(r.choice([0, 1, 7, 8, 19, 20, 28, 60, 300, 1400]))
    kind = r.randrange(5)
    frame = gate + ours
    if kind == 0:
        frame = r.randbytes(r.randrange(14, 1500))
    elif kind == 1:
        frame += b"\\x08\\x06" + (b"\\0\\1\\x08\\0\\6\\4\\0" + body)[:r.randrange(40)]
    elif kind == 2:
        frame += b"\\x08\\0" + ip(r.choice([1, 6, 17, 2, 255]), body)
    elif kind == 3:
        ports = r.choice([53, 67, 68, 80, 7]).to_bytes(2, "big")
        frame += b"\\x08\\0" + ip(17, r.choice([b"\\0\\x44", ports]) + ports
                                 + (8 + len(body)).to_bytes(2, "big") + b"\\0\\0" + body)
    else:
        frame += b"\\x08\\0" + ip(6, r.randbytes(2) + b"\\0\\x50" + r.randbytes(8)
                                 + bytes([r.randrange(256), r.randrange(256)]) + r.randbytes(6) + body)
    try:
        s.send(frame[:1514])
    except OSError:
        pass
"""


@pytest.mark.parametrize("kind", [TapGuest, StreamGuest])
@pytest.mark.parametrize("seed", range(3))
def test_any_frame(daemon, kind, seed):
    """Whatever the guest sends: the same worker lives, answers, and has not grown."""
    guest = kind(daemon)
    try:
        pid = daemon.worker_pid("guest")
        status, text = guest.run(["/usr/bin/python3", "-c", RAW, str(seed), "20000"], 60)
        assert status == 0, text
        guest.sh("ip neigh flush dev eth0")
        assert " 0% packet loss" in guest.sh("ping -c 3 -i 0.2 -W 2 10.0.2.2")
        assert daemon.worker_pid("guest") == pid
        assert daemon.vm("guest")["worker"]["restarts"] == 0
    finally:
        guest.close()


def test_stream_lengths_that_cannot_be(daemon):
    """A frame length of 0 or of gigabytes: the link is reset, the worker lives."""
    record = daemon.ask("POST", "/v1/vms", {"name": "guest", "link": {"kind": "stream"}})
    random.seed(1)
    for data in (b"\0\0\0\0" * 100, b"\xff\xff\xff\xff" + b"x" * 1000, b"\0\1\0\1" + b"y" * 70000,
                 b"\0\0\0\x0e" + b"z" * 14, random.randbytes(100000)):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(record["link"]["path"])
            try:
                sock.sendall(data)
                time.sleep(0.2)
            except OSError:
                pass
        wait_for(lambda: daemon.vm("guest")["link"]["connected"] is False, 5, "the link is free")
    assert daemon.vm("guest")["worker"] is None or daemon.vm("guest")["worker"]["restarts"] == 0
