# SPDX-License-Identifier: MIT
"""The dashboard in a real browser: what it shows, what a click does, and who gets nothing."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import tempfile
import time

import pytest

from netctltest.browser import Browser, ScriptError
from netctltest.namespace import TapGuest
from netctltest.process import SLOW, Process, wait_for
from netctltest.servers import DnsServer, WebServer, loopback
from netctltest.world import World

GATEWAY = "10.0.2.2"
CLOSED = {"default": "deny", "rules": [{"action": "deny", "to": [GATEWAY]}]}
LIVE = "document.querySelector('#state').innerText === 'Live'"
ROW = "[...document.querySelectorAll('#refusals-list li')].find((li) => li.innerText.includes('%s'))"


class Dashboard:
    """netctl dashboard, running."""

    started = 0

    def __init__(self, daemon, *args):
        Dashboard.started += 1
        self.process = Process("dashboard.%d" % self.started, daemon.netctl_argv("dashboard", *args), daemon.directory,
                               env=daemon.env)
        self.link = wait_for(self._link, 10, "a link")
        self.port = int(re.match(r"http://127\.0\.0\.1:(\d+)/\?link=[0-9a-f]{48}$", self.link).group(1))
        self.host = "127.0.0.1:%d" % self.port

    def _link(self):
        lines = re.findall(r"^(http://.*)\n", self.process.log(), re.M)
        assert self.process.running(), self.process.log()
        return lines[-1] if lines else None

    def ask(self, method, uri, body=None, **headers):
        """A request with just these headers. Returns (status, body, headers)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10 * SLOW)
        connection.putrequest(method, uri, skip_host=True, skip_accept_encoding=True)
        headers.setdefault("Host", self.host)
        for name, value in headers.items():
            for one in value if isinstance(value, list) else [value]:
                connection.putheader(name.replace("_", "-"), one)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        result = answer.status, answer.read().decode(), answer.headers
        connection.close()
        return result

    def session(self):
        """What the page would do with the link."""
        status, text, _ = self.ask("POST", "/session", self.link.partition("=")[2].encode(),
                                   Origin="http://" + self.host)
        assert status == 200, (status, text)
        return json.loads(text)["session"]


@pytest.fixture
def dashboard(daemon):
    it = Dashboard(daemon)
    yield it
    it.process.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not shutil.which("chromium"):
        pytest.fail("no chromium: packaging/deps test")
    # A name that an attacker made to lead here.
    it = Browser(str(tmp_path_factory.mktemp("browser")), "--host-resolver-rules=MAP evil.example 127.0.0.1")
    yield it
    it.close()


@pytest.fixture
def tab(browser, dashboard):
    it = browser.tab()
    assert it.open(dashboard.link) is None
    it.wait(LIVE)
    yield it
    it.close()


def knock(guest, port, seconds=5):
    return guest.run("curl -s --max-time %d http://%s:%d/" % (seconds, GATEWAY, port))[1]


def rules(daemon, name="web"):
    return daemon.ask("GET", "/v1/vms/%s/policy" % name)["rules"]


# ---- what it is for ------------------------------------------------------------------------------

def test_refusal_appears_and_one_click_admits_it(daemon, guests, web, tab):
    guest = guests.add(TapGuest(daemon, "web", policy=CLOSED))

    def appears(port):
        began = time.monotonic()
        assert knock(guest, port) == ""
        assert "by rule 0" in tab.wait((ROW % ("%s:%d" % (GATEWAY, port))) + ".innerText", 5)
        return time.monotonic() - began
    # A busy machine delays some.
    took = [appears(port) for port in (1, 2, web.port)]
    assert min(took) < 1, took
    row = ROW % ("%s:%d" % (GATEWAY, web.port))
    assert tab.run(row + ".querySelector('button').innerText") == "Allow %s, tcp port %d" % (GATEWAY, web.port)
    tab.run(row + ".querySelector('button').id = 'it'")
    tab.click("#it")
    tab.wait(row + ".className === 'allowed'")
    assert "is the first rule of web’s policy now" in tab.run(row + ".innerText")
    assert rules(daemon) == [{"action": "allow", "to": [GATEWAY], "ports": [str(web.port)], "proto": "tcp"},
                             *CLOSED["rules"]]
    assert knock(guest, web.port) == "hello from the host\n"


def test_click_can_be_undone(daemon, guests, web, tab):
    guest = guests.add(TapGuest(daemon, "web", policy=CLOSED))
    knock(guest, web.port)
    tab.wait(ROW % web.port)
    tab.click("#refusals-list button")
    tab.wait("document.querySelector('button.undo')")
    tab.click("#refusals-list button.undo")
    tab.wait("document.querySelector('li.open button.allow')")
    assert rules(daemon) == CLOSED["rules"]
    assert knock(guest, web.port) == ""


def test_preset_becomes_a_document_with_the_rule(daemon, guests, tab):
    guest = guests.add(TapGuest(daemon, "web", policy="none", host_access=False))
    guest.run("ping -c 1 -W 1 192.0.2.7")
    tab.wait(ROW % "192.0.2.7")
    tab.click("#refusals-list button")
    tab.wait("document.querySelector('li.allowed')")
    assert daemon.ask("GET", "/v1/vms/web/policy") == {
        "preset": "none", "rules": [{"action": "allow", "to": ["192.0.2.7"], "proto": "icmp"}]}
    # No rule would help here.
    knock(guest, 1)
    tab.wait(ROW % "host_access")
    assert tab.run("(%s).querySelector('button')" % (ROW % "host_access")) is None


def test_keyboard_alone_will_do(daemon, guests, web, tab):
    guest = guests.add(TapGuest(daemon, "web", policy=CLOSED))
    knock(guest, web.port)
    tab.wait(ROW % web.port)
    for _ in range(20):
        tab.key("Tab", 9)
        if tab.run("document.activeElement.matches('button.allow')"):
            break
    tab.key("Enter", 13, "\r")
    tab.wait("document.querySelector('li.allowed')")
    tab.key("/", 191, "/")
    assert tab.run("document.activeElement.id") == "filter"
    assert knock(guest, web.port) == "hello from the host\n"


def test_error_is_shown(daemon, guests, tab):
    guest = guests.add(TapGuest(daemon, "web", policy=CLOSED))
    knock(guest, 1)
    tab.wait(ROW % (GATEWAY + ":1"))
    daemon.ask("DELETE", "/v1/vms/web")
    tab.click("#refusals-list button")
    assert "Not allowed: VM web is unknown" in tab.wait("document.querySelector('.said.bad').innerText")
    assert not tab.run("document.querySelector('li.allowed')")


def test_flows_and_throughput_are_shown(daemon, guests, tab):
    guest = guests.add(TapGuest(daemon, "web"))
    server = WebServer({"/": b"x" * (64 << 20)})
    client = guest.popen("exec curl -s --limit-rate 2M http://%s:%d/ >/dev/null" % (GATEWAY, server.port))
    tab.wait("document.querySelector('#flows-body').innerText.includes('%s:%d')" % (GATEWAY, server.port))
    tab.wait("/Mb\\/s/.test(document.querySelector('#rate-down').innerText)")
    tab.wait("/Mb\\/s/.test(document.querySelector('#flows-body').innerText)")
    assert "1 flow" in tab.text(".vm")
    client.stop()
    server.close()
    tab.wait("document.querySelector('#flows-none').checkVisibility()")


def test_nothing_moves_under_the_pointer(daemon, guests, tab):
    guest = guests.add(TapGuest(daemon, "web", policy=CLOSED))
    knock(guest, 1)
    tab.wait(ROW % (GATEWAY + ":1"))
    box = tab.run("(({x, y}) => ({x: x + 5, y: y + 5}))"
                  "(document.querySelector('#refusals-list li').getBoundingClientRect())")
    tab.point(**box)
    knock(guest, 2)
    tab.wait(ROW % (GATEWAY + ":2"))
    first = "document.querySelector('#refusals-list li').innerText.includes('%s:%d')"
    assert tab.run(first % (GATEWAY, 1))
    tab.point(5, 5)
    tab.wait(first % (GATEWAY, 2))


# ---- names ---------------------------------------------------------------------------------------

RESOLVER, API = "203.0.113.53", "203.0.113.80"
ZONE = """$ORIGIN example.com.
$TTL 300
@   IN SOA ns root 1 3600 600 86400 60
@   IN NS ns
ns  IN A %s
api IN A %s
""" % (RESOLVER, API)


@pytest.fixture(scope="module")
def world():
    if os.geteuid() != 0:
        pytest.skip("unbound wants to be root")
    with tempfile.TemporaryDirectory(prefix="nctw.") as directory:
        it = World(directory, [RESOLVER, API])
        try:
            it.unbound(RESOLVER, {"example.com": ZONE})
            it.nginx()
            yield it
        finally:
            it.close()


@pytest.fixture
def named(world, browser):
    """(make a guest with these settings of its DNS, the page), of a netctld among real servers."""
    daemon = world.daemon()
    made = []

    def guest(**dns):
        made.append(TapGuest(daemon, "web", host_access=False, dns=dict(dns, upstreams=[RESOLVER]), policy={
            "default": "deny", "rules": [{"action": "allow", "to": ["other.example.com"]}]}))
        return made[0]
    try:
        daemon.start()
        dashboard = Dashboard(daemon)
        tab = browser.tab()
        tab.open(dashboard.link)
        tab.wait(LIVE)
        yield guest, tab
        tab.close()
        dashboard.process.stop()
    finally:
        for one in made:
            one.close()
        daemon.stop()
        daemon.cleanup()


def fetch(guest, name="api.example.com"):
    return guest.run("curl -s --max-time 10 --connect-to %s:80:$(dig @%s +short +tries=1 %s):80 http://%s/"
                     % (name, GATEWAY, name, name))[1]


def test_refusal_with_a_name_is_admitted_by_it(named):
    make, tab = named
    guest = make(unlisted="answer")
    assert fetch(guest) == ""
    tab.wait(ROW % "api.example.com:80")
    tab.click("#refusals-list button")
    tab.wait("document.querySelector('li.allowed')")
    assert rules(guest.daemon)[0] == {"action": "allow", "to": ["api.example.com"], "ports": ["80"], "proto": "tcp"}
    assert fetch(guest) == "api.example.com at %s\n" % API


def test_name_that_was_not_answered(named):
    make, tab = named
    guest = make()
    assert fetch(guest) == ""
    tab.wait(ROW % "DNS query")
    assert "Allow api.example.com, tcp port 443" in tab.text("#refusals-list")
    tab.click("#refusals-list button")
    tab.wait("document.querySelector('li.allowed')")
    assert fetch(guest) == ""
    tab.wait(ROW % "api.example.com:80")
    tab.run("document.activeElement.blur()")
    tab.click("#refusals-list button.allow")
    tab.wait("document.querySelectorAll('li.allowed').length === 2")
    assert fetch(guest) == "api.example.com at %s\n" % API


# ---- what guests write ---------------------------------------------------------------------------

def test_guests_names_are_text_and_never_more_than_a_host(tab):
    told = """refused({id: 1, time: new Date().toISOString(), vm: 'web', type: 'flow.refused', data: {
        proto: 'tcp', to: '192.0.2.7', port: 443, by: 'default', rule: null, count: 1, name: %s}})"""
    for name in ("<img src=x onerror=document.title=1>", "\u202egpj.exe", "*.com", "10.0.0.0", "a..b", "any"):
        tab.run(told % json.dumps(name))
    tab.wait("document.querySelectorAll('#refusals-list li').length === 6")
    text = tab.text("#refusals-list")
    assert "<img src=x onerror=document.title=1>" in text and "\\u{202e}gpj.exe" in text
    assert tab.run("document.querySelector('#refusals-list img')") is None
    assert text.count("Allow 192.0.2.7, tcp port 443") == 5 and "Allow any, tcp port 443" in text
    with pytest.raises(ScriptError, match="TrustedHTML"):
        tab.run("document.querySelector('h1').innerHTML = '<b>'")
    rule = "JSON.stringify(ruleOf({vm: 'web', proto: '%s', port: 443, to: '192.0.2.7', name: '%s'}))"
    assert json.loads(tab.run(rule % ("tcp", "api.example.com"))) == {
        "action": "allow", "to": ["api.example.com"], "ports": ["443"], "proto": "tcp"}
    assert json.loads(tab.run(rule % ("udp", "api.example.com"))) is None


# ---- who gets nothing ----------------------------------------------------------------------------

def test_other_hosts_and_origins_get_nothing(dashboard):
    link = "/" + dashboard.link.partition("/?")[1][1:] + dashboard.link.partition("/?")[2]
    ours = "http://" + dashboard.host
    for headers in ({"Host": "localhost:%d" % dashboard.port}, {"Host": "evil.example"}, {"Host": []},
                    {"Host": [dashboard.host, dashboard.host]}, {"Origin": "http://evil.example"},
                    {"Origin": "null"}, {"Origin": [ours, ours]}, {"Sec_Fetch_Site": "cross-site"},
                    {"Sec_Fetch_Site": "same-site"}):
        status, text, _ = dashboard.ask("GET", link, **headers)
        assert (status, text) == (403, ""), headers
    status, text, _ = dashboard.ask("GET", dashboard.link)
    assert (status, text) == (403, "")
    for method in ("HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE", "PUT", "POST"):
        status, text, headers = dashboard.ask(method, link)
        assert (status, text) == (403, "") and "Access-Control-Allow-Origin" not in headers
    secret = dashboard.link.partition("=")[2].encode()
    for origin in (None, "null", "http://evil.example", "http://127.0.0.1:1"):
        headers = {"Origin": origin} if origin else {}
        assert dashboard.ask("POST", "/session", secret, **headers)[:2] == (403, "")
    # None of that used the link up.
    status, text, headers = dashboard.ask("GET", link)
    assert status == 200 and "<title>netctl</title>" in text
    assert headers["Cache-Control"] == "no-store" and headers["X-Frame-Options"] == "DENY"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
    assert "HttpOnly; SameSite=Strict" in headers["Set-Cookie"]


def test_missing_and_used_secrets_get_nothing(dashboard):
    ours = "http://" + dashboard.host
    assert dashboard.ask("GET", "/")[0] == 403
    assert dashboard.ask("GET", "/page.js")[:2] == (403, "")
    assert dashboard.ask("GET", "/?link=" + "0" * 48)[0] == 403
    assert dashboard.ask("GET", "/v1/vms")[:2] == (403, "")
    assert dashboard.ask("POST", "/session", b"0" * 48, Origin=ours)[0] == 403
    session = dashboard.session()
    uri = dashboard.link.partition(str(dashboard.port))[2]
    status, text, _ = dashboard.ask("GET", uri)
    assert status == 403 and "used before" in text
    assert dashboard.ask("POST", "/session", uri.partition("=")[2].encode(), Origin=ours)[:2] == (403, "")
    assert dashboard.ask("GET", "/v1/vms", Authorization="Bearer " + "0" * 48)[:2] == (403, "")
    bearer = {"Authorization": "Bearer " + session}
    status, text, headers = dashboard.ask("GET", "/v1/vms", **bearer)
    assert status == 200 and json.loads(text) == {"items": []} and headers["Cache-Control"] == "no-store"
    for method, uri in (("GET", "/v1/snapshots"), ("GET", "/v1/vms/web/env"), ("GET", "/metrics"),
                        ("POST", "/v1/vms"), ("DELETE", "/v1/vms/web"), ("GET", "/v1/vms/../vms")):
        assert dashboard.ask(method, uri, Origin=ours, **bearer)[:2] == (403, ""), uri
    assert dashboard.ask("PUT", "/v1/vms/web/policy", b'"open"', **bearer)[:2] == (403, "")
    status, text, _ = dashboard.ask("PUT", "/v1/vms/web/policy", b'"open"', Origin=ours, **bearer)
    assert status == 404 and json.loads(text)["detail"] == "VM web is unknown"


def test_policy_of_the_page_is_put_upon_the_one_it_read(daemon, dashboard):
    daemon.ask("POST", "/v1/vms", {"name": "web", "policy": "none"})
    more = {"Authorization": "Bearer " + dashboard.session(), "Origin": "http://" + dashboard.host}
    uri = "/v1/vms/web/policy"
    tag = dashboard.ask("GET", uri, **more)[2]["ETag"]
    daemon.ask("PUT", uri, "public")
    for old in (tag, "W/" + tag, "junk", '"00" x'):
        assert dashboard.ask("PUT", uri, b'"open"', If_Match=old, **more)[0] == 412, old
    assert daemon.ask("GET", uri)["preset"] == "public"
    tag = dashboard.ask("GET", uri, **more)[2]["ETag"]
    assert dashboard.ask("PUT", uri, b'"open"', If_Match=tag, **more)[0] == 200


def test_another_page_of_the_browser_gets_nothing(browser, dashboard, tab):
    there = WebServer({"/": b"<!doctype html><title>evil</title>"})
    evil = browser.tab()
    evil.open("http://127.0.0.1:%d/" % there.port)
    for uri in ("/", "/page.js", "/v1/vms", dashboard.link.partition(str(dashboard.port))[2]):
        for mode in ("cors", "no-cors"):
            with pytest.raises(ScriptError, match="Failed to fetch"):
                evil.run("fetch('http://%s%s', {mode: '%s', credentials: 'include'})" % (
                    dashboard.host, uri, mode))
    for make in ("Object.assign(document.createElement('script'), {src: '%s'})",
                 "Object.assign(document.createElement('img'), {src: '%s'})"):
        assert evil.run("new Promise((done) => { const it = %s; it.onload = () => done('loaded');"
                        " it.onerror = () => done('refused'); document.head.append(it); })" % (
                            make % ("http://%s/page.js" % dashboard.host))) == "refused"
    # A name that leads here does not make it the page's origin.
    evil.open("http://evil.example:%d/" % dashboard.port)
    assert "HTTP ERROR 403" in evil.wait("document.body.innerText")
    evil.close()
    there.close()
    tab.wait(LIVE)


# ---- its life ------------------------------------------------------------------------------------

def test_link_is_for_one_tab(browser, dashboard, tab):
    assert tab.run("location.href") == "http://%s/" % dashboard.host
    tab.reload()
    tab.wait(LIVE)
    other = browser.tab()
    other.open(dashboard.link)
    assert "used before" in other.wait("document.body.innerText")
    other.open("http://%s/" % dashboard.host)
    assert "lives in the tab" in other.wait("document.querySelector('#banner').innerText")
    other.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_page_ends_with_the_command(daemon, dashboard, tab, number):
    dashboard.process.signal(number)
    assert dashboard.process.wait(5) == 0
    tab.wait("document.querySelector('#banner').innerText.includes('dashboard has ended')")
    assert tab.run("sessionStorage.length") == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", dashboard.port), 5)


def test_session_dies_with_the_command(daemon, dashboard):
    session = dashboard.session()
    dashboard.process.stop()
    again = Dashboard(daemon, "--port", str(dashboard.port))
    assert again.port == dashboard.port
    assert again.ask("GET", "/v1/vms", Authorization="Bearer " + session)[:2] == (403, "")
    again.session()
    assert again.ask("GET", "/v1/vms", Authorization="Bearer " + session)[:2] == (403, "")
    again.process.stop()


def test_page_outlives_the_daemon(daemon, tab):
    daemon.ask("POST", "/v1/vms", {"name": "a"})
    tab.wait("document.querySelector('#vms').innerText.includes('a')")
    daemon.kill()
    tab.wait("document.querySelector('#banner').innerText.includes('netctld does not answer')")
    daemon.start()
    daemon.ask("POST", "/v1/vms", {"name": "b"})
    tab.wait(LIVE + " && document.querySelectorAll('.vm').length === 2")


def stream(dashboard, session):
    """A connection that follows the events."""
    reader = socket.create_connection(("127.0.0.1", dashboard.port), 5)
    reader.sendall(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n"
                   % (dashboard.host.encode(), session.encode()))
    assert reader.recv(12) == b"HTTP/1.1 200"
    return reader


def test_idle_connections_do_not_push_the_page_out(daemon, dashboard):
    reader = stream(dashboard, dashboard.session())
    idle = [socket.create_connection(("127.0.0.1", dashboard.port), 5) for _ in range(300)]
    for one in idle[:150]:
        try:
            one.send(b"GET / HTTP/1.1\r\nHost: ")
        except ConnectionError:
            pass
    daemon.ask("POST", "/v1/vms", {"name": "late"})
    text = b""
    while b"vm.created" not in text:
        more = reader.recv(4096)
        assert more, "the stream was cut: %r" % text
        text += more
    assert len(os.listdir("/proc/%d/fd" % dashboard.process.pid)) < 64 + 32
    for one in [reader, *idle]:
        one.close()


def test_stream_ends_with_its_reader(daemon, dashboard):
    fds = "/proc/%d/fd" % dashboard.process.pid
    before = len(os.listdir(fds))
    session = dashboard.session()
    wait_for(lambda: len(os.listdir(fds)) == before, 5, "an end of the connection")
    for closing in (socket.SHUT_RDWR, None):
        reader = stream(dashboard, session)
        assert len(os.listdir(fds)) == before + 2
        if closing is not None:
            reader.shutdown(closing)
        reader.close()
        wait_for(lambda: len(os.listdir(fds)) == before, 5, "an end of the stream")


def test_bad_command_lines(daemon, dashboard):
    for port in ("0", "65536", "x", "-1", "1 "):
        assert "1 to 65535" in daemon.fails("dashboard", "--port", port)
    text = daemon.fails("dashboard", "--port", str(dashboard.port))
    assert "127.0.0.1:%d: address" % dashboard.port in text and len(text.splitlines()) == 1


# ---- the README's picture ------------------------------------------------------------------------

# Sends at a pace that goes up and down, on one connection after the other.
PACE = """
import math, socket, sys, threading, time
def send(s, rate):
    began = time.monotonic()
    try:
        while True:
            t = time.monotonic() - began
            s.sendall(bytes(int(rate / 20 * (1.4 + math.sin(t / 9) + .4 * math.sin(t / 2.3)))))
            time.sleep(.05)
    except OSError:
        pass
def both(s, rate):
    threading.Thread(target=send, args=(s, rate), daemon=True).start()
    while s.recv(1 << 20):
        pass
addr, port, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
if addr:
    both(socket.create_connection((addr, port)), rate)
else:
    server = socket.create_server(("127.0.0.1", port))
    while True:
        threading.Thread(target=both, args=(server.accept()[0], rate), daemon=True).start()
"""


@pytest.mark.skipif("NETCTL_SCREENSHOT" not in os.environ,
                    reason="NETCTL_SCREENSHOT=docs/dashboard.png makes the picture")
def test_screenshot(daemon, guests, tab):
    def pace(*words):
        return ["/usr/bin/python3", "-c", PACE, *map(str, words)]
    server = Process("pace", pace("", 8443, 400e3), daemon.directory)
    resolver = DnsServer({("packages.example.org", 1): ["203.0.113.44"], ("api.example.com", 1): ["203.0.113.80"]},
                         addr=loopback(0), port=53)
    ours = {"action": "allow", "to": [GATEWAY], "ports": ["8443"]}
    dns = {"upstreams": [resolver.addr]}
    build = guests.add(TapGuest(daemon, "build-17", dns=dns, policy={"default": "deny", "rules": [ours]}))
    agent = guests.add(TapGuest(daemon, "agent", dns=dns, policy={"default": "deny", "rules": [
        ours, {"action": "allow", "to": ["*.example.com"], "ports": ["443"]}]}))
    daemon.ask("POST", "/v1/vms", {"name": "spare"})
    tab.size(1280, 900, 1.5)
    build.popen(pace(GATEWAY, 8443, 150e3))
    time.sleep(40)
    agent.popen(pace(GATEWAY, 8443, 60e3))
    time.sleep(40)
    build.popen(pace(GATEWAY, 8443, 250e3))
    time.sleep(37)
    ask = "dig @%s +short +tries=1 %%s; " % GATEWAY
    build.run("curl -s -m 1 http://192.0.2.80:22/")
    agent.run(ask % "api.example.com" + "curl -s -m 1 http://203.0.113.80/")
    build.run(ask % "packages.example.org" + "for i in 1 2 3; do curl -s -m 1 https://203.0.113.44/; done")
    tab.wait("document.querySelectorAll('#refusals-list li').length === 3")
    tab.run("[...document.querySelectorAll('button.allow')].find((b) => b.innerText.includes('api.')).click()")
    tab.wait("document.querySelector('li.allowed')")
    tab.run("document.activeElement.blur()")
    agent.run(ask % "telemetry.example.net")
    tab.wait("document.querySelectorAll('#refusals-list li').length === 4")
    tab.screenshot(os.environ["NETCTL_SCREENSHOT"])
    server.stop()
    resolver.close()
