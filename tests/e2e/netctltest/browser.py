# SPDX-License-Identifier: MIT
"""A headless Chromium, driven by the DevTools protocol over its pipe (fds 3 and 4, JSON with NULs)."""

import base64
import json
import os
import select
import time

from .process import SLOW, Process

# Puts its first two arguments, fds, where Chromium looks for them.
LAUNCHER = """
import os, sys
from_us, to_us = (os.dup(int(fd)) for fd in sys.argv[1:3])
ends = [os.dup(from_us), os.dup(to_us)]
while min(ends) < 5:
    ends = [os.dup(fd) for fd in ends]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class ScriptError(Exception):
    """An exception of the page's."""


class Browser:
    def __init__(self, directory, *flags, width=1280, height=900):
        read, self.write = os.pipe()
        self.read, write = os.pipe()
        self.process = Process("chromium", [
            "/usr/bin/python3", "-c", LAUNCHER, read, write, "chromium", "--headless=new",
            "--remote-debugging-pipe", "--user-data-dir=" + os.path.join(directory, "chromium"),
            "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--hide-scrollbars", "--window-size=%d,%d" % (width, height), *flags,
            *(["--no-sandbox"] if os.geteuid() == 0 else [])], directory, pass_fds=[read, write])
        os.close(read)
        os.close(write)
        self.rest = b""
        self.last = 0

    def _receive(self, end):
        while b"\0" not in self.rest:
            left = end - time.monotonic()
            assert left > 0 and select.select([self.read], [], [], left)[0], "chromium: no answer"
            data = os.read(self.read, 1 << 16)
            assert data, "chromium: has ended"
            self.rest += data
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def call(self, method, session=None, timeout=30, **params):
        """One command; returns its result. What the browser tells meanwhile is not looked at."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.write, data):]
        end = time.monotonic() + timeout * SLOW
        while True:
            answer = self._receive(end)
            if answer.get("id") == self.last:
                assert "error" not in answer, "%s: %s" % (method, answer["error"])
                return answer["result"]

    def tab(self):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        return Tab(self, target, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])

    def close(self):
        self.process.stop(5)
        os.close(self.read)
        os.close(self.write)


class Tab:
    def __init__(self, browser, target, session):
        self.browser = browser
        self.target = target
        self.session = session
        self.call("Page.enable")
        # What is behind is not drawn.
        self.call("Page.bringToFront")

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)

    def open(self, url):
        """Goes there. Returns the error's name, or None."""
        return self.call("Page.navigate", url=url).get("errorText")

    def run(self, script):
        """The value of a JavaScript expression; of a promise, what it comes to."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True,
                           returnByValue=True, userGesture=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise ScriptError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    def wait(self, script, timeout=10):
        """Waits until the expression is true; returns its value (of an element, true).
        The page itself looks."""
        answer = self.run("""new Promise((done) => {
            const end = performance.now() + %d;
            const look = () => {
                const value = (() => { try { return %s } catch { return null } })();
                if (value || performance.now() > end)
                    done(value instanceof Node || value);
                else
                    setTimeout(look, 10);
            };
            look();
        })""" % (timeout * SLOW * 1000, script))
        assert answer, "the page: not within %g s: %s" % (timeout * SLOW, script)
        return answer

    def text(self, selector):
        return self.run("document.querySelector(%s)?.innerText ?? null" % json.dumps(selector))

    def reload(self):
        self.call("Page.reload")

    def click(self, selector):
        """A click of the mouse in the middle of what is there."""
        at = self.run("""(() => {
            const element = document.querySelector(%s);
            element.scrollIntoView({block: 'nearest'});
            const box = element.getBoundingClientRect();
            return {x: box.x + box.width / 2, y: box.y + box.height / 2};
        })()""" % json.dumps(selector))
        self.point(**at)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **at)

    def point(self, x, y):
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def key(self, key, code=0, text=""):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode=code, text=text if kind == "keyDown" else "")

    def dark(self, on):
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if on else "light"}])

    def size(self, width, height, scale=1):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=scale, mobile=False)

    def screenshot(self, path):
        image = self.call("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(image))
