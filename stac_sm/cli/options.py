"""Options and arguments that commands share, and what they print where.

Results go to stdout, as text or JSON; messages go to stderr.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stac_sm.core.errors import InputError
from stac_sm.core.progress import LOG_FORMAT_VARIABLE
from stac_sm.storage.address import local_path
from stac_sm.storage.log_lines import (
    LEVEL_VARIABLE,
    LOG_FORMATS,
    LOG_LEVELS,
    STAGE_VARIABLE,
    json_line,
    logs_as_json,
    start_logging,
    stop_logging,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stac_sm.core.grid import TileGrid
    from stac_sm.workflows.project import Project


class LocalPath(click.Path):
    """Path of this machine, or a ``file:`` URL of one; an address of another kind is refused, not made a folder.

    A path that is refused is wrong input, not a wrong command line: `InputError`, exit code 1.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        path = local_path(value)
        try:
            return super().convert(path, param, ctx)
        except click.BadParameter as error:
            before = f"{param.opts[0]} " if isinstance(param, click.Option) else ""
            required = "a folder" if self.dir_okay and not self.file_okay else "a file"
            if not path.exists():
                raise InputError(f"{before}{path}: there is no such {required[2:]}: check the path") from error
            if path.is_dir() != self.dir_okay or path.is_file() != self.file_okay:
                found = "a folder" if path.is_dir() else "a file"
                raise InputError(f"{before}{path}: {found} found, {required} is required") from error
            raise InputError(f"{before}{path}: {error.message}") from error


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
project_option = click.option(
    "--project",
    "folder",
    default=".",
    show_default="here or above",
    metavar="DIR",
    help="Folder with stac-sm.toml, or s3://BUCKET/PREFIX.",
)
optional_project_option = click.option(
    "--project",
    "folder",
    show_default="here or above, if there is one",
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


at_option = click.option("--at", metavar="LON,LAT", help="Tile that holds this point, degrees east, then north.")
bbox_option = click.option(
    "--bbox", metavar="W,S,E,N", help="Tiles that overlap this box in degrees; W is above E across the antimeridian."
)


def select_tiles(
    project: Project, *, tiles: str | None = None, at: str | None = None, bbox: str | None = None, land: bool = False
) -> list[str] | None:
    """Return the tiles that options select: by id, by a point or a box in degrees, or all with land.

    Prints which tiles a point or a box selects.

    Parameters
    ----------
    project
        Its grid has the tiles.
    tiles
        Ids with commas between, or None.
    at
        Degrees east and north with a comma between, or None.
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
    InputError
        If more than one is given, the point or the box is none, or the grid has no such tile, or none with land where
        the point or the box is.
    """
    from stac_sm.core.land import land_tiles

    if [tiles is None, at is None, bbox is None, not land].count(False) > 1:
        raise InputError("give one of --tiles, --at, --bbox and --land")
    if land:
        return land_tiles(project.grid)
    if tiles is not None:
        return parsed_tiles(project, tiles)
    if at is None and bbox is None:
        return None
    found = tiles_of_places(project.grid, at, bbox)
    _require_land(project, found, at, bbox)
    print_message(_tiles_text(project.grid, found))
    return found


_MOST_TILES = 10  # that a message names


def _tiles_text(grid: TileGrid, tiles: Sequence[str]) -> str:
    """Return the tiles with their sides in degrees, the first of many."""
    shown = [grid.describe(tile) for tile in tiles[:_MOST_TILES]]
    more = [f"{len(tiles) - _MOST_TILES} more"] if len(tiles) > _MOST_TILES else []
    return f"{'tile' if len(tiles) == 1 else 'tiles'}: {', '.join(shown + more)}"


def select_box(project: Project, bbox: str | None) -> tuple[float, float, float, float] | None:
    """Return the box that an option selects, for commands that take no whole tiles; print it in words.

    Parameters
    ----------
    project
        Its grid has the tiles that the message names.
    bbox
        West, south, east, north in degrees with commas between, or None.

    Returns
    -------
    tuple of float or None
        The four numbers; None where the option is not given.

    Raises
    ------
    InputError
        If it is no box, or there is no land in it: most often, longitude and latitude were swapped.
    """
    from stac_sm.core.places import sides_text

    if bbox is None:
        return None
    box = parsed_box(bbox)
    found = tiles_of_places(project.grid, None, bbox)
    _require_land(project, found, None, bbox)
    print_message(f"box: {sides_text(box)}; {_tiles_text(project.grid, found)}")
    return box


def print_place(
    bbox: tuple[float, float, float, float] | None, point: tuple[float, float] | None, grid: TileGrid | None
) -> None:
    """Print the box or the point that a command has understood in words, so that a swap of the two axes is seen.

    Parameters
    ----------
    bbox
        West, south, east, north in degrees, or None.
    point
        Degrees east and north, or None.
    grid
        Its tiles there are named; None where it is not known, as that of another catalogue.
    """
    from stac_sm.core.places import sides_text

    if bbox is not None:
        words, tiles = f"box: {sides_text(bbox)}", list(grid.tiles_in(bbox)) if grid else []
    elif point is not None:
        words = "point: longitude {:g}, latitude {:g}".format(*point)
        tiles = [grid.tile_at(*point)[0]] if grid else []
    else:
        return
    print_message(f"{words}; {_tiles_text(grid, tiles)}" if grid and tiles else words)


def tiles_of_places(grid: TileGrid, at: str | None, bbox: str | None) -> list[str]:
    """Return the tiles that hold a point, or share an area with a box, with or without land.

    Parameters
    ----------
    grid
        Has the tiles.
    at
        Degrees east and north with a comma between; None: by the box.
    bbox
        West, south, east, north in degrees with commas between.

    Returns
    -------
    list of str
        Tile ids, row by row from the north; at least one.

    Raises
    ------
    InputError
        If the point or the box is none, or the grid has no tile there.
    """
    if at is not None:
        return [grid.tile_at(*parsed_point(at))[0]]
    found = list(grid.tiles_in(parsed_box(str(bbox))))
    if not found:
        raise InputError(f"--bbox {bbox}: no tile found: a box that meets grid {grid.name} is required")
    return found


def _require_land(project: Project, found: Sequence[str], at: str | None, bbox: str | None) -> None:
    """Refuse places in the sea, where nothing is made: most often, lon and lat were swapped."""
    from stac_sm.core.land import has_land
    from stac_sm.core.places import swapped_box

    grid = project.grid
    if not all(has_land(grid, tile) is False for tile in found):
        return
    hint = ""
    if at is not None:
        lon, lat = parsed_point(at)
        if abs(lon) <= 90 and has_land(grid, other := grid.tile_at(lat, lon)[0]):
            hint = f"; {lat:g},{lon:g} would be in {grid.describe(other)}"
    elif (swapped := swapped_box(parsed_box(str(bbox)))) is not None:
        there = [tile for tile in grid.tiles_in(swapped) if has_land(grid, tile)]
        hint = f"; {','.join(f'{one:g}' for one in swapped)} would be in {grid.describe(there[0])}" if there else ""
    named = ", ".join(grid.describe(tile) for tile in found[:_MOST_TILES])
    raise InputError(
        f"{f'--at {at}' if at is not None else f'--bbox {bbox}'}: no land found in {named}: the longitude comes first, "
        f"in degrees east{hint}; a tile of small islands can be named by --tiles"
    )


def parsed_point(text: str) -> tuple[float, float]:
    """Parse a point such as ``115.86,-31.95``.

    Parameters
    ----------
    text
        Degrees east and north.

    Returns
    -------
    tuple of float
        Longitude and latitude.

    Raises
    ------
    InputError
        If it is no point on the Earth.
    """
    from stac_sm.core.places import check_point

    try:
        lon, lat = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--at {text!r}: two numbers are required, LON,LAT in degrees") from error
    try:
        check_point(lon, lat)
    except InputError as error:
        raise InputError(f"--at {text}: {error}") from error
    return lon, lat


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
    InputError
        If it is no box on the Earth.
    """
    from stac_sm.core.places import check_box

    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--bbox {text!r}: four numbers are required, WEST,SOUTH,EAST,NORTH in degrees") from error
    try:
        return check_box((west, south, east, north))
    except InputError as error:
        raise InputError(f"--bbox {text}: {error}") from error


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

    A heading of a table with blanks, such as ``GB to read``, is a key with underscores in JSON: ``gb_to_read``.

    Parameters
    ----------
    value
        List of rows, or a mapping.
    as_json
        Whether to print JSON.
    """
    from stac_sm.core.text import format_facts, format_table, to_json

    if as_json:
        named = json_keys(value) if isinstance(value, dict) else [json_keys(row) for row in value]
        click.echo(to_json(named))
        return
    click.echo(format_facts(value) if isinstance(value, dict) else format_table(value))


def json_keys(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with keys for JSON in place of headings; those without blanks stay as they are.

    Parameters
    ----------
    row
        By heading.

    Returns
    -------
    dict
        The same values; keys of a value that is a mapping itself are data, and stay.
    """
    return {key.replace(" ", "_").lower() if " " in key else key: value for key, value in row.items()}


def print_message(message: str, level: str = "info") -> None:
    """Print what is no data: on stderr.

    Parameters
    ----------
    message
        One line, or more.
    level
        One of `LOG_LEVELS`, for a log of JSON.
    """
    click.echo(json_line(level, message) if logs_as_json() else message, err=True)


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
        print_message(message, "error")
        sys.exit(1)


def add_log_options(command: click.Command, level: str | None = None) -> None:
    """Add to a command, or to each of a group, the options of its log lines.

    Parameters
    ----------
    command
        Gets ``--log-level`` and ``--log-format``.
    level
        Level of its lines where none is asked for; None for no lines.
    """
    if isinstance(command, click.Group):
        for one in command.commands.values():
            add_log_options(one, level)
        return
    command.params += [
        click.Option(
            ["--log-format"], type=click.Choice(LOG_FORMATS), default="text", expose_value=False, is_eager=True,
            envvar=LOG_FORMAT_VARIABLE, show_default=True, callback=_follow_log_options,
            help="Form of log lines and messages.",
        ),
        click.Option(
            ["--log-level"], type=click.Choice(LOG_LEVELS), envvar=LEVEL_VARIABLE, callback=_follow_log_options,
            help="Log lines of this level and above go to stderr.", default=level, show_default=level or False,
            expose_value=False, is_eager=True,
        ),
    ]  # fmt: skip


def _follow_log_options(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Start logging once both options are known; it ends with the command."""
    given = ctx.meta.setdefault("log options", {})
    given[parameter.name] = value
    if len(given) < 2 or (given["log_level"] is None and given["log_format"] == "text"):
        return
    before = {name: os.environ.get(name) for name in (LEVEL_VARIABLE, LOG_FORMAT_VARIABLE, STAGE_VARIABLE)}

    def end() -> None:
        stop_logging()
        for name, text in before.items():
            os.environ.pop(name, None)
            os.environ |= {} if text is None else {name: text}

    ctx.find_root().call_on_close(end)
    start_logging(given["log_level"] or "warning", given["log_format"], command_name(ctx))


def command_name(ctx: click.Context) -> str:
    """Return the name of a command without the program's: the stage of its log lines.

    Parameters
    ----------
    ctx
        Context of the command.

    Returns
    -------
    str
        Such as ``ingest`` or ``model export``; empty for the program alone.
    """
    above = command_name(ctx.parent) if ctx.parent else ""
    own = str(ctx.info_name) if ctx.parent or not isinstance(ctx.command, click.Group) else ""
    return f"{above} {own}".strip()
