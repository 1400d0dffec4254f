"""Serving: a read-only STAC API over a catalogue, with the files of its assets and STAC Browser, without set-up."""

from __future__ import annotations

from collections.abc import Callable


def serve(href: str, *, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve a catalogue until the process is told to end.

    Parameters
    ----------
    href
        A folder, or ``s3://BUCKET/PREFIX``.
    host
        Address to listen on; ``0.0.0.0`` lets other machines in.
    port
        Port; 0 takes a free one.
    say
        Told the address when the server listens.

    Raises
    ------
    CatalogError
        If there is no catalogue.
    InputError
        If the port is taken.
    """
    from stac_sm.serve.server import run

    run(href, host, port, say)
