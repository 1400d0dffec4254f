"""What the commands share: options, the program's name for errors, and what is printed where."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from stac_sm.workflows.project import Project

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
    """The nearest project in a folder or above, or that of an ``s3://BUCKET/PREFIX``."""
    from stac_sm.workflows.project import find_project

    return find_project(folder)


def select_tiles(project: Project, tiles: str | None, bbox: str | None, land: bool) -> list[str] | None:
    """Tiles by id, by a box in degrees, or all with land: one of them at most; None where none is given."""
    from stac_sm.core.land import land_tiles

    if [tiles is None, bbox is None, not land].count(False) > 1:
        raise click.UsageError("give one of --tiles, --bbox and --land")
    if land:
        return land_tiles(project.grid)
    if tiles is not None:
        return parsed_tiles(project, tiles)
    return None if bbox is None else list(project.grid.tiles_in(parsed_box(bbox)))


def parsed_box(text: str) -> tuple[float, float, float, float]:
    """West, south, east, north of ``6,43,9,46``."""
    try:
        west, south, east, north = (float(part) for part in text.split(","))
        if not (-90 <= south <= 90 and -90 <= north <= 90 and -360 <= west <= 360 and -360 <= east <= 360):
            raise ValueError(text)
    except ValueError as error:
        raise click.UsageError(f"--bbox {text!r}: four numbers wanted, WEST,SOUTH,EAST,NORTH in degrees") from error
    return west, south, east, north


def parsed_tiles(project: Project, text: str | None) -> list[str]:
    """Tiles of ``h18v04,h18v05``, each of which the grid has; none of None."""
    tiles = [tile.strip() for tile in text.split(",")] if text is not None else []
    for tile in tiles:
        project.grid.column_row(tile)
    return tiles


def print_result(value: Any, as_json: bool) -> None:
    """Print rows as a table, a mapping as facts, or either as JSON."""
    from stac_sm.core.text import format_facts, format_table, to_json

    click.echo(to_json(value) if as_json else format_facts(value) if isinstance(value, dict) else format_table(value))


def print_message(message: str) -> None:
    """Tell the user something that is no data: on stderr."""
    click.echo(message, err=True)


def exit_if_failed(failed: list[Any], message: str) -> None:
    """Exit with 1 and a message if anything failed."""
    if failed:
        print_message(message)
        sys.exit(1)
