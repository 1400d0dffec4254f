"""A server of files that fails by schedule: ranges, HEAD, ETag, and every fault that a store or a network has.

A fault is given for one request of a path; each request takes the next one of its path's list, then all is well.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import threading
import time
import urllib.parse
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FAULTS = (
    "503", "500", "429", "reset", "reset at once", "truncated", "stall", "trickle", "wrong bytes", "404",
    "wrong range", "200 for 206", "other version", "short length", "not a range", "gzip", "no length",
)  # fmt: skip
PERMANENT = {"404"}
UNSEEN_IN_PARTS = {"wrong bytes"}
"""What ranged reads cannot find, see ``readers/local_copy.py``."""


@dataclass
class FaultyServer:
    """Files of a folder, served on this machine."""

    folder: Path
    """What is served."""

    stall: float = 0.5
    """Seconds that a stalled answer hangs."""

    retry_after: str = "0"
    """Header of a 429."""

    token: str = ""
    """Token that the query must hold; empty for none."""

    uses: int = 1 << 30
    """Requests for which a token is good."""

    redirects: dict[str, str] = field(default_factory=dict)
    """Path -> Location."""

    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Path -> faults of its next requests; a fault ``""`` is none."""

    asked: Counter = field(default_factory=Counter)
    """(method, path) -> requests."""

    sent: int = 0
    """Bytes of content."""

    renewals: int = 0
    """Tokens given by `sign`."""

    last_modified: str = ""
    """Header; with it, no ETag is given."""

    def __enter__(self) -> FaultyServer:
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._used = Counter()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Bound", (_Handler,), {"files": self}))
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._end.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def sign(self, href: str, renewed: bool) -> str:
        """A signer: the token that is good now; a new one if asked."""
        if renewed or not self.renewals:
            self.renewals += 1
        return f"{href}?sig={self.token}-{self.renewals}&X-Amz-Security-Token={self.token}"

    def gets(self) -> dict[str, int]:
        """GET requests by path."""
        return {path: count for (method, path), count in self.asked.items() if method == "GET"}

    def take(self, method: str, path: str) -> str:
        with self._lock:
            self.asked[method, path] += 1
            waiting = self.faults[path]
            return waiting.pop(0) if waiting else ""

    def refuses(self, query: str) -> bool:
        if not self.token:
            return False
        given = urllib.parse.parse_qs(query).get("sig", [""])[0]
        with self._lock:
            self._used[given] += 1
            return not given.startswith(self.token) or self._used[given] > self.uses

    def pause(self) -> None:
        self._end.wait(self.stall)

    def count(self, sent: int) -> None:
        with self._lock:
            self.sent += sent


class _Handler(BaseHTTPRequestHandler):
    files: FaultyServer
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        parts = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(parts.path)
        fault = self.files.take(self.command, path)
        file = self.files.folder / path.lstrip("/")
        if path in self.files.redirects:
            self._head(302, {"Location": self.files.redirects[path], "Content-Length": "0"})
        elif self.files.refuses(parts.query):
            self._text(403, "<Error><Code>AuthenticationFailed</Code></Error>")
        elif fault in {"503", "500", "404", "403", "401", "400", "408", "410"}:
            self._text(int(fault), f"<Error><Code>E{fault}</Code><Resource>{self.path}</Resource></Error>")
        elif fault == "429":
            self._text(429, "slow down", {"Retry-After": self.files.retry_after})
        elif fault == "reset at once":
            self._reset()
        elif not file.is_file():
            self._text(404, "not here")
        else:
            self._file(file.read_bytes(), fault, body)

    def _file(self, content, fault, body):
        if fault == "other version":
            content = content + b"grown"
        status, start, stop = self._span(len(content), fault)
        part = content[start:stop]
        if fault == "wrong bytes":
            middle = len(part) // 2
            part = part[:middle] + bytes(255 - byte for byte in part[middle : middle + 200]) + part[middle + 200 :]
        headers = {"Content-Length": str(len(part)), "Accept-Ranges": "bytes"}
        if self.files.last_modified:
            headers["Last-Modified"] = self.files.last_modified
        else:
            headers["ETag"] = '"' + hashlib.md5(content).hexdigest() + '"'
        if status == 206:
            shift = 7 if fault == "wrong range" else 0
            headers["Content-Range"] = f"bytes {start + shift}-{stop - 1 + shift}/{len(content)}"
        if fault == "not a range" and status == 206:
            del headers["Content-Range"]
        if fault == "short length":
            headers["Content-Length"], part = str(len(part) // 2), part[: len(part) // 2]
        if fault == "gzip":
            headers["Content-Encoding"] = "gzip"
        if fault == "no length":
            del headers["Content-Length"]
            headers["Connection"] = "close"
            part = part[: len(part) // 2]
        self._head(status, headers)
        if body:
            self._send(part, fault)

    def _span(self, size, fault):
        wanted = self.headers.get("Range")
        if not wanted or fault == "200 for 206":
            return 200, 0, size
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        return 206, int(first), min(size, int(last) + 1 if last else size)

    def _send(self, part, fault):
        half = len(part) // 2
        if fault == "truncated":
            part = part[:half]
            self.close_connection = True
        with contextlib.suppress(ConnectionError):
            if fault in {"reset", "stall", "trickle"}:
                self.wfile.write(part[:half])
                self.wfile.flush()
                self._hang(part[half:], fault)
                return
            self.wfile.write(part)
            self.files.count(len(part))

    def _hang(self, rest, fault):
        self.close_connection = True
        if fault == "reset":
            self._reset()
            return
        end = time.monotonic() + self.files.stall
        while fault == "trickle" and time.monotonic() < end and rest:
            self.wfile.write(rest[:1])
            self.wfile.flush()
            rest = rest[1:]
            time.sleep(0.005)
        if fault == "stall":
            self.files.pause()

    def _reset(self):
        """Close with RST, not FIN."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RD)
        self.rfile.close()
        self.connection.close()

    def _text(self, status, text, headers=None):
        self._head(status, {"Content-Length": str(len(text)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def _head(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        pass
