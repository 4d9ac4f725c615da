"""Chromium without a window, driven through its DevTools protocol."""

import asyncio
import base64
import itertools
import json
import os
import re
import shutil
import subprocess
from contextlib import contextmanager

import imagecodecs
import pytest

from fieldwork.doctor.machine import BROWSERS


class Browser:
    """One page.

    `complaints` are the messages of the console and of exceptions, `addresses` all that the page requested.
    """

    def __init__(self, socket):
        self.socket = socket
        self.ids = itertools.count()
        self.complaints = []
        self.addresses = []

    async def send(self, method, **parameters):
        """Send a command and return its result; note the events meanwhile."""
        number = next(self.ids)
        await self.socket.write_message(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(await asyncio.wait_for(self.socket.read_message(), 60))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.note(message.get("method"), message.get("params"))

    def note(self, event, details):
        """Note a request, an error or a warning."""
        if event == "Network.requestWillBeSent":
            self.addresses.append(details["request"]["url"])
        level = details.get("type") or details.get("entry", {}).get("level") if details else None
        is_complaint = event in ("Runtime.consoleAPICalled", "Log.entryAdded") and level in (
            "error",
            "warning",
            "assert",
        )
        if is_complaint or event == "Runtime.exceptionThrown":
            self.complaints.append(details)

    async def value(self, expression):
        """Evaluate JavaScript in the page; return its value."""
        result = await self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression):
        """Wait until JavaScript returns something true, and return that."""
        for _ in range(300):
            if value := await self.value(expression):
                return value
            await asyncio.sleep(0.1)
        raise AssertionError(
            f"never true: {expression}; {self.complaints}; {await self.value('document.body.innerText')}"
        )

    async def open(self, address):
        """Go to an address."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.send(f"{domain}.enable")
        await self.send("Page.navigate", url=address)

    async def click(self, selector):
        """Click with the mouse into the middle of an element."""
        x, y = await self.until(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); if (!one) return null;"
            "one.scrollIntoView({block: 'nearest'}); const {left, top, width, height} = one.getBoundingClientRect();"
            "return [left + width / 2, top + height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def press(self, key):
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    async def screenshot(self):
        """Take a picture of the window: (rows, columns, 3)."""
        answer = await self.send("Page.captureScreenshot", format="png")
        return imagecodecs.png_decode(base64.b64decode(answer["data"]))[..., :3]


@contextmanager
def chromium(profile, *, page=Browser):
    """Start Chromium with a profile in this folder. Without a Chromium, fail the test in CI and skip it elsewhere.

    Yields a function that opens an address, calls an async function on the page, and returns the page.
    """
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        end = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        end(f"the browser's tests need Chromium: found none of {', '.join(BROWSERS)}")
    command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    command += ["--disable-background-networking", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        [*command, "--window-size=1400,1000", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )

    def act(address, steps):
        from tornado.httpclient import AsyncHTTPClient
        from tornado.websocket import websocket_connect

        async def run():
            pages = json.loads((await AsyncHTTPClient().fetch(f"{devtools}/json")).body)
            socket = next(entry["webSocketDebuggerUrl"] for entry in pages if entry["type"] == "page")
            browser = page(await websocket_connect(socket, max_message_size=2**26))
            await browser.open(address)
            await steps(browser)
            browser.socket.close()
            return browser

        return asyncio.run(run())

    try:
        for line in process.stderr:
            if address := re.search(r"ws://(127\.0\.0\.1:\d+)/", line):
                devtools = f"http://{address[1]}"
                break
        else:
            pytest.fail(f"{program} ended before it listened")
        yield act
    finally:
        process.terminate()
        process.communicate(timeout=60)
