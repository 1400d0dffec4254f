"""The command that looks whether a machine and a project are ready."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from stac_sm.cli.options import end, json_option, say, show

if TYPE_CHECKING:
    from stac_sm.doctor import Check


@click.command()
@click.option(
    "--project",
    "folder",
    show_default="here or above, if there is one",
    metavar="DIR",
    help="Folder with stac-sm.toml, or s3://BUCKET/PREFIX.",
)
@json_option
def doctor(folder: str | None, as_json: bool) -> None:
    """Look whether this machine, the project, its store and its catalogue are ready for work.

    A finding is ok, a note (it works, but better is possible) or failed (work will stop at it), with what to do.
    Nothing is changed. Exit code 1 if anything failed.
    """
    from stac_sm.doctor import FAILED, examine

    found = []
    for check in examine(folder):
        found.append(check)
        if not as_json:
            click.echo(_line(check))
    if as_json:
        show([asdict(check) for check in found], as_json)
    failed = [check for check in found if check.state == FAILED]
    say(f"{len(found)} looked at, {len(failed)} failed")
    end(failed, "do what stands behind `do`, then run stac-sm doctor again")


def _line(check: Check) -> str:
    said = f"{check.state:6}  {check.part}: {check.name}: {check.found}"
    return f"{said}\n        do: {check.advice}" if check.advice else said
