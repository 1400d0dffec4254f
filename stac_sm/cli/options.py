"""Options and arguments that commands share, and what they print where.

Results go to stdout, as text or JSON; messages go to stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stac_sm.storage.address import local_path

if TYPE_CHECKING:
    from stac_sm.workflows.project import Project


class LocalPath(click.Path):
    """Path of this machine, or a ``file:`` URL of one; an address of another kind is refused, not made a folder."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        return super().convert(local_path(value), param, ctx)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
project_option = click.option(
    "--project",
    "folder",
    default=".",
    show_default="here or above",
    metavar="DIR",
    help="Folder with stac-sm.toml, or s3://BUCKET/PREFIX.",
)
workers_option = click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes.")


def open_project(folder: Path | str) -> Project:
    """Open the nearest project in a folder or above, or that of an ``s3://BUCKET/PREFIX``.

    Parameters
    ----------
    folder
        What ``--project`` names.

    Returns
    -------
    Project
        With the settings of its project file.

    Raises
    ------
    InputError
        If there is none, or its file is wrong.
    """
    from stac_sm.workflows.project import find_project

    return find_project(folder)


def select_tiles(project: Project, tiles: str | None, bbox: str | None, land: bool) -> list[str] | None:
    """Return the tiles that options select: by id, by a box in degrees, or all with land.

    Parameters
    ----------
    project
        Its grid has the tiles.
    tiles
        Ids with commas between, or None.
    bbox
        West, south, east, north in degrees with commas between, or None.
    land
        Whether to select all tiles with land.

    Returns
    -------
    list of str or None
        Tile ids; None where no option is given.

    Raises
    ------
    click.UsageError
        If more than one is given, or the box is none.
    InputError
        If the grid has no such tile.
    """
    from stac_sm.core.land import land_tiles

    if [tiles is None, bbox is None, not land].count(False) > 1:
        raise click.UsageError("give one of --tiles, --bbox and --land")
    if land:
        return land_tiles(project.grid)
    if tiles is not None:
        return parsed_tiles(project, tiles)
    return None if bbox is None else list(project.grid.tiles_in(parsed_box(bbox)))


def parsed_box(text: str) -> tuple[float, float, float, float]:
    """Parse a box such as ``6,43,9,46``.

    Parameters
    ----------
    text
        West, south, east, north in degrees.

    Returns
    -------
    tuple of float
        In this order; west is greater than east across the antimeridian.

    Raises
    ------
    click.UsageError
        If it is no box.
    """
    try:
        west, south, east, north = (float(part) for part in text.split(","))
        if not (-90 <= south <= 90 and -90 <= north <= 90 and -360 <= west <= 360 and -360 <= east <= 360):
            raise ValueError(text)
    except ValueError as error:
        raise click.UsageError(
            f"--bbox {text!r}: four numbers are required, WEST,SOUTH,EAST,NORTH in degrees"
        ) from error
    return west, south, east, north


def parsed_tiles(project: Project, text: str | None) -> list[str]:
    """Parse tile ids such as ``h18v04,h18v05``.

    Parameters
    ----------
    project
        Its grid must have each of them.
    text
        Ids with commas between, or None.

    Returns
    -------
    list of str
        Empty for None.

    Raises
    ------
    InputError
        If the grid has no such tile.
    """
    tiles = [tile.strip() for tile in text.split(",")] if text is not None else []
    for tile in tiles:
        project.grid.column_row(tile)
    return tiles


def print_result(value: Any, as_json: bool) -> None:
    """Print rows as a table, a mapping as facts, or either as JSON.

    Parameters
    ----------
    value
        List of rows, or a mapping.
    as_json
        Whether to print JSON.
    """
    from stac_sm.core.text import format_facts, format_table, to_json

    click.echo(to_json(value) if as_json else format_facts(value) if isinstance(value, dict) else format_table(value))


def print_message(message: str) -> None:
    """Print what is no data: on stderr.

    Parameters
    ----------
    message
        One line, or more.
    """
    click.echo(message, err=True)


def exit_if_failed(failed: list[Any], message: str) -> None:
    """Exit with code 1 and a message if anything failed.

    Parameters
    ----------
    failed
        What failed; empty if nothing did.
    message
        What failed and what to do.
    """
    if failed:
        print_message(message)
        sys.exit(1)
