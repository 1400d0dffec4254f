"""The services that inputs are fetched from, on this machine: each speaks its protocol as publicly documented.

Climate Data Store (processes, jobs, results), Common Metadata Repository with Earthdata Login and an archive, and the
Web Coverage Service of SoilGrids. The bucket of Copernicus DEM is moto's (`object_stores`). They fail by schedule.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import io
import json
import threading
import urllib.parse
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "11111111-2222-3333-4444-5eC12e700001"
"""A token that no output may hold."""

PASSWORD = "pa55-that-no-log-may-hold"


class Handler(BaseHTTPRequestHandler):
    """Short ways to answer."""

    protocol_version = "HTTP/1.1"
    timeout = 20
    service: Service

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        parts = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(parts.query)
        with self.service.lock:
            self.service.asked[self.command, parts.path] += 1
            self.service.headers.append((self.command, self.path, dict(self.headers)))
            fault = self.service.faults.pop(0) if self.service.faults else ""
        if fault in {"429", "503", "500"}:
            self.send(int(fault), b"{}", {"Retry-After": "0"})
        else:
            with contextlib.suppress(ConnectionError):
                self.service.respond(self, parts.path, query, body, fault)

    def send_json(self, status, document, **headers):
        self.send(status, json.dumps(document).encode(), {"Content-Type": "application/json", **headers})

    def send(self, status, content=b"", headers=None, cut=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content if cut is None else content[:cut])
        self.close_connection = cut is not None

    def send_file(self, content, fault="", kind="application/octet-stream", version=None):
        """A file with ranges; the fault ``cut N`` ends it after N bytes of the answer."""
        headers = {"Content-Type": kind}
        if version != "":
            headers["ETag"] = version or f'"{hashlib.md5(content).hexdigest()}"'
        status, start = 200, 0
        given = self.headers.get("Range")
        if given:
            start = int(given.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                return
            status, headers["Content-Range"] = 206, f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send(status, content[start:], headers, int(fault.split()[1]) if fault.startswith("cut") else None)

    def log_message(self, *_):
        pass


@dataclass
class Service:
    """A server in a thread."""

    faults: list[str] = field(default_factory=list)
    """Of the next requests, whatever they ask; ``""`` is none."""

    asked: Counter = field(default_factory=Counter)
    """(method, path) -> requests."""

    headers: list = field(default_factory=list)
    """Method, path and headers of each request."""

    host: str = "127.0.0.1"
    """By which it is called."""

    def __enter__(self):
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Bound", (Handler,), {"service": self}))
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        return f"http://{self.host}:{self._server.server_port}"

    def respond(self, to: Handler, path: str, query: dict, body: dict, fault: str) -> None:
        raise NotImplementedError


@dataclass
class FileService(Service):
    """Files by path."""

    files: dict[str, bytes] = field(default_factory=dict)
    version: str | None = None
    """ETag of all files; None: their digest, empty: none."""

    def respond(self, to, path, query, body, fault):
        if path in self.files:
            to.send_file(self.files[path], fault, version=self.version)
        else:
            to.send(404)


@dataclass
class ClimateDataStore(Service):
    """The API of today: a process is executed, its job is looked at until it is done, its result has an address."""

    make: Callable[[str, dict], bytes] = lambda dataset, inputs: zipped(b"CDF")
    """Content of the result of a request."""

    looks: int = 2
    """Looks at a job before it is done: first it waits, then it runs."""

    result_faults: list[str] = field(default_factory=list)
    """Of the next downloads of results."""

    outcomes: list[str] = field(default_factory=list)
    """Of the next jobs: ``failed``, ``rejected``, ``empty``, ``licence``; none is success."""

    token: str = TOKEN
    """The token that is valid."""

    jobs: dict[str, dict] = field(default_factory=dict)
    """By id: data set, inputs, looks, outcome."""

    def respond(self, to, path, query, body, fault):
        if path.startswith("/results/"):
            job = self.jobs[path.removeprefix("/results/").removesuffix(".zip")]
            fault = self.result_faults.pop(0) if self.result_faults else ""
            to.send_file(job["content"], fault, "application/zip")
        elif path == "/api/catalogue/v1/messages":
            to.send_json(200, {"messages": []})
        elif to.headers.get("PRIVATE-TOKEN") != self.token:
            detail = f"token {to.headers.get('PRIVATE-TOKEN')} has expired"  # no good manners, but it happens
            to.send_json(401, {"title": "authentication failed", "detail": detail})
        elif path.endswith("/execution"):
            self._submit(to, path.split("/")[-2], body["inputs"])
        elif "/processes/" in path:
            to.send_json(200, {"id": path.rpartition("/")[2], "links": []})
        elif "/jobs/" in path:
            self._job(to, path)
        else:
            to.send(404)

    def _submit(self, to, dataset, inputs):
        outcome = self.outcomes.pop(0) if self.outcomes else ""
        if outcome == "licence":
            detail = f"Not all the required licences have been accepted; please visit {self.address}/licences"
            to.send_json(403, {"title": "required licences not accepted", "detail": detail})
            return
        with self.lock:  # netCDF4 writes one file at a time
            id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{len(self.jobs)}"))
            content = b"" if outcome else self.make(dataset, inputs)
            self.jobs[id] = {
                "dataset": dataset, "inputs": inputs, "looks": 0, "outcome": outcome, "content": content,
            }  # fmt: skip
        to.send_json(201, self._state(id, "accepted"))

    def _state(self, id, status):
        links = [{"rel": "monitor", "href": f"{self.address}/api/retrieve/v1/jobs/{id}"}]
        links += [{"rel": "self", "href": f"{self.address}/api/retrieve/v1/jobs/{id}"}]
        links += [{"rel": "results", "href": f"{self.address}/api/retrieve/v1/jobs/{id}/results"}]
        return {"jobID": id, "status": status, "type": "process", "processID": self.jobs[id]["dataset"],
                "created": "2026-11-29T00:00:00", "updated": "2026-11-29T00:00:00", "links": links,
                "metadata": {"request": {"ids": self.jobs[id]["inputs"]}}}  # fmt: skip

    def _job(self, to, path):
        id, _, results = path.partition("/jobs/")[2].partition("/")
        job = self.jobs.get(id)
        if job is None:
            to.send_json(404, {"title": "job not found", "detail": f"no job {id}"})
        elif not results:
            job["looks"] += 1
            done = {"failed": "failed", "empty": "failed", "rejected": "rejected"}.get(job["outcome"], "successful")
            states = ["accepted", "running"]
            to.send_json(200, self._state(id, states[min(job["looks"] - 1, 1)] if job["looks"] <= self.looks else done))
        elif job["outcome"]:
            words = {
                "failed": "The job has failed because of an internal error",
                "rejected": "Your organization's queue is full: too many requests",
                "empty": "None of the data you have requested is available yet, please revise the period requested.",
            }
            to.send_json(400, {"title": "The job has failed", "traceback": words[job["outcome"]]})
        else:
            value = {"type": "application/zip", "href": f"{self.address}/results/{id}.zip",
                     "file:size": len(job["content"]), "file:checksum": "0" * 32}  # fmt: skip
            to.send_json(200, {"asset": {"value": value}})


def zipped(*contents: bytes, names: tuple[str, ...] = ("data_0.nc",)) -> bytes:
    """A zip with members, always the same bytes."""
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in zip(names, contents, strict=False):
            archive.writestr(zipfile.ZipInfo(name), content)
    return into.getvalue()


@dataclass
class EarthdataLogin(Service):
    """Gives a code to whom it knows, and sends back to the archive. Called ``localhost``: another host than those."""

    host: str = "localhost"

    def respond(self, to, path, query, body, fault):
        if to.headers.get("Authorization") != basic("somebody", PASSWORD):
            to.send(401)
            return
        back = f"{query['redirect_uri'][0]}?code=c0de&state={urllib.parse.quote(query['state'][0])}"
        to.send(302, b"", {"Location": back})


def basic(name: str, password: str) -> str:
    """Header of an account."""
    from base64 import b64encode

    return f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"


@dataclass
class Archive(Service):
    """Repository (search) and archive (files) of NASA: a token or a cookie of the login opens a file."""

    login: str = ""
    """Address of the login."""

    granules: dict[str, bytes] = field(default_factory=dict)
    """Content by name of the file."""

    page: int = 2
    """Granules that a page of a search has at most."""

    token: str = TOKEN
    """The token that is valid."""

    wrong_checksum: bool = False

    def respond(self, to, path, query, body, fault):
        if path == "/search/granules.umm_json":
            self._search(to, query)
        elif path == "/login":
            place = query["state"][0]
            to.send(302, b"", {"Location": place, "Set-Cookie": "session=yes; Path=/; HttpOnly"})
        elif path.startswith("/data/"):
            self._file(to, path, fault)
        else:
            to.send(404)

    def _file(self, to, path, fault):
        given = to.headers.get("Authorization", "")
        if given.startswith("Bearer ") and given != f"Bearer {self.token}":
            to.send(401)
        elif given or to.headers.get("Cookie") == "session=yes":
            if fault == "page":
                to.send(200, b"<html>accept the terms</html>", {"Content-Type": "text/html"})
            else:
                to.send_file(self.granules[path.removeprefix("/data/")], fault)
        else:
            state, back = urllib.parse.quote(self.address + path), urllib.parse.quote(f"{self.address}/login")
            to.send(302, b"", {"Location": f"{self.login}/oauth/authorize?client_id=x&response_type=code"
                                           f"&redirect_uri={back}&state={state}"})  # fmt: skip

    def _search(self, to, query):
        patterns = query.get("readable_granule_name[]", ["*"])
        first, last = (day[:10] for day in query["temporal"][0].split(","))
        names = [
            name
            for name in sorted(self.granules)
            if name.startswith(query["short_name"][0] + ".")
            and any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
            and f".{query['version'][0]}." in name
            and _ordinal(first) <= int(name.split(".A")[1][:7]) <= _ordinal(last)
        ]
        begin = int(to.headers.get("CMR-Search-After") or 0)
        items = [self._item(name) for name in names[begin : begin + self.page]]
        more = {"CMR-Search-After": str(begin + self.page)} if items else {}
        to.send_json(200, {"hits": len(names), "took": 1, "items": items}, **{"CMR-Hits": str(len(names)), **more})

    def _item(self, name):
        content = self.granules[name]
        digest = "0" * 32 if self.wrong_checksum else hashlib.md5(content).hexdigest()
        facts = [
            {"Name": name, "SizeInBytes": len(content), "Checksum": {"Value": digest, "Algorithm": "MD5"}},
            {"Name": f"{name}.xml", "SizeInBytes": 10},
        ]
        links = [
            {"URL": f"s3://lp-prod-protected/{name}", "Type": "GET DATA VIA DIRECT ACCESS"},
            {"URL": f"{self.address}/data/{name}", "Type": "GET DATA"},
        ]
        return {"meta": {"concept-id": name}, "umm": {"GranuleUR": name.removesuffix(".hdf"), "RelatedUrls": links,
                "DataGranule": {"ArchiveAndDistributionInformation": facts}}}  # fmt: skip


def _ordinal(day: str) -> int:
    from datetime import date

    return int(f"{date.fromisoformat(day):%Y%j}")


@contextlib.contextmanager
def nasa(granules: dict[str, bytes]) -> Iterator[tuple[Archive, EarthdataLogin]]:
    """The archive with its login."""
    with EarthdataLogin() as login, Archive(login=login.address, granules=granules) as archive:
        yield archive, login


@dataclass
class CoverageService(Service):
    """WCS 2.0.1 of SoilGrids: windows of the Homolosine as GeoTIFF; what it does not understand is an exception."""

    make: Callable[[str, tuple[float, float, float, float]], bytes] = lambda coverage, box: b""
    """GeoTIFF of a coverage in west, south, east, north (m)."""

    chunked: bool = False

    def respond(self, to, path, query, body, fault):
        required = {"SERVICE": "WCS", "VERSION": "2.0.1", "REQUEST": "GetCoverage", "FORMAT": "image/tiff"}
        crs = "http://www.opengis.net/def/crs/EPSG/0/152160"
        required |= {"SUBSETTINGCRS": crs, "OUTPUTCRS": crs}
        wrong = [key for key, value in required.items() if query.get(key) != [value]]
        coverage = query.get("COVERAGEID", [""])[0]
        if wrong or query.get("map") != [f"/map/{coverage.split('_')[0]}.map"] or fault == "exception":
            text = (
                f"<ows:ExceptionReport><ows:ExceptionText>msWCSGetCoverage20(): {wrong or 'busy'}</ows:ExceptionText>"
            )
            to.send(200, text.encode(), {"Content-Type": "text/xml"})
            return
        (west, east), (south, north) = (map(float, part[2:-1].split(",")) for part in sorted(query["SUBSET"]))
        content = self.make(coverage, (west, south, east, north))
        if not self.chunked:
            to.send_file(content, fault, "image/tiff", version="")
            return
        to.send_response(200)
        to.send_header("Content-Type", "image/tiff")
        to.send_header("Transfer-Encoding", "chunked")
        to.end_headers()
        end = int(fault.split()[1]) if fault.startswith("cut") else len(content)
        to.wfile.write(b"%x\r\n%s\r\n" % (len(content[:end]), content[:end]))
        to.wfile.write(b"" if fault else b"0\r\n\r\n")
        to.close_connection = bool(fault)
