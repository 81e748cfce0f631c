# SPDX-License-Identifier: MIT
"""The wanted state of the host as one document: exported, applied again, changed, refused whole."""

import copy
import json
import os
import random
import socket
import threading
import time

import pytest

from netctltest.namespace import TapGuest
from netctltest.process import SLOW, run, wait_for
from netctltest.servers import WebServer

FREE = {"listen": {"port": 0}, "to": {"port": 80}}
VALUE = b"correct horse battery staple"


def give_secrets(daemon):
    for name in ("secrets/TOKEN", "secrets/OTHER", "proxy/password"):
        assert daemon.api("PUT", "/v1/vms/web/" + name, VALUE).status == 204


def furnish(daemon):
    """Two VMs with something of everything."""
    daemon.ask("POST", "/v1/vms", {
        "name": "web", "vsock": {"kind": "vhost", "cid": 7}, "host_access": True, "ttl": 86400,
        "net": {"subnet": "10.9.0.0/24", "mac": "52:54:00:00:00:01"},
        "proxy": {"url": "socks5://user@192.0.2.9:1080", "no_proxy": ["corp.example"]},
        "limits": {"rate_in": 100000000, "max_flows": 500},
        "dns": {"upstreams": ["192.0.2.1", "192.0.2.2:5353"], "search": ["test.internal"]},
        "policy": {"default": "deny", "rules": [
            {"action": "allow", "to": ["*.example.com", "10.0.0.0/8"], "ports": ["443"], "proto": "tcp"},
            {"action": "allow", "to": ["192.0.2.0/24"]}]},
        "forwards": [FREE, {"listen": {"proto": "udp", "addr": "127.0.0.1", "port": 0}, "to": {"port": 53}},
                     {"listen": {"port": 0}, "to": {"tsi": "first"}, "name": "tsi", "snat": True}]})
    daemon.ask("POST", "/v1/vms/web/forwards", {
        "listen": {"unix": daemon.runtime + "/vms/web/in.sock"}, "to": {"vsock": 22}})
    daemon.ask("POST", "/v1/vms/web/maps", {"port": 5000, "to": {"tcp": "127.0.0.1:9"}})
    daemon.ask("POST", "/v1/vms/web/maps", {"port": 5001, "to": {"unix": daemon.runtime + "/vms/web/up"}})
    daemon.ask("PUT", "/v1/vms/web/hosts", {"items": [{"name": "db.internal", "addresses": ["10.9.0.9"]}]})
    daemon.ask("PUT", "/v1/vms/web/env", {"MODE": "production", "deep": {"list": [1, 2.5, None]}})
    give_secrets(daemon)
    daemon.ask("POST", "/v1/vms", {"name": "bare", "link": {"kind": "none"}, "policy": "none"})


def export(daemon):
    return daemon.ask("GET", "/v1/state")


def seen(daemon):
    """All that the API says of each VM, without what is of this life of it."""
    found = {}
    for vm in daemon.ask("GET", "/v1/vms")["items"]:
        for key in ("created", "worker", "sandbox", "state"):
            vm.pop(key)
        path = "/v1/vms/" + vm["name"]
        found[vm["name"]] = [vm] + [daemon.ask("GET", path + part) for part in (
            "/forwards", "/maps", "/hosts", "/env", "/policy")]
        found[vm["name"]][1]["items"].sort(key=lambda forward: forward["id"])
    return found


def last_event(daemon):
    lines = daemon.api("GET", "/v1/events").body.splitlines()
    return json.loads(lines[-1])["id"] if lines else 0


def events_since(daemon, last):
    lines = daemon.api("GET", "/v1/events?since=%d" % last).body.splitlines()
    return [(e["vm"], e["type"]) for e in map(json.loads, lines)]


def listens(port):
    """Somebody accepts there, though with no guest behind it only to reset."""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionResetError:
        pass
    except ConnectionRefusedError:
        return False
    return True


class Applied:
    """What netctl apply said."""

    def __init__(self, daemon, document, *options):
        self.path = os.path.join(daemon.directory, "state.json")
        with open(self.path, "w") as f:
            f.write(document if isinstance(document, str) else json.dumps(document, indent=1))
        self.status, out, self.err = run(daemon.netctl_argv("apply", "-f", self.path, *options), 30)
        self.lines = out.splitlines()


def applied(daemon, document, *options):
    it = Applied(daemon, document, *options)
    assert it.status == 0, it.err
    return it


# --- the same again ------------------------------------------------------------------------------

def test_twice_changes_nothing(daemon):
    """What was exported changes nothing, nor what was applied: no event, no worker, no socket."""
    furnish(daemon)
    document, before, last = export(daemon), seen(daemon), last_event(daemon)
    worker = daemon.worker_pid("web")
    for _ in range(2):
        it = applied(daemon, document)
        assert it.lines == [] and it.err == ""
    assert Applied(daemon, document, "--dry-run").status == 0
    assert seen(daemon) == before and export(daemon) == document
    assert events_since(daemon, last) == []
    assert daemon.worker_pid("web") == worker


def test_export_wipe_apply(daemon):
    """The same state: everything but what secrets are, which is told."""
    furnish(daemon)
    path = os.path.join(daemon.directory, "host.json")
    daemon.netctl("export", path)
    before = seen(daemon)
    assert os.stat(path).st_mode & 0o777 == 0o600
    for name in before:
        daemon.ask("DELETE", "/v1/vms/" + name)
    assert seen(daemon) == {} and os.listdir(daemon.runtime + "/vms") == []
    status, out, err = run(daemon.netctl_argv("apply", "-f", path), 30)
    assert status == 0, err
    assert out.splitlines()[0] == "+ vm/bare" and "+ vm/web" in out.splitlines()
    assert ["netctl secret set web OTHER" in err, "netctl secret set web TOKEN" in err] == [True, True]
    assert "password of VM web's proxy is missing" in err and len(err.splitlines()) == 3
    give_secrets(daemon)
    assert seen(daemon) == before
    # They work, too: each forward listens.
    for forward in before["web"][1]["items"]:
        listen = forward["listen"]
        if listen.get("proto") == "tcp":
            assert listens(listen["port"])
    assert os.path.exists(daemon.runtime + "/vms/web/in.sock")
    with open(path) as f:
        document = json.load(f)
    it = applied(daemon, document)
    assert it.lines == [] and it.err == "" and export(daemon) == document
    # And in a later life.
    daemon.kill()
    daemon.start()
    assert seen(daemon) == before and export(daemon) == document


def test_at_once_after_a_restart(daemon):
    """What workers hold that are just being adopted goes with what it was for: no path is left."""
    document = {"vms": [{"name": "vm%d" % i, "forwards": [
        {"listen": {"unix": "%s/vms/vm%d/%d" % (daemon.runtime, i, k)}, "to": {"port": 80}} for k in range(20)]}
        for i in range(30)]}
    for _ in range(3):
        applied(daemon, document)
        daemon.kill()
        daemon.start()
        daemon.ask("PUT", "/v1/state", {"vms": []})
        assert os.listdir(daemon.runtime + "/vms") == []


def test_export_on_stdout_is_what_apply_reads(daemon):
    furnish(daemon)
    document = daemon.netctl("export")
    assert document == export(daemon)
    status, out, err = run(daemon.netctl_argv("apply", "-f", "-"), 30, stdin=json.dumps(document))
    assert (status, out, err) == (0, "", "")


def test_no_secret_is_exported(daemon):
    furnish(daemon)
    text = daemon.api("GET", "/v1/state").body
    assert b"TOKEN" in text and VALUE not in text
    for word in VALUE.split():
        assert word not in text


def test_ephemeral_vms_are_no_part_of_it(daemon):
    attach = daemon.attach()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    answer = attach.ask({"op": "link", "kind": "dgram", "create": {"name": "passing"}}, [pair[0].fileno()])
    assert answer["ok"], answer
    assert export(daemon)["vms"] == []
    assert applied(daemon, {"vms": []}).lines == []
    assert daemon.vm("passing")["ephemeral"]
    it = Applied(daemon, {"vms": [{"name": "passing"}]})
    assert it.status == 4 and "passing" in it.err and "line 1" in Applied(
        daemon, '{"vms":[{"name":"passing"}]}').err
    for sock in (listener, *pair):
        sock.close()


# --- differences ---------------------------------------------------------------------------------

def changed(document):
    """Another document: a line of each kind."""
    document = copy.deepcopy(document)
    bare, web = document["vms"]
    assert (bare["name"], web["name"]) == ("bare", "web")
    web["host_access"] = False
    web["limits"]["max_flows"] = 600
    web["dns"]["upstreams"].remove("192.0.2.1")
    web["policy"]["rules"].insert(0, {"action": "deny", "to": ["10.1.0.0/16"]})
    web["policy"]["rules"][2]["action"] = "deny"
    [f for f in web["forwards"] if f["to"] == {"port": 80}][0]["to"]["port"] = 8080
    web["forwards"] = [f for f in web["forwards"] if f["to"] != {"port": 53}]
    web["maps"][0]["to"]["tcp"] = "127.0.0.1:10"
    del web["maps"][1]
    web["hosts"]["items"].append({"name": "new.internal", "addresses": ["10.9.0.10"]})
    web["env"]["MODE"] = "test"
    web["secrets"] = ["TOKEN"]
    document["vms"] = [web, {"name": "fresh", "link": {"kind": "none"}, "env": {"A": 1},
                             "forwards": [FREE]}]
    return document


def test_dry_run_tells_and_does_nothing(daemon):
    furnish(daemon)
    document, before, last = export(daemon), seen(daemon), last_event(daemon)
    other = changed(document)
    it = Applied(daemon, other, "--dry-run")
    assert it.status == 6, it.err
    ids = {json.dumps(f["to"]): f["id"] for f in before["web"][1]["items"]}
    first, gone = ids['{"port": 80}'], ids['{"port": 53}']
    for line in ("- vm/bare", "+ vm/fresh", "~ vm/web host_access: true -> false",
                 "~ vm/web limits.max_flows: 500 -> 600",
                 '- vm/web dns.upstreams[0]: "192.0.2.1"',
                 '+ vm/web policy.rules[0]: {"action":"deny","to":["10.1.0.0/16"]}',
                 "~ vm/web forwards[%s].to.port: 80 -> 8080" % first,
                 '~ vm/web maps[5000].to.tcp: "127.0.0.1:9" -> "127.0.0.1:10"',
                 '+ vm/web hosts[new.internal]: {"name":"new.internal","addresses":["10.9.0.10"]}',
                 '~ vm/web env.MODE: "production" -> "test"', '- vm/web secrets.OTHER: "OTHER"',
                 "+ vm/fresh env.A: 1"):
        assert line in it.lines, (line, it.lines)
    assert any(line.startswith("- vm/web forwards[%s]: {" % gone) for line in it.lines)
    assert seen(daemon) == before and export(daemon) == document
    assert events_since(daemon, last) == []

    done = applied(daemon, other)
    assert done.lines == it.lines
    assert Applied(daemon, other, "--dry-run").status == 0
    now = export(daemon)
    assert [vm["name"] for vm in now["vms"]] == ["fresh", "web"]
    assert now["vms"][1] == other["vms"][0]
    # And the whole way back.
    again = applied(daemon, document)
    assert "- vm/fresh" in again.lines and "OTHER" in again.err
    assert seen(daemon) == before


def test_only_what_changed_is_touched(daemon):
    """A change of one VM's policy: its forwards and the other VM see nothing of it."""
    furnish(daemon)
    document, last = export(daemon), last_event(daemon)
    document["vms"][1]["policy"]["default"] = "allow"
    applied(daemon, document)
    assert events_since(daemon, last) == [("web", "policy.set")]


def test_any_port_is_the_one_that_is_there(daemon):
    document = {"vms": [{"name": "a", "link": {"kind": "none"}, "forwards": [FREE, FREE]}]}
    applied(daemon, document)
    ports = sorted(f["listen"]["port"] for f in daemon.ask("GET", "/v1/vms/a/forwards")["items"])
    assert len(set(ports)) == 2
    assert applied(daemon, document).lines == []
    document["vms"][0]["forwards"][1] = {"listen": {"port": ports[0]}, "to": {"port": 80}}
    assert applied(daemon, document).lines == []


def test_json_output(daemon):
    path = os.path.join(daemon.directory, "s.json")
    with open(path, "w") as f:
        json.dump({"vms": [{"name": "a", "secrets": ["S"]}]}, f)
    answer = daemon.netctl("apply", "-f", path)
    assert answer["applied"] is True and answer["missing_secrets"] == [{"vm": "a", "name": "S"}]
    assert answer["changes"][0] == {"op": "add", "vm": "a"}


# --- secrets -------------------------------------------------------------------------------------

def test_secrets_are_kept_by_name(daemon):
    furnish(daemon)
    document = export(daemon)
    names = lambda: [s["name"] for s in daemon.ask("GET", "/v1/vms/web/secrets")["items"]]  # noqa: E731
    del document["vms"][1]["secrets"]
    assert applied(daemon, document).lines == [] and names() == ["OTHER", "TOKEN"]
    document["vms"][1]["secrets"] = ["TOKEN", "MISSING"]
    it = Applied(daemon, document, "--require-secrets")
    assert it.status == 4 and "MISSING" in it.err and names() == ["OTHER", "TOKEN"]
    it = applied(daemon, document)
    assert it.lines == ['- vm/web secrets.OTHER: "OTHER"'] and "web/MISSING" in it.err
    assert names() == ["TOKEN"]


# --- sockets that change hands -------------------------------------------------------------------

class Knocker(threading.Thread):
    """Connects to a port again and again: somebody must always listen."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.good, self.bad = port, 0, 0
        self.over = threading.Event()

    def run(self):
        while not self.over.is_set():
            if listens(self.port):
                self.good += 1
            else:
                self.bad += 1

    def stop(self):
        self.over.set()
        self.join(10)


def test_a_port_goes_from_vm_to_vm(daemon):
    """To another target, to another VM, with its VM deleted: never is a connection refused."""
    port = daemon.ask("POST", "/v1/vms", {"name": "a", "forwards": [FREE]}) and daemon.ask(
        "GET", "/v1/vms/a/forwards")["items"][0]["listen"]["port"]
    def at(name, target):  # noqa: E306
        return {"name": name, "forwards": [{"listen": {"port": port}, "to": {"port": target}}]}
    knocker = Knocker(port)
    knocker.start()
    try:
        for vms in ([at("a", 81)], [{"name": "a"}, at("b", 80)], [at("c", 80)], [at("a", 80), {"name": "c"}]):
            good = knocker.good
            applied(daemon, {"vms": vms})
            wait_for(lambda: knocker.good > good + 20, 10, "connections")
    finally:
        knocker.stop()
    assert knocker.good > 80 and knocker.bad == 0
    assert daemon.ask("GET", "/v1/vms/a/forwards")["items"][0]["listen"]["port"] == port


def test_two_vms_change_ports(daemon):
    vms = [{"name": n, "link": {"kind": "none"}, "forwards": [FREE]} for n in "ab"]
    applied(daemon, {"vms": vms})
    state = export(daemon)
    a, b = state["vms"]
    a["forwards"], b["forwards"] = b["forwards"], a["forwards"]
    applied(daemon, state)
    assert export(daemon) == state


def test_a_guest_is_served_by_what_was_applied(daemon):
    """Policy, forward and a live connection of a guest across changes."""
    guest, web = TapGuest(daemon), WebServer()
    url = "http://%s:%d/" % (guest.gateway, web.port)
    try:
        guest.popen(["socat", "TCP4-LISTEN:7,fork,reuseaddr", "EXEC:cat"])
        wait_for(lambda: guest.run("ss -Hltn sport = :7")[1].strip(), 5, "echo server")
        document = export(daemon)
        document["vms"][0]["forwards"] = [{"listen": {"port": 0}, "to": {"port": 7}}]
        applied(daemon, document)
        port = daemon.ask("GET", "/v1/vms/guest/forwards")["items"][0]["listen"]["port"]
        assert guest.run(["curl", "-sf", "-m", "5", url])[0] == 0
        with socket.create_connection(("127.0.0.1", port), 5) as live:
            live.settimeout(5)
            live.sendall(b"one")
            assert live.recv(3) == b"one"
            document["vms"][0]["host_access"] = False
            document["vms"][0]["policy"] = {"default": "deny", "rules": []}
            applied(daemon, document)
            assert guest.run(["curl", "-sf", "-m", "5", url])[0] != 0
            live.sendall(b"two")
            assert live.recv(3) == b"two"
    finally:
        guest.close()
        web.close()


def test_a_socket_that_was_handed_over(daemon):
    """Kept where it is; after a wipe it is awaited, and works when it is handed over again."""
    path = os.path.join(daemon.directory, "mine.sock")
    daemon.ask("POST", "/v1/vms", {"name": "a"})
    daemon.netctl("forward", "add", "a", "unix:%s:80" % path)
    document = export(daemon)
    assert document["vms"][0]["forwards"][0]["handed"] is True
    assert applied(daemon, document).lines == []
    daemon.ask("DELETE", "/v1/vms/a")
    applied(daemon, document)
    assert "handed over" in daemon.ask("GET", "/v1/vms/a/forwards")["items"][0]["error"]
    assert applied(daemon, document).lines == []
    daemon.netctl("forward", "add", "a", "unix:%s:80" % path)
    assert "error" not in daemon.ask("GET", "/v1/vms/a/forwards")["items"][0]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)


# --- refused whole -------------------------------------------------------------------------------

@pytest.mark.parametrize("edit, field", [
    (lambda d: d.update(colour=1), "colour"),
    (lambda d: d.update(state_version=2), "state_version"),
    (lambda d: d.pop("vms"), "vms"),
    (lambda d: d["vms"].append(7), "vms[2]"),
    (lambda d: d["vms"].append({}), "vms[2].name"),
    (lambda d: d["vms"].append({"name": "UP"}), "vms[2].name"),
    (lambda d: d["vms"].append({"name": "web"}), "vms[2].name"),
    (lambda d: d["vms"][1].update(colour=1), "vms[1].colour"),
    (lambda d: d["vms"][1]["net"].update(subnet="10.0.0.0/31"), "vms[1].net.subnet"),
    (lambda d: d["vms"][1]["net"].update(subnet="10.8.0.0/24"), "vms[1].net"),
    (lambda d: d["vms"][1]["link"].update(kind="dgram"), "vms[1].link"),
    (lambda d: d["vms"][1]["vsock"].update(cid=8), "vms[1].vsock"),
    (lambda d: d["vms"][1]["dns"].update(upstreams=["x"]), "vms[1].dns.upstreams[0]"),
    (lambda d: d["vms"][1]["policy"]["rules"][1].update(action="x"), "vms[1].policy.rules[1].action"),
    (lambda d: d["vms"][0].update(policy={"default": "deny", "rules": [
        {"action": "deny", "to": ["64:ff9b::/96"]}]}), "vms[0].policy.rules[0]"),
    (lambda d: d["vms"][1]["forwards"][2]["listen"].update(port=-1), "vms[1].forwards[2].listen.port"),
    (lambda d: d["vms"][1]["forwards"].append(d["vms"][1]["forwards"][0]), "vms[1].forwards[4]"),
    (lambda d: d["vms"][0]["forwards"].append(d["vms"][1]["forwards"][0]), "vms[1].forwards[0]"),
    (lambda d: d["vms"][0]["forwards"].append({"listen": {"unix": "/tmp/x.sock"}, "to": {"port": 1}}),
     "vms[0].forwards[0].listen.unix"),
    (lambda d: d["vms"][1]["maps"][0].update(port=620), "vms[1].maps[0].port"),
    (lambda d: d["vms"][1]["maps"].append(d["vms"][1]["maps"][0]), "vms[1].maps[2]"),
    (lambda d: d["vms"][0].update(maps=[{"port": 1, "to": {"tcp": "127.0.0.1:9"}}]), "vms[0].maps"),
    (lambda d: d["vms"][1]["hosts"]["items"].append({"name": "x"}), "vms[1].hosts.items[1].addresses"),
    (lambda d: d["vms"][1].update(env=[]), "vms[1].env"),
    (lambda d: d["vms"][1].update(secrets=["a b"]), "vms[1].secrets[0]"),
])
def test_bad_document(shared, edit, field):
    """The field and its line are named, and nothing is half-done, whatever else it would change."""
    daemon, document, before = shared
    bad = copy.deepcopy(document)
    bad["vms"].insert(0, bad["vms"].pop(0))
    for vm in bad["vms"]:
        vm["env"] = {"changed": True}
    edit(bad)
    text = json.dumps(bad, indent=1)
    last = last_event(daemon)
    response = daemon.api("PUT", "/v1/state", bad)
    assert response.status in (400, 409) and response.json["field"] == field, response
    it = Applied(daemon, text)
    assert it.status in (1, 4) and it.lines == [] and len(it.err.splitlines()) == 1, it.err
    assert field in it.err and "state.json line " in it.err
    line = int(it.err.rpartition("line ")[2])
    assert 1 <= line <= len(text.splitlines())
    assert seen(daemon) == before and export(daemon) == document
    assert events_since(daemon, last) == []
    assert sorted(os.listdir(daemon.runtime + "/vms")) == ["bare", "web"]


@pytest.fixture(scope="module")
def shared(shared_daemon):
    furnish(shared_daemon)
    yield shared_daemon, export(shared_daemon), seen(shared_daemon)


def test_the_line_is_that_of_the_field(shared):
    daemon = shared[0]
    it = Applied(daemon, '{\n "vms": [\n  {"name": "a",\n   "ttl": "x"}]}')
    assert it.status == 1 and "vms[0].ttl" in it.err and it.err.strip().endswith("line 4")


@pytest.mark.parametrize("text, word", [
    ("", "line 1"), ("{", "line 1"), ('{"vms":[]}\n\nx', "line 3"), ("[]", "object"), ("\n\n{'vms'", "line 3")])
def test_not_json(shared, text, word):
    daemon, document, _ = shared
    it = Applied(daemon, text)
    assert it.status == 1 and word in it.err, it.err
    assert export(daemon) == document


def test_no_file(shared):
    daemon = shared[0]
    assert "no such file" in daemon.fails("apply", "-f", "/nowhere/x.json").lower()
    assert "-f FILE" in daemon.fails("apply")


def test_what_is_taken_is_in_the_way_of_all(daemon):
    """The last of many VMs wants a port that another program holds: none is made, nothing deleted."""
    furnish(daemon)
    document, before, last = export(daemon), seen(daemon), last_event(daemon)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(1)
        port = sock.getsockname()[1]
        vms = [{"name": "new%d" % i, "vsock": {"kind": "hybrid", "path": "%s/vms/new%d/v.sock" % (
            daemon.runtime, i)}, "maps": [{"port": 9, "to": {"tcp": "127.0.0.1:9"}}],
            "forwards": [FREE]} for i in range(10)]
        vms[9]["forwards"].append({"listen": {"port": port}, "to": {"port": 80}})
        it = Applied(daemon, {"vms": vms})
    assert it.status == 4 and "new9/tcp:127.0.0.1:%d" % port in it.err and "in use" in it.err
    assert "vms[9].forwards[1].listen" in it.err
    assert seen(daemon) == before and export(daemon) == document and events_since(daemon, last) == []
    assert sorted(os.listdir(daemon.runtime + "/vms")) == ["bare", "web"]
    # Its names are free.
    assert applied(daemon, {"vms": vms[:9]}).lines


# --- sizes ---------------------------------------------------------------------------------------

def test_large_documents(daemon):
    """More than other requests may have; no more than 16 MiB."""
    rules = [{"action": "allow", "to": ["10.%d.%d.0/24" % (i >> 8, i & 255)], "ports": ["443"],
              "proto": "tcp"} for i in range(16000)]
    document = {"vms": [{"name": "vm%d" % i, "link": {"kind": "none"},
                         "policy": {"default": "deny", "rules": rules}} for i in range(4)]}
    assert len(json.dumps(document)) > 4 << 20
    applied(daemon, document)
    assert applied(daemon, export(daemon)).lines == []
    document["vms"][0]["env"] = {"x": "y" * (2 << 20)}
    response = daemon.api("PUT", "/v1/state", document)
    assert response.status == 413 and response.json["field"] == "vms[0].env"
    try:
        assert daemon.api("PUT", "/v1/state", b'"' + b"x" * (17 << 20) + b'"').status == 413
    except OSError:
        pass
    assert "more than" in Applied(daemon, " " * (17 << 20)).err


def test_a_thousand_vms(daemon):
    """In one request, and away in one; the daemon answers others between."""
    vms = [{"name": "vm%03d" % i, "link": {"kind": "none"}, "env": {"i": i}} for i in range(1000)]
    start = time.monotonic()
    applied(daemon, {"vms": vms})
    assert time.monotonic() - start < 10 * SLOW
    assert len(export(daemon)["vms"]) == 1000
    assert applied(daemon, {"vms": vms}).lines == []
    assert len(applied(daemon, {"vms": []}).lines) == 1000


# --- kill -9 -------------------------------------------------------------------------------------

def test_killed_meanwhile_it_is_all_or_nothing(daemon):
    """Whenever netctld is killed, the next finds the old state or the new, never some of both."""
    def state(kind, n):
        return {"vms": [{"name": "%s%d" % (kind, i), "link": {"kind": "none"}, "env": {"kind": kind},
                         "forwards": [FREE]} for i in range(n)]
                + [{"name": "both", "link": {"kind": "none"}, "env": {"kind": kind},
                    "policy": {"preset": "none" if kind == "a" else "open"}, "forwards": [FREE] * 5}]}

    def kinds():
        found = set()
        for vm in export(daemon)["vms"]:
            found.add(vm["env"]["kind"])
            if vm["name"] == "both":
                found.add({"none": "a", "open": "b"}[vm["policy"]["preset"]])
                assert len(vm["forwards"]) == 5
        return found

    def put(document):
        try:
            daemon.api("PUT", "/v1/state", document)
        except OSError:
            pass

    random.seed(4)
    daemon.ask("PUT", "/v1/state", state("a", 30))
    for i in range(12):
        wanted = "ba"[i % 2]
        thread = threading.Thread(target=put, args=(state(wanted, 30 - i % 2),))
        thread.start()
        time.sleep(random.uniform(0, 0.08) * SLOW)
        daemon.kill()
        thread.join(30)
        daemon.start()
        now = kinds()
        assert len(now) == 1, now
