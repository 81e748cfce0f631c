# SPDX-License-Identifier: MIT
"""Each route of ctl/api/openapi.yaml, driven well and badly; each answer is as the contract says.

A route that is new in the contract needs a line in GOOD, and in BAD where it can go wrong in a way of
its own: test_each_route_is_driven says so.
"""

import copy
import glob
import json
import os
import re
import urllib.parse

import jsonschema
import pytest

from netctltest.contract import Contract
from netctltest.namespace import TapGuest
from netctltest.process import ROOT, wait_for
from netctltest.servers import WebServer

CONTRACT = Contract()
BY_ID = {operation.id: operation for operation in CONTRACT.operations}
FREE = {"listen": {"port": 0}, "to": {"port": 80}}
HOSTS = {"items": [{"name": "db.internal", "addresses": ["192.0.2.1", "2001:db8::1"]}]}
RULES = [{"action": "allow", "to": ["*.example.com", "192.0.2.0/24"], "ports": ["443", "8000-8100"],
          "proto": "tcp", "verify": "dns"}]


WEB = {"name": "web", "vsock": {"kind": "stream"}, "proxy": {"url": "socks5://user@127.0.0.1:1080"},
       "limits": {"rate_in": 10**9, "max_flows": 1000}}
MIB = 1 << 20


class World:
    """A netctld with two VMs: web has something of all, guest is one that talks."""

    def __init__(self, daemon):
        self.daemon = daemon
        daemon.ask("POST", "/v1/vms", dict(WEB, forwards=[FREE]))
        daemon.ask("PUT", "/v1/vms/web/hosts", HOSTS)
        daemon.ask("PUT", "/v1/vms/web/env", {"A": {"b": [1, None]}})
        daemon.ask("POST", "/v1/vms/web/maps", {"port": 5000, "to": {"tcp": "127.0.0.1:9"}})
        for secret in ("secrets/TOKEN", "proxy/password"):
            assert daemon.api("PUT", "/v1/vms/web/" + secret, b"x").status == 204
        self.forward = daemon.ask("GET", "/v1/vms/web/forwards")["items"][0]["id"]
        self.snapshot = daemon.ask("POST", "/v1/vms/web/snapshots", {})["id"]
        self.record = daemon.ask("GET", "/v1/snapshots/%s/export" % self.snapshot)

    def without_secrets(self):
        """What restores web, when it lacks what its snapshot names."""
        for secret in ("secrets/TOKEN", "proxy/password"):
            assert self.daemon.api("DELETE", "/v1/vms/web/" + secret).status == 204
        return {"snapshot": self.snapshot}

    def fill(self, path):
        """A path's {…} are what there is."""
        for key, value in (("{vm}", "web"), ("{id}", self.snapshot if "snapshots" in path else
                                             urllib.parse.quote(self.forward, safe="")),
                           ("{name}", "TOKEN"), ("{port}", "5000")):
            path = path.replace(key, value)
        return path


# Of each operation: (body or None, status, query) of requests that go well. A function is given the world.
GOOD = {
    "versionGet": [(None, 200)],
    "healthGet": [(None, 200)],
    "metricsGet": [(None, 200)],
    "eventsGet": [(None, 200), (None, 200, "?since=3"), (None, 200, "?follow=0")],
    "stateGet": [(None, 200)],
    "statePut": [
        (lambda w: w.daemon.ask("GET", "/v1/state"), 200),
        ({"vms": []}, 200, "?dry_run=1"),
        ({"state_version": 1, "vms": [
            {"name": "web", "vsock": {"kind": "stream"}, "policy": {"default": "deny", "rules": RULES},
             "proxy": {"url": "http://other@127.0.0.1:3128"}, "proxy_password": True,
             "secrets": ["TOKEN", "LACKING"], "forwards": [dict(FREE, handed=True)], "env": {}, "hosts": HOSTS,
             "maps": [{"port": 1, "to": {"unix": "/x"}, "handed": True}]},
            {"name": "new", "link": {"kind": "none"}, "env": {"a": 1}}]}, 200)],
    "vmsGet": [(None, 200)],
    "vmsPost": [
        ({"name": "new"}, 201),
        (WEB, 200),
        ({"name": "all", "link": {"kind": "stream", "mtu": 1500}, "vsock": {"kind": "vhost", "cid": 9},
          "net": {"subnet": "10.1.0.0/24", "mac": "52:54:00:00:00:09"}, "host_access": True, "ttl": 60,
          "dns": {"upstreams": ["192.0.2.1:53"], "search": ["x.org"]}, "policy": "open",
          "forwards": [FREE, {"listen": {"port": 0, "proto": "udp", "addr": "*"}, "to": {"port": 53}}]}, 201)],
    "vmGet": [(None, 200)],
    "vmPatch": [
        ({"ttl": 5, "dns": {"search": ["a.org"]}, "policy": {"default": "deny"}}, 200), ({}, 200),
        ({"proxy": {"no_proxy": ["a.org"]}, "limits": {"rate_in": None}, "policy": {"rules": RULES}}, 200),
        ({"policy": {"preset": "public", "rules": None}, "dns": {"search": None}}, 200),
        (dict(WEB, **dict.fromkeys(("dns", "proxy", "policy", "host_access", "limits", "ttl"))), 200)],
    "vmDelete": [(None, 204)],
    "forwardsGet": [(None, 200)],
    "forwardsPost": [
        (FREE, 201), ({"items": [FREE, {"listen": {"port": 0}, "to": {"tsi": {"bound_port": 80}}, "name": "x"}]}, 201),
        (lambda w: {k: v for k, v in w.daemon.ask("GET", "/v1/vms/web/forwards")["items"][0].items()
                    if k != "id"}, 200),
        (lambda w: {"listen": {"unix": w.daemon.runtime + "/vms/web/f.sock"}, "to": {"vsock": 7}}, 201)],
    "forwardGet": [(None, 200)],
    "forwardDelete": [(None, 204)],
    "policyGet": [(None, 200)],
    "policyPut": [("none", 200), ({"preset": "public", "rules": RULES}, 200, "?cut_existing=1")],
    "policyStats": [(None, 200)],
    "policyCheck": [({"to": "192.0.2.1", "port": 443}, 200), ({"to": "a.example.com", "port": 80, "proto": "udp"}, 200),
                    ({"to": "192.0.2.1", "port": 443, "name": "a.example.com"}, 200), ({"to": "::1", "proto": "icmp"}, 200)],
    "hostsGet": [(None, 200)],
    "hostsPut": [(HOSTS, 200), ({"items": []}, 200)],
    "envGet": [(None, 200)],
    "envPut": [({"x": {"y": [1.5, "z", None]}}, 200)],
    "envPatch": [({"x": None, "w": 1}, 200)],
    "secretsGet": [(None, 200)],
    "secretPut": [(b"\x00\xff bytes", 204)],
    "secretDelete": [(None, 204)],
    "proxyPasswordPut": [(b"word", 204)],
    "proxyPasswordDelete": [(None, 204)],
    "mapsGet": [(None, 200)],
    "mapsPost": [({"port": 5001, "to": {"tcp": "[::1]:9"}}, 201), ({"port": 5000, "to": {"tcp": "127.0.0.1:9"}}, 200),
                 (lambda w: {"port": 5002, "to": {"unix": w.daemon.runtime + "/vms/web/m"}}, 201)],
    "mapDelete": [(None, 204)],
    "listenersGet": [(None, 200)],
    "vmReset": [(None, 204)],
    "vmRestore": [(lambda w: {"snapshot": w.snapshot}, 200), (lambda w: {"snapshot": w.snapshot, "require_secrets": True}, 200),
                  (lambda w: w.without_secrets(), 200)],
    "vmSnapshotsGet": [(None, 200)],
    "vmSnapshotsPost": [(None, 201), ({"name": "nightly", "require_idle": True}, 201)],
    "snapshotsGet": [(None, 200)],
    "snapshotsPost": [(lambda w: w.record, 200)],
    "snapshotGet": [(None, 200), (None, 200, "?export=1")],
    "snapshotDelete": [(None, 204)],
    "snapshotExport": [(None, 200)],
    "statsGet": [(None, 200)],
    "flowsGet": [(None, 200), (None, 200, "?limit=1")],
}

# And of requests that do not, beside what every route is asked: see each_way_of_going_wrong().
BAD = {
    "eventsGet": [(None, 400, "?since=x"), (None, 400, "?follow=2")],
    "statePut": [({}, 400), ({"vms": [{"name": "UP"}]}, 400), ({"vms": []}, 400, "?dry_run=x"),
                 ({"vms": [{"name": "web", "net": {"subnet": "10.7.0.0/24"}}]}, 409),
                 ({"vms": [{"name": "q", "secrets": ["S"]}]}, 409, "?require_secrets=1"),
                 (lambda w: {"vms": [dict(vm, env={"x": "y" * (1 << 20)})
                                     for vm in w.daemon.ask("GET", "/v1/state")["vms"]]}, 413)],
    "vmsPost": [({"name": "web"}, 409), ({"name": "x", "net": {"subnet": "1"}}, 400), ({}, 400),
                ({"name": "x", "policy": {"default": "x"}}, 400)],
    "vmPatch": [({"name": "x"}, 409), ({"net": {"subnet": "10.5.0.0/24"}}, 409), ({"ttl": -1}, 400)],
    "forwardsPost": [(dict(FREE, to={}), 400), ({"items": 1}, 400),
                     ({"listen": {"unix": "/x"}, "to": {"port": 1}}, 400),
                     (lambda w: {"listen": {"port": int(w.forward.rpartition(":")[2])}, "to": {"port": 9}}, 409)],
    "policyPut": [("x", 400), ({"default": "deny", "rules": [{}]}, 400), ("none", 400, "?cut_existing=x")],
    "policyCheck": [({"to": ""}, 400), ({"to": "1.1.1.1", "port": 70000}, 400)],
    "hostsPut": [({"items": [{"name": "a"}]}, 400), ({}, 400)],
    "envPut": [([], 400), ("x", 400)],
    "envPatch": [([], 400)],
    "secretPut": [(b"", 400), (b"x" * 70000, 413)],
    "proxyPasswordPut": [(b"", 400), (b"a\0b", 400)],
    "mapsPost": [({"port": 620, "to": {"tcp": "127.0.0.1:9"}}, 400), ({"port": 5000, "to": {"tcp": "127.0.0.1:8"}}, 409)],
    "vmRestore": [({"snapshot": "0" * 16}, 404), ({}, 400)],
    "vmSnapshotsPost": [({"name": "A"}, 400)],
    "snapshotsPost": [({"record_version": 1}, 400),
                      (lambda w: dict(w.record, vm="other"), 400), (lambda w: dict(w.record, record_version=9), 400)],
    "snapshotGet": [(None, 400, "?export=x")],
    "flowsGet": [(None, 400, "?limit=0"), (None, 400, "?limit=x")],
}


@pytest.fixture
def world(daemon):
    return World(daemon)


def drive(world, operation, body, status, query="", path=None):
    path = (path or world.fill(operation.path)) + query
    response = world.daemon.api(operation.method, path, body)
    assert response.status == status, "%s %s %r: %r" % (operation.method, path, body, response)
    operation.check_answer(response)
    return response


def made(world, body):
    return body(world) if callable(body) else body


def test_each_route_is_driven():
    assert set(BY_ID) == set(GOOD)
    assert set(BAD) <= set(BY_ID)
    assert len(BY_ID) == len(CONTRACT.operations), "an operationId is there twice"


@pytest.mark.parametrize("operation", CONTRACT.operations, ids=repr)
def test_good(world, operation):
    """It answers with success, and as the contract says; so was what it was sent."""
    for body, status, *query in GOOD[operation.id]:
        body = made(world, body)
        if operation.has_body() and body is not None and not isinstance(body, bytes):
            operation.check_request(body)
        drive(world, operation, body, status, *query)


def each_way_of_going_wrong(operation):
    """What every route of its kind is asked."""
    path = operation.path
    if "{vm}" in path and operation.id != "vmSnapshotsGet":
        good = GOOD[operation.id][0][0]
        yield None if callable(good) else good, 404, path.replace("{vm}", "nobody")
    if path.endswith("{id}"):
        yield None, 404, path.replace("{id}", "0000000000000000")
    if path.endswith("{port}"):
        yield None, 404, path.replace("{port}", "77")
    if path.endswith("{name}") and operation.method == "DELETE":
        yield None, 404, path.replace("{name}", "LACKING")
    if operation.has_body() and "application/octet-stream" not in operation.document["requestBody"]["content"]:
        yield b"{", 400, path
        yield b"\xff", 400, path
        if operation.id not in ("envPut", "envPatch", "snapshotsPost"):
            yield {"no_such_field": 1}, 400, path
    if operation.has_body() and operation.id != "statePut":  # whose bodies are of 16 MiB, see BAD
        yield b'"' + b"x" * MIB + b'"', 413, path


@pytest.mark.parametrize("operation", CONTRACT.operations, ids=repr)
def test_bad(world, operation):
    """A problem document, as the contract says; and nothing has changed."""
    before = world.daemon.ask("GET", "/v1/state")
    for body, status, *query in BAD.get(operation.id, []):
        response = drive(world, operation, made(world, body), status, *query)
        assert response.json["detail"]
    for body, status, path in each_way_of_going_wrong(operation):
        if operation.has_body() and status == 404 and body is None:
            body = {}
        response = drive(world, operation, body, status, path=world.fill(path))
        assert response.json["detail"]
    assert world.daemon.ask("GET", "/v1/state") == before


@pytest.mark.parametrize("operation", CONTRACT.operations, ids=repr)
def test_other_methods(world, operation):
    """405 with Allow, whose methods are those of the contract."""
    allowed = {o.method for o in CONTRACT.operations if o.path == operation.path}
    for method in ({"GET", "PUT", "POST", "PATCH", "DELETE"} - allowed):
        response = world.daemon.api(method, world.fill(operation.path))
        assert response.status == 405 and response.json["status"] == 405
        assert set(response.headers["Allow"].split(", ")) == allowed
    if "GET" in allowed and operation.id != "eventsGet":
        head = world.daemon.api("HEAD", world.fill(operation.path))
        assert head.status == 200 and head.body == b""


def test_with_a_guest_that_talks(daemon):
    """Leases, flows, counters, refusals: documents that are not empty."""
    guest, web = TapGuest(daemon), WebServer()
    try:
        answer = guest.run("curl -sf -m 5 http://%s:%d/ >/dev/null; curl -s -m 1 http://192.0.2.1:1/ || true"
                           % (guest.gateway, web.port))
        assert answer[0] == 0, answer
        daemon.ask("PUT", "/v1/vms/guest/policy", {"default": "deny", "rules": RULES})
        guest.run("curl -s -m 1 http://198.51.100.7/")
        guest.popen(["socat", "TCP4:%s:%d" % (guest.gateway, web.port), "EXEC:sleep 30"])
        wait_for(lambda: daemon.ask("GET", "/v1/vms/guest/flows")["items"], 5, "a flow")
        wait_for(lambda: b"flow.refused" in daemon.api("GET", "/v1/events").body, 5, "a refusal")
        for path in ("", "/flows", "/stats", "/policy/stats", "/listeners"):
            path = "/v1/vms/guest" + path
            CONTRACT.find("GET", path).check_answer(daemon.api("GET", path))
        for path in ("/v1/events", "/metrics", "/v1/vms", "/v1/state"):
            CONTRACT.find("GET", path).check_answer(daemon.api("GET", path))
    finally:
        guest.close()
        web.close()


# --- the judge -----------------------------------------------------------------------------------

def test_the_contract_is_openapi_3_1():
    """Its schemas are schemas, every $ref leads somewhere, every path parameter is declared."""
    document = CONTRACT.document
    assert document["openapi"].startswith("3.1.")
    for name, schema in document["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)

    def walk(node):
        if isinstance(node, dict):
            if "$ref" in node:
                CONTRACT.resolve(node)
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(document)
    for operation in CONTRACT.operations:
        declared = {p["name"] for p in operation.parameters if p["in"] == "path"}
        assert declared == {part[1:-1] for part in operation.path.split("/") if part.startswith("{")}
        assert operation.document["summary"] and operation.document["responses"]


def test_events_are_those_of_the_contract():
    """Each type that the source tells of, seldom ones too."""
    told = set()
    for path in glob.glob(os.path.join(ROOT, "ctl", "**", "*.c"), recursive=True):
        with open(path) as f:
            for call in re.findall(r"\b(?:vm_event|events_add)\(([^;]*);", f.read()):
                told |= set(re.findall(r'"([a-z]+\.[a-z_]+)"', call))
    assert len(told) > 20
    event = CONTRACT.document["components"]["schemas"]["Event"]
    types = event["properties"]["type"]["enum"]
    assert told <= set(types)
    assert len(types) == len(set(types)), "a type is there twice"


def test_no_object_is_open():
    """Or the judge would pass what the contract does not know: each schema that has properties says that
    these are all, but for the parts of an allOf, whose whole says so."""
    schemas = CONTRACT.document["components"]["schemas"]

    def walk(node, where, part):
        if isinstance(node, list):
            for i, item in enumerate(node):
                walk(item, "%s[%d]" % (where, i), part)
        elif isinstance(node, dict):
            if "allOf" in node:
                assert part or node.get("unevaluatedProperties") is False, where
                parts.update(item["$ref"].rpartition("/")[2] for item in node["allOf"] if "$ref" in item)
            elif isinstance(node.get("properties"), dict) and not part:
                assert node.get("additionalProperties") is False, where
            for key, value in node.items():
                walk(value, where + "/" + key, key == "allOf")

    parts = set()
    walk([schema for schema in schemas.values() if "allOf" in schema], "schemas", False)
    walk(CONTRACT.document["paths"], "paths", False)
    walk(CONTRACT.document["components"]["responses"], "responses", False)
    for name, schema in schemas.items():
        walk(schema, name, name in parts)


@pytest.mark.parametrize("path, edit", [
    ("/v1/vms", lambda d: d["items"][0].pop("state")),
    ("/v1/vms", lambda d: d["items"][0].update(state="fine")),
    ("/v1/vms", lambda d: d["items"][0].update(colour=1)),
    ("/v1/vms", lambda d: d["items"][0]["proxy"].update(colour=1)),
    ("/v1/vms", lambda d: d["items"][0]["vsock"].update(colour=1)),
    ("/v1/snapshots", lambda d: d["items"][0].update(colour=1)),
    ("/v1/vms/web/forwards", lambda d: d["items"][0].update(colour=1)),
    ("/v1/vms/web/forwards", lambda d: d["items"][0]["to"].update(port=0)),
    ("/v1/vms/web/maps", lambda d: d["items"][0].update(port="5000")),
    ("/v1/state", lambda d: d["vms"][0].update(colour=1)),
    ("/v1/state", lambda d: d["vms"][0]["forwards"][0].update(colour=1)),
    ("/v1/state", lambda d: d["vms"][0]["maps"][0].update(colour=1)),
    ("/v1/state", lambda d: d.update(state_version=2)),
    ("/v1/vms/web/policy", lambda d: d.update(rules=[{}])),
])
def test_the_judge_sees_what_is_wrong(world, path, edit):
    """An answer that is a little other than the contract is refused."""
    operation = CONTRACT.find("GET", path)
    response = world.daemon.api("GET", path)
    operation.check_answer(response)
    document = copy.deepcopy(response.json)
    edit(document)
    response.body = json.dumps(document).encode()
    with pytest.raises(AssertionError):
        operation.check_answer(response)


@pytest.mark.parametrize("patch", [{"forwards": []}, {"ttl": "5"}, {"proxy": {"colour": 1}}, {"dns": []}])
def test_the_judge_knows_what_may_be_patched(world, patch):
    """As netctld does."""
    assert world.daemon.api("PATCH", "/v1/vms/web", patch).status == 400
    with pytest.raises(AssertionError):
        BY_ID["vmPatch"].check_request(patch)


def test_the_judge_knows_statuses_and_types(world):
    operation = BY_ID["vmGet"]
    response = world.daemon.api("GET", "/v1/vms/web")
    response.status = 418
    with pytest.raises(AssertionError):
        operation.check_answer(response)
    response = world.daemon.api("GET", "/v1/vms/nobody")
    response.headers.replace_header("Content-Type", "application/json")
    with pytest.raises(AssertionError):
        operation.check_answer(response)
    assert CONTRACT.find("GET", "/v1/nothing") is None
