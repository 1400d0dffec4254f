"""A headless Chromium, driven through its DevTools pipe: nothing but the browser itself is needed.

Every console message, exception, request and answer is kept. Requests to other hosts never leave this machine: they are
answered with an empty picture, and kept apart.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--remote-debugging-pipe", "--disable-dev-shm-usage",
)  # fmt: skip
_EMPTY = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="  # one clear pixel
)
QUIET = 0.7
"""Seconds without a request under way, after which a page counts as done."""


def chromium() -> str | None:
    """The program, if it is installed."""
    return next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)


class Page:
    """One tab, whose faults are kept."""

    def __init__(self, read: int, write: int, host: str) -> None:
        self._read, self._write, self._host = read, write, host
        self._number, self._rest, self._session = 0, b"", ""
        self.console: list[str] = []
        self.failed: list[str] = []
        self.outside: set[str] = set()
        self.answers: dict[str, int] = {}
        self._under_way: dict[str, str] = {}
        self._last = time.monotonic()
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Fetch.enable", patterns=[{"urlPattern": "*"}])
        self.send("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and await its answer."""
        number = self._post(method, parameters)
        while True:
            message = self._receive(30)
            if message is None:
                raise TimeoutError(f"Chromium gave no answer to {method}")
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return dict(message["result"])

    def open(self, url: str, *, seconds: float = 60) -> None:
        """Go to a page and wait until nothing is loaded any more."""
        self._under_way.clear()  # what the last page has left does not always tell its end
        self.send("Page.navigate", url=url)
        self.settle(seconds)

    def settle(self, seconds: float = 60) -> None:
        """Wait until no request has been under way for a moment."""
        self._last, end = time.monotonic(), time.monotonic() + seconds
        while time.monotonic() < end:
            self._receive(0.1)
            if not self._under_way and time.monotonic() - self._last > QUIET:
                return
        raise TimeoutError(f"still loading: {sorted(self._under_way.values())}")

    def text(self) -> str:
        """What a reader sees."""
        return str(self.value("document.body.innerText"))

    def value(self, expression: str) -> Any:
        """Value of an expression of JavaScript."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return found["result"].get("value")

    def picture(self, file: Path) -> None:
        """Save what is seen as PNG."""
        file.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def _post(self, method: str, parameters: dict[str, Any]) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        content = json.dumps(message).encode() + b"\0"
        while content:
            content = content[os.write(self._write, content) :]
        return self._number

    def _receive(self, seconds: float) -> dict[str, Any] | None:
        """The next message, or None; events are worked off."""
        end = time.monotonic() + seconds
        while b"\0" not in self._rest:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                return None
            self._rest += os.read(self._read, 1 << 20)
        content, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(content)
        if "method" in message:
            self._event(message["method"], message["params"])
        return message

    def _event(self, method: str, told: dict[str, Any]) -> None:
        if method.startswith(("Network.", "Fetch.")):
            self._last = time.monotonic()
        if method == "Fetch.requestPaused":
            self._paused(told)
        elif method == "Network.requestWillBeSent" and told["request"]["url"].startswith("http"):
            self._under_way[told["requestId"]] = told["request"]["url"]
        elif method == "Network.responseReceived" and told["response"]["url"].startswith("http"):
            url, status = told["response"]["url"], int(told["response"]["status"])
            self.answers[url] = status
            if status >= 400:
                self.failed.append(f"{status} {url}")
        elif method in ("Network.loadingFinished", "Network.loadingFailed"):
            url = self._under_way.pop(told["requestId"], "")
            if method == "Network.loadingFailed" and not told.get("canceled") and url:
                self.failed.append(f"{told['errorText']} {url}")
        elif method == "Runtime.exceptionThrown":
            self.console.append(json.dumps(told["exceptionDetails"])[:800])
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
            self.console.append(" ".join(str(one.get("value", one.get("description"))) for one in told["args"])[:800])
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.console.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")

    def _paused(self, told: dict[str, Any]) -> None:
        url = told["request"]["url"]
        if not url.startswith("http") or urlsplit(url).netloc == self._host:
            self._post("Fetch.continueRequest", {"requestId": told["requestId"]})
            return
        self.outside.add(str(urlsplit(url).hostname))
        schema = url.endswith(".json")
        kind = "application/json" if schema else "image/png"
        headers = [{"name": "Content-Type", "value": kind}, {"name": "Access-Control-Allow-Origin", "value": "*"}]
        answer = {"requestId": told["requestId"], "responseCode": 200, "responseHeaders": headers}
        answer["body"] = base64.b64encode(b"{}").decode() if schema else _EMPTY
        self._post("Fetch.fulfillRequest", answer)


@contextmanager
def page(address: str) -> Iterator[Page]:
    """A tab of a Chromium of its own, which may ask one server only; it ends with the block."""
    program = chromium()
    assert program is not None
    to_read, from_us = os.pipe()
    to_us, from_it = os.pipe()
    with tempfile.TemporaryDirectory(prefix="stac-sm-", ignore_cleanup_errors=True) as profile:
        command = f'exec "$@" 3<&{to_read} 4>&{from_it}'
        process = subprocess.Popen(
            ["bash", "-c", command, "bash", program, *_FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(to_read, from_it), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            os.close(to_read)
            os.close(from_it)
            yield Page(to_us, from_us, urlsplit(address).netloc)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)
            os.close(to_us)
            os.close(from_us)
