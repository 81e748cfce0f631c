# SPDX-License-Identifier: MIT
"""Policies as their operator meets them: set, refused, explained, counted, swapped."""

import json
import subprocess
import time

import pytest

from netctltest.process import wait_for
from netctltest.servers import WebServer

GATEWAY = "10.0.2.2"


def rule(action, port=None, to=GATEWAY, **more):
    rule = dict(more, action=action, to=[to])
    if port:
        rule["ports"] = [str(port)]
    return rule


def put(guest, rules, default="deny", cut=False):
    return guest.daemon.ask("PUT", "/v1/vms/guest/policy" + ("?cut_existing=1" if cut else ""),
                            {"default": default, "rules": rules})


def stats(guest):
    return guest.daemon.netctl("policy", "show", "guest", "--stats")


def reaches(guest, port):
    return guest.sh("curl -s --max-time 5 http://%s:%d/ || true" % (GATEWAY, port))


def test_rules_count_flows_bytes_and_refusals(tap_guest, web):
    put(tap_guest, [rule("deny", 1), rule("allow", web.port)])
    assert reaches(tap_guest, web.port) == "hello from the host\n"
    for _ in range(3):
        tap_guest.sh("curl -s --max-time 5 http://%s:1/ || true" % GATEWAY)
    count = stats(tap_guest)
    assert count["rules"][1]["flows"] == 1
    assert count["rules"][1]["tx_bytes"] > 50
    assert count["rules"][1]["rx_bytes"] > len("hello from the host\n")
    assert count["rules"][0] == {"flows": 0, "tx_bytes": 0, "rx_bytes": 0, "refusals": 3}
    tap_guest.sh("curl -s --max-time 5 http://192.0.2.1:80/ || true")
    assert stats(tap_guest)["default"]["refusals"] == 1
    tap_guest.daemon.ask("PUT", "/v1/vms/guest/policy", "none")
    assert stats(tap_guest)["rules"] == []


def test_refused_flow_tells_its_rule(tap_guest):
    put(tap_guest, [rule("allow", 2), rule("deny", 1)])
    tap_guest.sh("curl -s --max-time 5 http://%s:1/ || true" % GATEWAY)

    def refused():
        text = tap_guest.daemon.api("GET", "/v1/events?since=0").body.decode()
        return [e["data"] for e in map(json.loads, text.splitlines()) if e["type"] == "flow.refused"]
    event = wait_for(refused, 5, "the refusal")[0]
    assert (event["by"], event["rule"], event["to"], event["port"]) == ("rule", 1, GATEWAY, 1)
    assert event["name"] is None


def test_name_without_resolving_leads_nowhere(tap_guest, web):
    put(tap_guest, [rule("allow", to="*.example.com"), rule("deny", to=GATEWAY)])
    assert reaches(tap_guest, web.port) == ""
    answer = tap_guest.daemon.netctl("policy", "check", "guest", "192.0.2.1:443")
    assert (answer["verdict"], answer["by"], answer["names"]) == ("deny", "default", [])
    answer = tap_guest.daemon.netctl("policy", "check", "guest", "WWW.example.com.:443")
    assert (answer["verdict"], answer["rule"]) == ("allow", 0)
    assert (answer["name"], answer["verify"]) == ("www.example.com", "strict")
    answer = tap_guest.daemon.netctl("policy", "check", "guest", "udp:192.0.2.1:443", "a.example.com")
    assert (answer["verdict"], answer["rule"]) == ("deny", 0) and "UDP 443" in answer["text"]


def test_rules_of_several_at_a_time_are_all_kept(daemon):
    daemon.ask("POST", "/v1/vms", {"name": "vm", "policy": "none"})
    adding = [subprocess.Popen(daemon.netctl_argv("policy", "deny", "vm", "10.1.0.%d" % n, "80/tcp"), env=daemon.env)
              for n in range(1, 9)]
    assert [one.wait(20) for one in adding] == [0] * 8
    rules = daemon.ask("GET", "/v1/vms/vm/policy")["rules"]
    assert sorted(rule["to"][0] for rule in rules) == ["10.1.0.%d" % n for n in range(1, 9)]


def test_policy_is_put_only_if_it_is_as_it_was(daemon):
    def put_if(tag, policy):
        return daemon.api("PUT", "/v1/vms/vm/policy", policy, {"If-Match": tag})

    daemon.ask("POST", "/v1/vms", {"name": "vm", "policy": "none"})
    tag = daemon.api("GET", "/v1/vms/vm/policy").headers["ETag"]
    first = put_if(tag, "open")
    assert (first.status, first.headers["ETag"] != tag) == (200, True)
    assert first.headers["ETag"] == daemon.api("GET", "/v1/vms/vm/policy").headers["ETag"]
    again = put_if(tag, "public")
    assert (again.status, again.json["status"]) == (412, 412) and "VM vm: the policy" in again.json["detail"]
    assert put_if("W/" + first.headers["ETag"], "public").status == 412
    assert put_if("", "public").status == 412
    assert daemon.ask("GET", "/v1/vms/vm/policy")["preset"] == "open"
    assert put_if('"0", ' + first.headers["ETag"], "public").status == 200
    assert put_if("*", "none").status == 200


def test_what_was_set_is_printed(daemon):
    daemon.ask("POST", "/v1/vms", {"name": "vm", "policy": "none"})
    assert daemon.netctl("policy", "set", "vm", "open")["preset"] == "open"
    assert daemon.netctl("policy", "deny", "vm", "192.0.2.7", "25")["rules"][0]["to"] == ["192.0.2.7"]
    assert daemon.netctl("hosts", "set", "vm", "db.internal=10.0.2.2")["items"][0]["name"] == "db.internal"


def test_verdict_is_said_once(daemon):
    daemon.ask("POST", "/v1/vms", {"name": "vm", "policy": {"default": "deny", "rules": [
        {"action": "allow", "to": ["192.0.2.0/24"]}]}})

    def says(*words):
        return subprocess.run(daemon.netctl_argv("policy", "check", "vm", *words), env=daemon.env, check=True,
                              stdout=subprocess.PIPE, text=True).stdout
    assert says("192.0.2.1:443") == "allow by rule 0\n"
    assert says("icmp:8.8.8.8") == "deny by default\n"


def test_settings_change_while_it_runs(daemon):
    daemon.ask("POST", "/v1/vms", {"name": "vm", "link": {"kind": "none"}})
    vm = daemon.netctl("vm", "set", "vm", "--dns", "192.0.2.1", "--search", "a.org", "--search", "b.org",
                       "--dns-unlisted", "answer", "--host-access", "on", "--ttl", "1h", "--policy", "none")
    assert vm["dns"] == {"upstreams": ["192.0.2.1"], "search": ["a.org", "b.org"], "unlisted": "answer"}
    assert (vm["host_access"], vm["ttl"], vm["policy"]["preset"]) == (True, 3600, "none")
    vm = daemon.netctl("vm", "set", "vm", "--search", "", "--host-access", "off")
    assert (vm["dns"]["search"], vm["dns"]["upstreams"], vm["host_access"]) == ([], ["192.0.2.1"], False)


def test_bad_file_is_refused_whole_with_its_line(tap_guest, web, tmp_path):
    before = put(tap_guest, [rule("allow", web.port)])
    path = tmp_path / "policy.json"
    path.write_text('{\n  "default": "allow",\n  "rules": [\n    {"action": "allow"},\n'
                    '    {"action": "deny",\n     "to": ["a.org",\n            "*.*.org"]}\n  ]\n}\n')
    text = tap_guest.daemon.fails("policy", "set", "guest", str(path))
    assert text.startswith("netctl: ") and len(text.splitlines()) == 1
    assert "rules[1].to[1]" in text and text.endswith("%s line 7" % path)
    path.write_text('{\n  "default": "deny",\n  "rules": [\n')
    assert "line 4" in tap_guest.daemon.fails("policy", "set", "guest", str(path))
    assert tap_guest.daemon.ask("GET", "/v1/vms/guest/policy") == before
    assert reaches(tap_guest, web.port) == "hello from the host\n"


# Connects, and asks when it is told to.
CLIENT = """
import socket, sys
s = socket.create_connection((%r, %d))
print("open", flush=True)
sys.stdin.readline()
try:
    s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    print(s.recv(99)[:8].decode())
except ConnectionError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("cut", [False, True])
def test_flow_that_a_new_policy_forbids(tap_guest, web, cut):
    put(tap_guest, [rule("allow", web.port)])
    client = subprocess.Popen([*tap_guest.nsenter, "/usr/bin/python3", "-c", CLIENT % (GATEWAY, web.port)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert client.stdout.readline() == "open\n"
    tap_guest.daemon.netctl("policy", "deny", "guest", "any", *(["--cut-existing"] if cut else []))
    client.stdin.write("\n")
    client.stdin.flush()
    assert client.stdout.readline() == ("ConnectionResetError\n" if cut else "HTTP/1.1\n")
    client.wait(5)
    assert reaches(tap_guest, web.port) == ""


# Connects to the second port again and again, to the first as well, and reads a long page from the
# first meanwhile. Prints when each connection was begun and whether it came about.
LOAD = """
import json, socket, sys, threading, time
gateway, kept, cut, seconds, size = sys.argv[1], *map(int, sys.argv[2:])
end = time.monotonic() + seconds
seen = {kept: [], cut: []}
def knock(port):
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            socket.create_connection((gateway, port), 5).close()
            seen[port].append((began, time.monotonic(), True))
        except OSError:
            seen[port].append((began, time.monotonic(), False))
got = 0
def download():
    global got
    s = socket.create_connection((gateway, kept), 5)
    s.sendall(b"GET /long HTTP/1.0\\r\\n\\r\\n")
    try:
        while True:
            n = len(s.recv(size // 100))
            if not n:
                break
            got += n
            time.sleep(seconds / 150)
    except OSError as error:
        got = str(error)
threads = [threading.Thread(target=knock, args=(p,)) for p in (kept, cut, cut)]
threads.append(threading.Thread(target=download))
[t.start() for t in threads]
[t.join() for t in threads]
print(json.dumps({"kept": seen[kept], "cut": seen[cut], "got": got}))
"""


def test_swap_under_load(tap_guest):
    size = 8 << 20
    with_page, other = WebServer({"/long": b"x" * size, "/": b""}), WebServer()
    allowed = [rule("allow", with_page.port), rule("allow", other.port)]
    forbidden = [rule("allow", with_page.port), rule("deny", other.port)]
    put(tap_guest, allowed)
    load = subprocess.Popen([*tap_guest.nsenter, "/usr/bin/python3", "-c", LOAD, GATEWAY,
                             str(with_page.port), str(other.port), "4", str(size)],
                            stdout=subprocess.PIPE, text=True)
    closed = []
    for _ in range(12):
        time.sleep(0.1)
        put(tap_guest, forbidden, cut=True)
        begun = time.monotonic()
        time.sleep(0.1)
        closed.append((begun, time.monotonic()))
        put(tap_guest, allowed, cut=True)
    seen = json.loads(load.communicate(timeout=30)[0])
    with_page.close()
    other.close()
    shut = [ok for begun, done, ok in seen["cut"] if any(a < begun < done < b for a, b in closed)]
    assert len(shut) > 50 and not any(shut)
    assert sum(ok for _, _, ok in seen["cut"]) > 50
    assert len(seen["kept"]) > 50 and all(ok for _, _, ok in seen["kept"])
    assert isinstance(seen["got"], int) and seen["got"] > size


def test_ten_thousand_rules(tap_guest, web):
    rules = [rule("allow", 443, to="*.host%d.example.com" % i if i % 2 else
                  "10.%d.%d.0/24" % (100 + (i >> 8), i & 255)) for i in range(9999)]
    put(tap_guest, rules + [rule("allow", web.port)])
    assert reaches(tap_guest, web.port) == "hello from the host\n"
    count = stats(tap_guest)
    assert len(count["rules"]) == 10000 and count["rules"][9999]["flows"] == 1


def test_ten_thousand_rules_in_an_indented_file(daemon, tmp_path):
    """The file is larger than a request may be; without its blanks it is not."""
    daemon.ask("POST", "/v1/vms", {"name": "vm", "policy": "none"})
    rules = [rule("allow", 443, to="*.host%d.example.com" % i) for i in range(10000)]
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"default": "deny", "rules": rules}, indent=4))
    assert path.stat().st_size > 1 << 20
    daemon.netctl("policy", "set", "vm", str(path))
    assert daemon.ask("GET", "/v1/vms/vm/policy")["rules"] == rules
