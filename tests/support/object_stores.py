"""Object stores for tests: moto's server, OpenStack Swift, and a proxy that breaks what goes through it."""

from __future__ import annotations

import atexit
import contextlib
import http.client
import os
import random
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

SWIFT = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "stac-sm/swift-venv")
"""Virtual environment of Swift, as tests/integration/install_swift.sh makes it."""

_session = contextlib.ExitStack()
atexit.register(_session.close)

_MOTO = """
import io, logging, sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

logging.getLogger("werkzeug").setLevel(logging.ERROR)
moto, lock = DomainDispatcherApplication(create_backend_app), threading.Lock()

def one_at_a_time(environ, start):  # moto looks and writes in two steps: together they are atomic here
    environ["wsgi.input"] = environ["wsgi.input"] if environ.get("HTTP_TRANSFER_ENCODING") else io.BytesIO(
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
    with lock:
        return list(moto(environ, start))

server = make_server("127.0.0.1", 0, one_at_a_time, threaded=True)
print(server.port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()  # until the test run ends, however it ends
"""


@dataclass(frozen=True)
class ObjectStore:
    """A server that speaks S3, and a key for it."""

    endpoint: str
    """URL."""

    access_key: str = "AKIDTESTTESTTEST"
    """Access key id."""

    secret_key: str = "a-secret-for-tests"
    """Secret access key."""

    @property
    def environment(self) -> dict[str, str]:
        """What boto3 takes from the environment."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/none",
            "AWS_SHARED_CREDENTIALS_FILE": "/none",
        }


@contextlib.contextmanager
def environment_of(store: ObjectStore) -> Iterator[None]:
    """The environment in which boto3 asks a store, and nothing else of AWS."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(store.environment)
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if name.startswith("AWS_")})


@cache
def moto_server() -> ObjectStore:
    """moto's server for all tests of this process, started when it is first asked for; it ends with the process."""
    return _session.enter_context(_moto_server())


@contextlib.contextmanager
def _moto_server() -> Iterator[ObjectStore]:
    command = [sys.executable, "-c", _MOTO]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield ObjectStore(f"http://127.0.0.1:{int(server.stdout.readline())}")
        finally:
            server.stdin.close()
            server.wait(10)


def keep_for_session(server: contextlib.AbstractContextManager[ObjectStore]) -> ObjectStore:
    """Start a server that ends with this process."""
    return _session.enter_context(server)


def local_certificate(folder: Path) -> Path:
    """A file with a key, and a certificate for 127.0.0.1 and localhost that nobody has signed."""
    file, names = folder / "certificate.pem", "subjectAltName=DNS:localhost,IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run(
        [*command, "-addext", names, "-keyout", file, "-out", f"{file}.public"], check=True, capture_output=True
    )
    file.write_text(file.read_text() + Path(f"{file}.public").read_text())
    return file


def new_bucket(store: ObjectStore, name: str) -> str:
    """A bucket that is empty."""
    import boto3

    with environment_of(store):
        boto3.session.Session().client("s3").create_bucket(Bucket=name)
    return name


def why_no_swift() -> str | None:
    """What is missing for Swift."""
    if not (SWIFT / "installed").exists() or shutil.which("memcached") is None:
        return "no OpenStack Swift here: tests/integration/install_swift.sh installs it"
    return None


@cache
def swift_server() -> ObjectStore:
    """OpenStack Swift for all tests of this process, started when it is first asked for; it ends with the process."""
    return _session.enter_context(_swift_server())


@contextlib.contextmanager
def _swift_server() -> Iterator[ObjectStore]:
    """With its S3 API, one replica, its files in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="stac-sm-swift-") as folder, _swift_in(Path(folder)) as server:
        yield server


@contextlib.contextmanager
def _swift_in(folder: Path) -> Iterator[ObjectStore]:
    ports = dict(zip(("proxy", "account", "container", "object", "cache"), free_ports(5), strict=True))
    _write_rings(folder, ports)
    for name, text in _swift_files(folder, ports).items():
        (folder / name).write_text(text)
    user = ["-u", "root"] if os.getuid() == 0 else []
    commands = [["memcached", "-l", "127.0.0.1", "-p", str(ports["cache"]), "-U", "0", *user]]
    commands += [[f"{SWIFT}/bin/swift-{name}-server", f"{folder}/{name}.conf"] for name in _SERVERS]
    with contextlib.ExitStack() as stack:
        for command in commands:
            stack.enter_context(running_command(command, folder / f"{Path(command[0]).name}.log"))
        for port in ports.values():
            wait_for(port, folder)
        yield ObjectStore(f"http://127.0.0.1:{ports['proxy']}", "test:tester", "testing")


_SERVERS = ("account", "container", "object", "proxy")
_PIPELINE = "catch_errors proxy-logging cache listing_formats bulk s3api tempauth slo dlo proxy-logging proxy-server"


def _swift_files(folder: Path, ports: dict[str, int]) -> dict[str, str]:
    head = f"[DEFAULT]\nbind_ip = 127.0.0.1\nswift_dir = {folder}\nworkers = 1\nuser = {_user()}\n"
    stores = {
        f"{name}.conf": f"{head}bind_port = {ports[name]}\ndevices = {folder}/devices\nmount_check = false\n"
        f"[pipeline:main]\npipeline = {name}-server\n[app:{name}-server]\nuse = egg:swift#{name}\n"
        for name in _SERVERS[:3]
    }
    filters = {name: {"use": f"egg:swift#{name.replace('-', '_')}"} for name in _PIPELINE.split()[:-1]}
    filters["cache"] = {"use": "egg:swift#memcache", "memcache_servers": f"127.0.0.1:{ports['cache']}"}
    filters["tempauth"] |= {"user_test_tester": "testing .admin"}
    filters["s3api"] |= {"s3_acl": "false", "location": "us-east-1"}
    sections = {"app:proxy-server": {"use": "egg:swift#proxy", "account_autocreate": "true"}}
    sections |= {f"filter:{name}": options for name, options in filters.items()}
    text = "".join(
        f"[{name}]\n" + "".join(f"{option} = {value}\n" for option, value in options.items())
        for name, options in sections.items()
    )
    proxy = f"{head}bind_port = {ports['proxy']}\n[pipeline:main]\npipeline = {_PIPELINE}\n{text}"
    policy = "[storage-policy:0]\nname = only\ndefault = yes\n"
    secret = "[swift-hash]\nswift_hash_path_prefix = a\nswift_hash_path_suffix = b\n"
    return {**stores, "proxy.conf": proxy, "swift.conf": secret + policy}


_RINGS = """
import sys
from swift.common.ring import RingBuilder

for name, port in zip(sys.argv[2::2], sys.argv[3::2]):
    builder = RingBuilder(4, 1, 0)
    node = {"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "d1", "weight": 1.0}
    builder.add_dev(node | {"replication_ip": node["ip"], "replication_port": node["port"], "meta": ""})
    builder.rebalance()
    builder.get_ring().save(f"{sys.argv[1]}/{name}.ring.gz")
"""


def _write_rings(folder: Path, ports: dict[str, int]) -> None:
    (folder / "devices/d1").mkdir(parents=True)
    rings = [part for name in _SERVERS[:3] for part in (name, str(ports[name]))]
    subprocess.run([SWIFT / "bin/python", "-c", _RINGS, folder, *rings], check=True, capture_output=True)


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


@contextlib.contextmanager
def running_command(command: list[str], log: Path, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """A server in a process of its own, which ends with the block; it writes into a log."""
    known = os.environ | dict(environment or {})
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output, env=known) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens now."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


def wait_for(port: int, folder: Path) -> None:
    """Wait until a server listens on a port; its logs lie in the folder."""
    deadline = time.monotonic() + 120
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if time.monotonic() > deadline:
            logs = "\n".join(log.read_text()[-2000:] for log in folder.glob("*.log"))
            raise AssertionError(f"nobody listens on {port}:\n{logs}")
        time.sleep(0.1)


Fault = str
"""``ok``; ``lost``: carried out, the connection closed without an answer; ``cut``: half of the body; or one of
``_ANSWERS``, with a message that repeats all headers of the request."""


class FaultyProxy:
    """Passes requests on to a store, and breaks those that a rule names."""

    def __init__(
        self,
        store: ObjectStore,
        rule: Callable[[str, str], Fault] = lambda *_: "ok",
        without: tuple[str, ...] = (),
        encoding: str | None = None,
        certificate: Path | None = None,
    ) -> None:
        """The rule is asked for a fault with the method and the path and query of each request.

        Headers named in ``without`` are not passed on: so does a server that ignores conditions. Objects are given out
        with ``encoding`` as their Content-Encoding, as stores do that keep what they were sent with. With a file that
        holds key and certificate of 127.0.0.1, the proxy speaks https.
        """
        self.rule = rule
        self._without = {"expect", "connection", *without}
        self.seen: list[tuple[str, str, Fault]] = []
        self.headers: list[dict[str, str]] = []
        self._encoding, self._scheme = encoding, "http"
        self._upstream = urlsplit(store.endpoint).netloc
        self._store = store
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"

    def __enter__(self) -> ObjectStore:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        endpoint = f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"
        return ObjectStore(endpoint, self._store.access_key, self._store.secret_key)

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def log_message(self, *_: object) -> None:
                pass

            def serve(self) -> None:
                if self.headers.get("Expect"):
                    self.send_response_only(100)
                    self.end_headers()
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fault = proxy.rule(self.command, self.path)
                proxy.seen.append((self.command, self.path, fault))
                proxy.headers.append({name.lower(): value for name, value in self.headers.items()})
                if fault in _ANSWERS:
                    where = (("x-amz-bucket-region", "eu-central-1"),) if fault == "301" else ()
                    self.answer(_ANSWERS[fault][0], _error(fault, str(self.headers)), where)
                    return
                status, headers, content = proxy.forward(self.command, self.path, dict(self.headers), body)
                if proxy._encoding is not None and self.command in {"GET", "HEAD"} and "ETag" in dict(headers):
                    headers = (*headers, ("Content-Encoding", proxy._encoding))
                if fault == "lost":
                    self.close_connection = True
                    return
                self.answer(status, content, headers, cut=fault == "cut")

            def answer(
                self, status: int, content: bytes, headers: tuple[tuple[str, str], ...] = (), cut: bool = False
            ) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    self.send_header(name, value)
                if not any(name.lower() == "content-length" for name, _ in headers):
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content[: len(content) // 2] if cut else content)
                self.close_connection = self.close_connection or cut

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve  # noqa: N815

        return Handler

    def forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
        """Answer of the store behind."""
        connection = http.client.HTTPConnection(self._upstream, timeout=30)
        with contextlib.closing(connection):
            kept = {name: value for name, value in headers.items() if name.lower() not in self._without}
            connection.request(method, path, body, kept)
            answer = connection.getresponse()
            content = answer.read()
            dropped = {"transfer-encoding", "connection"}
            return answer.status, tuple(pair for pair in answer.getheaders() if pair[0].lower() not in dropped), content


_ANSWERS = {
    "503": (503, "SlowDown"),
    "409": (409, "ConditionalRequestConflict"),
    "501": (501, "NotImplemented"),
    "denied": (403, "AccessDenied"),
    "expired": (400, "ExpiredToken"),
    "301": (301, "PermanentRedirect"),
    "loop": (301, "PermanentRedirect"),
}


def _error(fault: str, headers: str) -> bytes:
    said = headers.replace("&", "&amp;").replace("<", "&lt;")
    return f"<?xml version='1.0'?><Error><Code>{_ANSWERS[fault][1]}</Code><Message>{said}</Message></Error>".encode()


def sometimes(seed: int, faults: tuple[Fault, ...], share: float) -> Callable[[str, str], Fault]:
    """A rule that breaks a share of the requests at random."""
    chance = random.Random(seed)
    return lambda method, path: chance.choice(faults) if chance.random() < share else "ok"
