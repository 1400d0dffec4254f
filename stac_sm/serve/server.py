"""Run the server process: serve a catalogue until the process is ended.

``stac-sm serve`` calls it; `app` has the routes, `service` what may be given out.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.config import LOGGING_CONFIG
from uvicorn.supervisors import Multiprocess

from stac_sm.core.errors import InputError
from stac_sm.serve.app import browser_folder, create_app
from stac_sm.serve.proxy import PublicAddress
from stac_sm.serve.service import CatalogService
from stac_sm.storage.log_lines import follow_logging, logs_as_json

_CLIENTS_AT_ONCE = 256
_WORKER_SETTINGS = "STAC_SM_SERVE_WORKER"


def serve(
    href: str,
    *,
    host: str,
    port: int,
    log: Callable[[str], None],
    collections: Sequence[str] = (),
    address: PublicAddress | None = None,
    workers: int = 1,
    listening: Callable[[dict[str, object]], None] = lambda facts: None,
) -> None:
    """Serve what is public of a catalogue until the process is ended.

    Parameters
    ----------
    href
        A folder, or ``s3://BUCKET/PREFIX``.
    host
        Address to listen on; ``0.0.0.0`` lets other machines in.
    port
        Port; 0 takes a free one.
    log
        Called with a line of text: the address when the server listens, and what is not given out.
    collections
        Ids of restricted collections that are given out nevertheless.
    address
        How clients reach the server, if not directly; None for as it listens.
    workers
        Processes that answer, each with its own copy of the index; one that ends is started again.
    listening
        Called once, with ``address`` (of the API), ``root``, ``items`` and ``browser``, as soon as clients can connect.

    Raises
    ------
    CatalogError
        If there is no catalogue.
    InputError
        If the port is taken, or one of ``collections`` is not in the catalogue.
    """
    socket_there = _listen(host, port)
    try:
        service, browser = CatalogService(href, collections), browser_folder()
        here = f"http://{f'[{host}]' if ':' in host else host}:{socket_there.getsockname()[1]}"
        here += address.root_path if address else ""
        _log_visibility(service, log)
        log(f"{len(service.snapshot.rows)} items of {service.store.root} at {here} (Ctrl-C ends it)")
        log(f"STAC Browser at {here}/browser" if browser else "no STAC Browser: infra/browser/build.sh builds it")
        items, root = len(service.snapshot.rows), service.store.root
        listening({"address": here, "root": root, "items": items, "browser": browser is not None})
        if workers > 1:
            _serve_by_processes(socket_there, workers, service.store.root, collections, address)
            return
        app = create_app(service, browser=browser, address=address, log=log)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(_config(app)).run(sockets=[socket_there])
    finally:
        socket_there.close()


def _config(app: FastAPI | str, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        proxy_headers=False,  # ours does it
        log_level="warning",
        log_config=None if logs_as_json() else LOGGING_CONFIG,
        limit_concurrency=_CLIENTS_AT_ONCE,
        timeout_graceful_shutdown=5,
        server_header=False,
        **options,
    )


def _serve_by_processes(
    listening: socket.socket, workers: int, href: str, collections: Sequence[str], address: PublicAddress | None
) -> None:
    """Run processes that answer beside one another; the environment tells each what it serves."""
    asked = address or PublicAddress()
    told = {
        "href": href, "collections": list(collections),
        "root_path": asked.root_path, "proxies": list(asked.proxies), "hosts": list(asked.hosts),
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="stac-sm-metrics-") as counts:
        os.environ[_WORKER_SETTINGS] = json.dumps(told)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = counts  # where prometheus-client adds up those of all processes
        try:
            config = _config("stac_sm.serve.server:worker_app", factory=True, workers=workers)
            Multiprocess(config, sockets=[listening]).run()
        finally:
            del os.environ[_WORKER_SETTINGS], os.environ["PROMETHEUS_MULTIPROC_DIR"]


def worker_app() -> FastAPI:
    """Create the application of one of several processes, from what `serve` has put into the environment.

    Returns
    -------
    fastapi.FastAPI
        ASGI application over its own copy of the index.
    """
    follow_logging()
    told = json.loads(os.environ[_WORKER_SETTINGS])
    address = PublicAddress(told["root_path"], tuple(told["proxies"]), tuple(told["hosts"]))
    service = CatalogService(told["href"], told["collections"])
    return create_app(service, browser=browser_folder(), address=address)


def _log_visibility(service: CatalogService, log: Callable[[str], None]) -> None:
    """Report what is withheld, and what the operator has opened."""
    view = service.snapshot.view
    if view.withheld:
        log(f"not given out, since restricted: {', '.join(view.withheld)} (--collections ID opens one)")
    if view.opened:
        log(f"opened by --collections, with all their assets: {', '.join(sorted(view.opened))}")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle's delay on
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(1024)
    except OSError as error:
        made.close()
        raise InputError(
            f"{host}:{port} cannot be listened on ({error.strerror}): give another --port or --host"
        ) from error
    return made
