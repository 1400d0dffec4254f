"""The program ``stac-sm``: its commands in the order of the flow, and what becomes of errors.

Data goes to stdout, everything else to stderr. A mistake that a user can fix is one message and exit code 1. The
commands themselves are in the other modules of this folder.
"""

from __future__ import annotations

import errno
from typing import Any

import click

from stac_sm.cli.inputs import climatology, demo, features, ingest, init, simulate, tiles
from stac_sm.cli.operate import doctor, index, serve, submit
from stac_sm.cli.produce import audit, plan, retract, run, status
from stac_sm.cli.products import annual, export, mosaic, plot, validate
from stac_sm.cli.train import evaluate, matchup, model_commands, predict_table, screen, train
from stac_sm.core.errors import StacSmError

_MACHINE = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EROFS: "make it writable",
    errno.EACCES: "fix its rights",
    errno.EPERM: "fix its rights",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a folder is required there",
    errno.EEXIST: "take it away, or name another place",
    errno.EISDIR: "a file is required there",
    errno.ENAMETOOLONG: "take a shorter name",
}
"""What a user can do about a machine that does not take what is written, or a place where nothing can be."""


class _Group(click.Group):
    """Group with its commands in the order of the flow; a StacSmError becomes a message, not a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with whole sentences, where click ends them in dots."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(limit=200)) for name, one in self.commands.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StacSmError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.errno not in _MACHINE:
                raise
            raise click.ClickException(f"{error}: {_MACHINE[error.errno]}, then run the same command again") from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="stac_sm", prog_name="stac-sm")
def main() -> None:
    """Make global 1 km daily soil moisture: from provider files to STAC items, models and published COGs."""


_COMMANDS = (
    demo,
    simulate,
    init,
    tiles,
    ingest,
    climatology,
    features,
    matchup,
    screen,
    train,
    evaluate,
    predict_table,
    model_commands,
    plan,
    run,
    submit,
    status,
    audit,
    retract,
    mosaic,
    annual,
    validate,
    plot,
    export,
    index,
    serve,
    doctor,
)
for _command in _COMMANDS:
    main.add_command(_command)
