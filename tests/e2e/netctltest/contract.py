# SPDX-License-Identifier: MIT
"""ctl/api/openapi.yaml as a judge: is this answer, and was that request, as it says?"""

import json
import os
import re

import jsonschema
import yaml

from .process import ROOT

METHODS = ("get", "put", "post", "patch", "delete")


class Operation:
    """One method of one path."""

    def __init__(self, contract, method, path, document, parameters):
        self.contract = contract
        self.method = method.upper()
        self.path = path
        self.id = document["operationId"]
        self.document = document
        self.parameters = [contract.resolve(p) for p in parameters + document.get("parameters", [])]
        self.pattern = re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)) + r"$")

    def __repr__(self):
        return self.id

    def has_body(self):
        return "requestBody" in self.document

    def check_request(self, body):
        """body: the document of a request that should be good."""
        content = self.document["requestBody"]["content"]
        self.contract.check(next(iter(content.values()))["schema"], body, "%s: request" % self.id)

    def check_answer(self, response):
        """Its status, its type and its body are among those that the contract has."""
        responses = self.document["responses"]
        where = "%s: %d" % (self.id, response.status)
        assert str(response.status) in responses, "%s is not in the contract: %r" % (where, response)
        answer = self.contract.resolve(responses[str(response.status)])
        for name, header in answer.get("headers", {}).items():
            assert name in response.headers or not header.get("required"), "%s: no %s" % (where, name)
        content = answer.get("content")
        if not content:
            assert response.body == b"", "%s: a body: %r" % (where, response)
            return
        kind = response.headers["Content-Type"].split(";")[0]
        assert kind in content, "%s: of type %s" % (where, kind)
        schema = content[kind]["schema"]
        if kind == "application/x-ndjson":
            for line in response.body.splitlines():
                self.contract.check(schema, json.loads(line), where)
        elif kind.endswith("json"):
            self.contract.check(schema, response.json, where)
            if kind == "application/problem+json":
                assert response.json["status"] == response.status


class Contract:
    def __init__(self, path=os.path.join(ROOT, "ctl", "api", "openapi.yaml")):
        with open(path) as f:
            self.document = yaml.safe_load(f)
        self.validators = {}
        self.operations = [
            Operation(self, method, route, item[method], item.get("parameters", []))
            for route, item in self.document["paths"].items() for method in METHODS if method in item]

    def resolve(self, node):
        while "$ref" in node:
            at = self.document
            for name in node["$ref"].lstrip("#/").split("/"):
                at = at[name]
            node = at
        return node

    def check(self, schema, value, what):
        key = json.dumps(schema, sort_keys=True)
        if key not in self.validators:
            self.validators[key] = jsonschema.Draft202012Validator(
                dict(schema, components=self.document["components"]))
        errors = sorted(self.validators[key].iter_errors(value), key=lambda e: list(map(str, e.path)))
        assert not errors, "%s: %s: %s" % (
            what, "/".join(map(str, errors[0].absolute_path)) or "the whole", errors[0].message[:500])

    def find(self, method, path):
        """The operation of a request, or None."""
        path = path.partition("?")[0]
        return next((o for o in self.operations if o.method == method and o.pattern.match(path)), None)
