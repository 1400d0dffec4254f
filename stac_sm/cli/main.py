"""The program ``stac-sm``: its commands in the order of the flow, and what becomes of errors.

Data goes to stdout, everything else to stderr. The exit code is 0 if all is done; 1 if something is wrong with what was
given, or could not be made; 2 if the command line cannot be read, which only click's parser says. The commands
themselves are in the other modules of this folder.
"""

from __future__ import annotations

import errno
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

import click

from stac_sm.cli.inputs import climatology, demo, features, ingest, init, simulate, tiles
from stac_sm.cli.operate import doctor, index, serve, submit
from stac_sm.cli.options import add_log_options, command_name, print_message
from stac_sm.cli.produce import audit, plan, retract, run, status
from stac_sm.cli.products import annual, export, mosaic, plot, validate
from stac_sm.cli.supply import fetch, update
from stac_sm.cli.train import evaluate, matchup, model_commands, predict_table, screen, train
from stac_sm.core.errors import StacSmError
from stac_sm.storage.log_lines import json_line, logs_as_json

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


class _Failure(click.ClickException):
    """Mistake that a user can fix; a JSON object where the log is JSON."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        # options of the log are forgotten when the command ends, before this is shown
        self._json = json_line("error", message) if logs_as_json() else ""

    def show(self, file: Any = None) -> None:
        """Print the message on stderr."""
        if self._json:
            click.echo(self._json, err=True)
        else:
            super().show(file)


class _UsageFailure(_Failure):
    """Command line that cannot be read, where the log is JSON; click's own message is text of several lines."""

    exit_code = click.UsageError.exit_code

    def __init__(self, error: click.UsageError) -> None:
        more = f" (`{error.ctx.command_path} --help` says what is possible)" if error.ctx else ""
        super().__init__(f"{error.format_message()}{more}")
        stage = command_name(error.ctx) if error.ctx else ""
        self._json = json_line("error", self.format_message(), {"stage": stage} if stage else None)


class _UnexpectedFailure(_Failure):
    """Error in the program itself, where the log is JSON: one object, with the traceback as a member."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"unexpected {type(error).__name__}: {error}: an error in stac_sm; please report it")
        self._json = json_line("error", self.message, trace="".join(traceback.format_exception(error)))


class _Group(click.Group):
    """Group that lists its commands by what they are for; a StacSmError becomes a message, not a traceback."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the words before the command, and note whether all of them ask for a log of JSON."""
        asked = _asks_for_json(args)
        try:
            ctx = super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise (_UsageFailure(error) if asked else error) from None
        ctx.meta[_JSON_ASKED] = asked
        return ctx

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands group by group, one plain sentence each, in one column."""
        width = max(map(len, self.commands))
        for title, rows in _GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(str(command.name).ljust(width), sentence) for command, sentence, _ in rows])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _ends_by_signal(ctx):
                return super().invoke(ctx)
        except click.UsageError as error:
            raise (_UsageFailure(error) if ctx.meta[_JSON_ASKED] else error) from None
        except StacSmError as error:
            raise _Failure(str(error)) from error
        except OSError as error:
            if error.errno not in _MACHINE:
                if logs_as_json():
                    raise _UnexpectedFailure(error) from error
                raise
            what = f"{error.filename2 or error.filename}: {(error.strerror or '').lower()}" if error.filename else error
            raise _Failure(f"{what}: {_MACHINE[error.errno]}, then run the same command again") from error
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except Exception as error:
            if logs_as_json():
                raise _UnexpectedFailure(error) from error
            raise


@contextmanager
def _ends_by_signal(ctx: click.Context) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into SystemExit: the workers of a command stop, and nothing is left half done.

    Left to themselves, SIGTERM would leave worker processes behind, and Ctrl-C would say nothing while the files in
    hand are finished. A second signal ends at once. The server has its own way to end.
    """
    if current_thread() is not main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        for one, handler in before.items():
            signal.signal(one, handler)
        if ctx.invoked_subcommand == serve.name:
            signal.raise_signal(number)
            return
        by = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        print_message(f"ended by {by}: what is made stays; run the same command again to make the rest")
        sys.exit(128 + number)

    handlers = {one: signal.getsignal(one) or signal.SIG_DFL for one in (signal.SIGINT, signal.SIGTERM)}
    before = {one: handler for one, handler in handlers.items() if handler != signal.SIG_IGN}  # as in a nohup
    for one in before:
        signal.signal(one, end)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


_JSON_ASKED = "log is JSON"


def _asks_for_json(words: Sequence[str]) -> bool:
    """Return whether a command line asks for a log of JSON, though it may have errors for which it is not parsed."""
    asked = "json" if logs_as_json() else "text"
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word == "--":
            break
        if word == "--log-format":
            asked = after
        elif word.startswith("--log-format="):
            asked = word.partition("=")[2]
    return asked == "json"


_FIRST_HOUR = """\b
A first hour:
  stac-sm demo                                              a project of a simulated Earth
  stac-sm plot 2019-06-09 --tile h18v04 --project sm-demo   a map of it
  stac-sm init my-project                                   a project of your own
"""


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, epilog=_FIRST_HOUR
)
@click.version_option(package_name="stac_sm", prog_name="stac-sm")
def main() -> None:
    """Make global 1 km daily soil moisture: from provider files to STAC items, models and published COGs."""


_Row = tuple[click.Command, str, str]
_GROUPS: dict[str, tuple[_Row, ...]] = {
    "Set up and inputs": (
        (demo, "Run the whole flow on a small simulated Earth.", "demo"),
        (simulate, "Write files of a simulated Earth, as the providers have them.", "simulate ~/earth"),
        (init, "Make a project: a project file and an empty catalogue.", "init my-project"),
        (tiles, "Name the tiles of a point or a box.", "tiles --at 7.12,44.12"),
        (
            fetch,
            "Fetch provider files from their services.",
            "fetch era5-land --bbox 6,43,9,46 --period 2018-06 --dry-run",
        ),
        (ingest, "Turn provider files into COGs and STAC items.", "ingest ~/era5-land/ ~/cci/ ~/dem/ ~/soilgrids/"),
        (climatology, "Average features over many years.", "climatology"),
        (features, "Show what a model would see on a tile and day.", "features h18v04 2019-06-08 --plot cube.png"),
    ),
    "Learn": (
        (matchup, "Bring station measurements and features together.", "matchup"),
        (screen, "Find the stations that represent their pixel.", "screen"),
        (train, "Train a model and score it at unseen stations.", "train"),
        (evaluate, "Score a model on a table.", "evaluate model others.csv --json"),
        (
            predict_table,
            "Predict the rows of a table.",
            "predict-table model others.csv --out predictions.csv",
        ),
        (model_commands, "Move a model to another project.", "model export ID --out model.zip"),
    ),
    "Make and publish": (
        (
            plan,
            "List what is missing or out of date, and its cost.",
            "plan --tiles h18v04 --period 2019-06-08/2019-06-10",
        ),
        (
            update,
            "Fetch, ingest, plan, run and index what is new.",
            "update --period last-30-days",
        ),
        (run, "Make the days of a plan, and publish them.", "run plan.parquet --workers 2"),
        (submit, "Send a plan to a batch system.", "submit plans/ID.parquet --to slurm --parallel 20 -- --qos=low"),
        (mosaic, "Make global days.", "mosaic --period 2019-06 --dry-run"),
        (annual, "Make annual or monthly means.", "annual 2018 2019 --global"),
        (plot, "Draw a map or a time series.", "plot 2019-06-09 --tile h18v04 --out map.png"),
        (
            export,
            "Export a box or a point to NetCDF or Zarr.",
            "export --at 7.12,44.12 --period 2019-06-08/2019-06-10 --to point.nc",
        ),
    ),
    "Look after and serve": (
        (status, "Report how far a plan is, and what failed.", "status"),
        (validate, "Validate the product against stations and others.", "validate --period 2019-06-08/2019-06-10"),
        (audit, "Verify all items and files of the catalogue.", "audit --sample 0.01"),
        (
            retract,
            "Withdraw items, with a reason.",
            'retract SM1KM.A2019159.h18v04.v001 --reason "LST granule was wrong"',
        ),
        (index, "Bring the search index up to date.", "index"),
        (serve, "Serve the catalogue as a STAC API.", "serve --port 8000"),
        (doctor, "Check that machine, project and store are ready.", "doctor"),
    ),
}
"""The commands by what they are for: sentence of the list, and the example that ends the command's help."""

for _rows in _GROUPS.values():
    for _command, _, _example in _rows:
        _command.epilog = f"\b\nExample:\n  stac-sm {_example}"
        add_log_options(_command, "info" if _command is serve else None)
        main.add_command(_command)
for _name, _example in (("export", "ID --out model.zip"), ("import", "model.zip")):
    model_commands.commands[_name].epilog = f"\b\nExample:\n  stac-sm model {_name} {_example}"
