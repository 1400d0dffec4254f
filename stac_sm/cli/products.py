"""Commands that use the product: mosaic, annual, plot, validate.

They make global days and means of it, draw it, and validate it against stations and other products.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stac_sm.cli.options import (
    LocalPath,
    at_option,
    bbox_option,
    exit_if_failed,
    json_option,
    open_project,
    parsed_box,
    parsed_point,
    parsed_tiles,
    print_message,
    print_place,
    print_result,
    project_option,
    select_tiles,
    workers_option,
)
from stac_sm.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stac_sm.core.period import Period
    from stac_sm.product.aggregates.source_items import AggregateResult
    from stac_sm.workflows.project import Project
    from stac_sm.workflows.validation.validate import PublishedValidation

_OUTCOMES = ("new", "replaced", "done", "failed")
_MOST_PRINTED = 10  # lines; --json names all
_dry_run = click.option("--dry-run", is_flag=True, help="Print what would be made, and make nothing.")


@click.command()
@project_option
@click.option("--period", help="2019, 2019-06, 2019-06-01 or FIRST/LAST.  [default: the project file's]")
@_dry_run
@json_option
def mosaic(folder: str, period: str | None, dry_run: bool, as_json: bool) -> None:
    """Make global days: the tiles of a day in one COG, one in degrees that maps can draw, and a preview.

    Days that are there and made from the same tile-days are left alone; others are replaced.
    """
    from stac_sm.core.progress import ProgressBar
    from stac_sm.product.aggregates.mosaic import make_mosaics

    project = open_project(folder)
    with ProgressBar("mosaic", "tiles", print_message) as progress:
        made = make_mosaics(
            project.catalog,
            project.grid,
            _period(project, period),
            project.about.version,
            dry_run=dry_run,
            progress=progress.step,
        )
    _print_aggregates(made, as_json)


@click.command()
@click.argument("years", metavar="[YEAR]...", nargs=-1)
@project_option
@click.option("--monthly", is_flag=True, help="Means of the months of these years instead.")
@click.option("--tiles", help="Tile ids with commas between.  [default: all that have tile-days]")
@click.option("--least-days", type=click.IntRange(1), default=1, show_default=True, help="With a value, for a mean.")
@click.option("--global", "as_one", is_flag=True, help="One file of all tiles, too.")
@workers_option
@_dry_run
@json_option
def annual(
    years: tuple[str, ...],
    folder: str,
    monthly: bool,
    tiles: str | None,
    least_days: int,
    as_one: bool,
    workers: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make annual or monthly means of each tile, with the number of days that have a value.

    Without YEAR, those of the project file's period. A mean that is there and made from the same tile-days is left
    alone; others are replaced.
    """
    from stac_sm.core.progress import ProgressBar
    from stac_sm.product.aggregates.means import ANNUAL, MONTHLY, make_means

    project = open_project(folder)
    if as_one and tiles:
        raise InputError("give one of --tiles and --global")
    with ProgressBar("monthly means" if monthly else "annual means", "tiles", print_message) as progress:
        made = make_means(
            project.catalog,
            project.grid,
            _spans(project, years, monthly),
            project.about.version,
            collection=MONTHLY if monthly else ANNUAL,
            tiles=parsed_tiles(project, tiles),
            least_days=least_days,
            as_one=as_one,
            workers=1 if dry_run else workers,
            dry_run=dry_run,
            progress=progress.step,
        )
    _print_aggregates(made, as_json)


@click.command()
@click.argument("period")
@project_option
@click.option("--catalog", help="Another catalogue to draw: a folder, s3://…, http(s)://….  [default: the project's]")
@click.option("--tile", help="Tile to draw.  [default: the global day]")
@click.option("--bbox", help="West,south,east,north in degrees to draw.")
@click.option("--at", "point", metavar="LON,LAT", help="Draw the series of this point over PERIOD.")
@click.option("--minus", metavar="DAY", help="Draw the difference to this day.")
@click.option("--mask", default="", help="Flags whose pixels are left out, with commas between, e.g. clipped,snow.")
@click.option(
    "--projection",
    type=click.Choice(["degrees", "product"]),
    default="degrees",
    show_default=True,
    help="Of a map: degrees with coast lines, or the pixels of the product.",
)
@click.option("--out", type=LocalPath(dir_okay=False), help=".png, .pdf or .svg.  [default: NAME.png]")
@json_option
def plot(
    period: str,
    folder: str,
    catalog: str | None,
    tile: str | None,
    bbox: str | None,
    point: str | None,
    minus: str | None,
    mask: str,
    projection: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Draw a day, the difference of two, or with --at the series of a point over PERIOD.

    A series has the prediction interval, the flags, and what stations of the project in the same pixel measured: keep
    such a picture to yourself, since the ISMN forbids redistribution. Prints the name of the picture.
    """
    from stac_sm.core.period import Period
    from stac_sm.product.pictures import Picture, draw
    from stac_sm.stac.catalogs.catalog import open_catalog
    from stac_sm.workflows.station_series import station_series

    if [tile, bbox, point].count(None) < 2 or (point and minus):
        raise InputError("give one of --tile, --bbox and --at; --minus does not go with --at")
    project = None if catalog else open_project(folder)
    if tile and project is None:
        raise InputError("--tile does not go with --catalog: its grid is not known; give --bbox")
    picture = Picture(
        period,
        minus=minus,
        geobox=project.grid.geobox(tile) if project and tile else None,
        bbox=parsed_box(bbox) if bbox else None,
        point=parsed_point(point) if point else None,
        mask=tuple(name.strip() for name in mask.split(",") if name.strip()),
        place=tile or "",
        degrees=projection == "degrees",
    )
    source = project.catalog if project else open_catalog(str(catalog))
    print_place(picture.bbox, picture.point, project.grid if project else None)
    stations = None
    if project is not None and picture.point is not None:
        stations = station_series(project, *picture.point, Period.parse(period))
    drawn = draw(source, picture, out, stations)
    if not as_json:
        click.echo(drawn)
        return
    print_result({"path": str(drawn), "period": period, "minus": minus, "mask": list(picture.mask)}, as_json)


@click.command()
@click.option("--bbox", help="West,south,east,north in degrees.")
@click.option("--at", "point", metavar="LON,LAT", help="Or a point: its time series.")
@click.option("--period", required=True, help="2019, 2019-06, 2019-06-01 or FIRST/LAST.")
@click.option("--to", required=True, type=LocalPath(), help="File or folder to write: NAME.nc or NAME.zarr.")
@click.option("--format", "kind", type=click.Choice(["netcdf", "zarr", "icechunk"]), help="[default: by the suffix]")
@click.option("--grid", type=float, help="Cells of so many degrees.  [default: the pixels of the product]")
@click.option("--mask", default="", help="Flags whose pixels are left out, with commas between, e.g. clipped,snow.")
@click.option("--append", is_flag=True, help="Add days to a file that is there.")
@click.option("--catalog", help="Another catalogue: a folder, s3://…, http(s)://….  [default: the project's]")
@project_option
@json_option
def export(
    bbox: str | None,
    point: str | None,
    period: str,
    to: Path,
    kind: str | None,
    grid: float | None,
    mask: str,
    append: bool,
    catalog: str | None,
    folder: str,
    as_json: bool,
) -> None:
    """Export soil moisture of a box or a point to one file: CF NetCDF, Zarr or Icechunk.

    A STAC item that describes the file is written beside it. With --append, later days are added.
    """
    from stac_sm.core.period import Period
    from stac_sm.core.progress import ProgressBar
    from stac_sm.product.export.export import ExportRequest, export_product
    from stac_sm.stac.catalogs.catalog import open_catalog

    if (bbox is None) == (point is None):
        raise InputError("give one of --bbox and --at")
    if point and grid:
        raise InputError("--grid does not go with --at: a point has the values of its pixel")
    request = ExportRequest(
        Period.parse(period),
        to,
        bbox=parsed_box(bbox) if bbox else None,
        at=parsed_point(point) if point else None,
        step=grid,
        format=kind or "",
        mask=tuple(name.strip() for name in mask.split(",") if name.strip()),
        append=append,
    )
    project = None if catalog else open_project(folder)
    source = project.catalog if project else open_catalog(str(catalog))
    print_place(request.bbox, request.at, project.grid if project else None)
    with ProgressBar("export", "blocks of days", print_message) as progress:
        made = export_product(source, request, progress=progress.step)
    for one in made.left_out:
        print_message(f"left out: {one}")
    result = {"path": str(made.path), "item": str(made.item), "days": made.days, "days_with_product": made.with_product,
              "period": str(made.period), "left_out": list(made.left_out)}  # fmt: skip
    print_result(result, as_json)


def _period(project: Project, text: str | None) -> Period:
    from stac_sm.core.period import Period

    return Period.parse(text) if text else project.product_period


def _spans(project: Project, years: Sequence[str], monthly: bool) -> list[Period]:
    """Return whole years, or their months, each once."""
    from stac_sm.core.period import ONE_DAY, Period

    periods = [_period(project, year) for year in years or ("",)]
    numbers = sorted({number for one in periods for number in range(one.start.year, (one.end - ONE_DAY).year + 1)})
    spans = [Period.parse(str(number)) for number in numbers]
    return [month for span in spans for month in span.months()] if monthly else spans


def _print_aggregates(made: Sequence[AggregateResult], as_json: bool) -> None:
    """Print what came of aggregates, as counts or each of them as JSON; exit with code 1 if any failed."""
    counts = {name: sum(one.outcome == name for one in made) for name in _OUTCOMES}
    print_result([vars(one) for one in made] if as_json else counts, as_json)
    failed = [one for one in made if one.error]
    fine = [one for one in made if not one.error]
    for one in fine[:_MOST_PRINTED]:
        print_message(f"{one.outcome}: {one.id}")
    if len(fine) > _MOST_PRINTED:
        print_message(f"and {len(fine) - _MOST_PRINTED} more: --json names all")
    for one in failed:
        print_message(f"failed: {one.id}: {one.error}")
    exit_if_failed([] if made else [made], "nothing to make: no tile-day is there; `stac-sm status` says what is")
    exit_if_failed(failed, f"{len(failed)} of {len(made)} failed; fix the cause and run the same command again")


@click.command()
@project_option
@click.option("--period", help="2019, 2019-06, 2019-06-01 or FIRST/LAST.  [default: the project file's]")
@click.option("--tiles", help="Tile ids with commas between.  [default: all that have tile-days]")
@click.option(
    "--against", metavar="ID", multiple=True, help="Also against this collection of soil moisture; may be repeated."
)
@at_option
@bbox_option
@click.option(
    "--scaling",
    type=click.Choice(["none", "mean-std", "cdf"]),  # stac_sm.core.scores.series.SCALINGS, which is slow to import
    default="none",
    show_default=True,
    help="Scale product and others to each station first: to its mean and standard deviation, or distribution.",
)
@json_option
def validate(
    folder: str,
    period: str | None,
    tiles: str | None,
    against: tuple[str, ...],
    at: str | None,
    bbox: str | None,
    scaling: str,
    as_json: bool,
) -> None:
    """Validate the product: against stations, and against ESA CCI, SMAP and SMAP/Sentinel-1 on their own cells.

    Networks that no model was trained on are scored apart from the others. Publishes a page, its numbers, the scores
    of stations (CSV, and NetCDF in the layout of QA4SM) and of every cell as an item of the collection validation; what
    is there and up to date is left alone.
    """
    project = open_project(folder)
    from stac_sm.core.progress import ProgressBar
    from stac_sm.workflows.validation.validate import validate_product

    selected = select_tiles(project, tiles=tiles, at=at, bbox=bbox)
    with ProgressBar("validate", "blocks of cells", print_message) as progress:
        made = validate_product(
            project,
            _period(project, period),
            tiles=selected or (),
            against=against,
            scaling=scaling,  # type: ignore[arg-type]
            progress=progress.step,
        )
    _print_validation(made, str(project.catalog.store.href(made.report)), as_json)


def _print_validation(made: PublishedValidation, report: str, as_json: bool) -> None:
    from stac_sm.core.text import format_table, to_json

    if as_json:
        click.echo(
            to_json({"id": made.id, "outcome": made.outcome, "report": report, "notes": made.notes} | made.scores)
        )
        return
    names = {"r": "R", "rmse": "RMSE", "ubrmse": "ubRMSE", "bias": "bias"}
    for rows, first, count in ((made.scores["stations"], ("network", "role", "sites"), "site-days"),
                               (made.scores["others"], ("collection", "grid", "cells"), "cell-days")):  # fmt: skip
        if rows:
            counted = {"n": count, **names}
            picked = [{**{k: row[k] for k in first}, **{to: row[k] for k, to in counted.items()}} for row in rows]
            click.echo(format_table(picked) + "\n")
    for note in made.notes:
        print_message(note)
    click.echo(f"{made.id}: {made.outcome}\nreport: {report}")
