"""Commands that bring inputs in: demo, simulate, init, ingest, climatology, features.

They come before training and planning. Each parses its arguments, calls one function and prints what it returned.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from stac_sm.cli.options import (
    LocalPath,
    at_option,
    bbox_option,
    exit_if_failed,
    json_option,
    open_project,
    optional_project_option,
    parsed_point,
    print_message,
    print_result,
    project_option,
    select_box,
    select_tiles,
    tiles_of_places,
    workers_option,
)
from stac_sm.core.errors import InputError

if TYPE_CHECKING:
    from stac_sm.ingest.sorting import SortedFile


@click.command()
@click.argument("folder", metavar="[DIR]", type=LocalPath(file_okay=False), default=Path("sm-demo"))
@workers_option
@json_option
def demo(folder: Path, workers: int, as_json: bool) -> None:
    """Run the whole flow on a small simulated Earth with known truth, in DIR (sm-demo)."""
    from stac_sm.core.parallel import start_worker_server

    start_worker_server("numba", "stackstac", "stac_sm.demo.flow")  # it imports at the same time as this process
    from stac_sm.demo.flow import run_demo

    report = run_demo(folder, workers=workers, log=print_message)
    click.echo(json.dumps(report.to_dict(), indent=2) if as_json else report.text)


@click.command()
@click.argument("folder", metavar="DIR", type=LocalPath(file_okay=False))
@click.option("--full", is_flag=True, help="granules of every day, not of some 40, and MERIT of the whole island.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed is another Earth.")
@workers_option
@json_option
def simulate(folder: Path, full: bool, seed: int, workers: int, as_json: bool) -> None:
    """Write a simulated Earth to DIR: granules in the providers' formats, stations, and the truth."""
    from stac_sm.simulate.dataset import write_simulated_earth as write
    from stac_sm.simulate.earth import Earth

    written = write(folder, Earth(seed=seed), full=full, workers=workers, progress=print_message)
    if not as_json:
        click.echo(written)
        return
    files = sorted(path.relative_to(written).as_posix() for path in written.rglob("*") if path.is_file())
    print_result({"folder": str(written), "seed": seed, "files": files}, as_json)


@click.command()
@click.argument("folder", metavar="DIR")
@click.option(
    "--recipe",
    type=click.Choice(["memory", "glass-sm", "public", "glass"]),
    default="memory",
    show_default=True,
    help="Ingested files with the memory of ERA5-Land; GLASS SM's own (glass, too); or what public STAC APIs have.",
)
@json_option
def init(folder: str, recipe: str, as_json: bool) -> None:
    """Make a project in DIR: a project file that explains itself, and an empty catalogue.

    DIR is a folder, or s3://BUCKET/PREFIX. What is there already is left alone, and named.
    """
    from stac_sm.workflows.project import FILE_NAME, PROJECT_FILES, create_project, existing_files
    from stac_sm.workflows.project_template import TEMPLATES

    kept = existing_files(folder)
    create_project(folder, TEMPLATES[recipe])
    if kept:
        print_message(
            f"left alone, since there already: {', '.join(kept)}; --recipe counts for a new project file only"
        )
    print_message(
        f"project ready: edit {folder}/{FILE_NAME}, then fetch inputs, or ingest files that are there, e.g. "
        f"stac-sm fetch era5-land --dry-run --project {quote(str(folder))}"
    )
    catalog = f"{folder.rstrip('/')}/catalog.json"
    if not as_json:
        click.echo(catalog)
        return
    made = [name for name in PROJECT_FILES if name not in kept]
    print_result({"catalog": catalog, "new": made, "left_alone": kept}, as_json)


class _Ingest(click.Command):
    """Command whose help names every source; their table is imported only for that, since it imports much."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from stac_sm.ingest.registry import provider_classes

        self.help = (self.help or "").replace("{SOURCES}", ", ".join(sorted(provider_classes())))
        super().format_help_text(ctx, formatter)


_SERIES = (
    click.option("--collection", metavar="ID", help="raster: id of the collection, and of [sources.ID]."),
    click.option("--variable", metavar="NAME", help="raster: the variable in NetCDF; name of the asset, e.g. sm."),
    click.option("--unit", help="raster: of the values, once scaled, e.g. 'm3 m-3'."),
    click.option("--datetime", metavar="PATTERN", help="raster: where names state the date, e.g. '%Y%j', 'A%Y_%m'."),
    click.option("--period", help="raster: static, or the days of all files: 2018, FIRST/LAST."),
    click.option("--days", type=click.IntRange(1), help="raster: days that a file counts from its date on."),
    click.option("--scale", type=float, help="raster: value = value of the file x scale + offset."),
    click.option("--offset", type=float, help="raster: see --scale."),
    click.option("--nodata", type=float, multiple=True, help="raster: stored value without data; may be repeated."),
    click.option("--crs", help="raster: of files that state none, e.g. EPSG:6933."),
    click.option("--band", type=click.IntRange(1), help="raster: band of GeoTIFFs with several."),
    click.option("--title", help="raster: of the collection."),
    click.option("--license", metavar="SPDX", help="raster: of the collection; with an open one it may be served."),
)


def _series_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a raster series of the user's own."""
    for option in reversed(_SERIES):
        command = option(command)
    return command


@click.command(cls=_Ingest)
@click.argument("paths", metavar="[SOURCE] PATHS...", nargs=-1, required=True)
@project_option
@workers_option
@click.option(
    "--replace",
    is_flag=True,
    help="Let a file take the place of what the catalogue has from another file, where nothing says which is newer.",
)
@json_option
@_series_options
def ingest(paths: tuple[str, ...], folder: Path, workers: int, replace: bool, as_json: bool, **series: Any) -> None:
    """Turn provider files into COGs and STAC items; files that are in the catalogue already are left alone.

    PATHS are files or folders; for soilgrids and era5-land (Zarr), https addresses, too. Without SOURCE, or with
    `auto`, the source of each file is found by what the file holds, and by its name where the content does not say
    enough: files of all sources, archives and anything else may lie together. What each file was taken for is
    printed; one that is no input does not make the command fail, one that cannot be used does (exit code 1).

    SOURCE is one of {SOURCES}. It takes the files in a folder that have its names, and those that it knows by what
    they hold.

    Of two files that make one item the newer version, final data and the newer production stay, in whatever order
    they come. Where a file does not say so, or says the same, and their content differs, neither is ingested, and an
    item of the catalogue stays.

    A raster series of your own, GeoTIFF or CF NetCDF: SOURCE is raster, and the options marked so say what it is. They
    are kept in the project file as [sources.ID]: SOURCE is then ID, without them. See catalog/README.md.
    """
    from stac_sm.core.progress import ProgressBar
    from stac_sm.ingest.pipeline import ingest as run
    from stac_sm.ingest.pipeline import ingest_sorted
    from stac_sm.workflows.own_series import ingest_source

    project = open_project(folder)
    source, paths = _source_and_paths(paths, project.sources)
    read = ingest_source(project, source, {name: value for name, value in series.items() if value not in (None, ())})
    with ProgressBar(f"ingest {read.name}" if read.name else "ingest", "files", print_message) as progress:
        if read.name is None:
            results = ingest_sorted(
                project.catalog,
                paths,
                settings=project.sources,
                workers=workers,
                replace=replace,
                sorted_out=lambda rows: None if as_json else click.echo(_sorted_text(rows)),
                progress=lambda result, total: progress.step(total),
            )
        else:
            results = run(
                project.catalog,
                read.name,
                paths,
                settings=dict(read.settings),
                workers=workers,
                replace=replace,
                progress=lambda result, total: progress.step(total),
            )
    if read.keep(project, results):
        print_message(
            f"[sources.{read.name}] is in the project file now: `stac-sm ingest {read.name} PATHS` reads more"
        )
    failed = [result for result in results if result.error]
    if as_json:
        click.echo(json.dumps([{**vars(result), "status": result.status} for result in results], indent=2))
    else:
        for status in ("new", "replaced", "done", "unused"):
            files = [result for result in results if result.status == status]
            if files:
                items = sum(sum(result.items.values()) for result in files)
                opened = sum(result.is_unpacked for result in files)
                unused = f", {opened} of them archives whose files were read" if opened else ""
                click.echo(f"{status}: {len(files)} files" + (unused if status == "unused" else f", {items} items"))
        left_out = [reasons for result in results for reasons in result.left_out.values()]
        if left_out:
            click.echo(f"left out: {sum(map(len, left_out))} values of {len(left_out)} items")
        for result in results:
            for note in result.notes if not result.unused else ():
                print_message(f"{result.file}: {note}")
        for result in failed:
            print_message(f"failed: {result.error}")
    exit_if_failed(
        failed, f"{len(failed)} of {len(results)} files failed; fix or remove them and run the same command again"
    )


def _sorted_text(rows: Sequence[SortedFile]) -> str:
    """Return a line a file, or one for members of an archive of one kind: what it was taken for."""
    archives = {str(row.file) for row in rows if row.unpacked}
    counts = Counter[tuple[str, bool, str]]()
    for row in rows:
        archive = next((str(one) for one in Path(str(row.file)).parents if str(one) in archives), "")
        together = bool(archive) and row.usable
        counts[archive if together else str(row.file), together, row.words] += 1
    return "\n".join(
        f"{place}, {number} files: {words}" if together else f"{place}: {words}"
        for (place, together, words), number in counts.items()
    )


def _source_and_paths(words: tuple[str, ...], kept: Iterable[str]) -> tuple[str | None, tuple[str, ...]]:
    """Return the source that the first word names, None for `auto` or none; and the paths.

    Sources are those of the table, ``raster``, and those that the project file keeps. A word that is no source is a
    path if there is one. A single word is always a path, unless there is none.
    """
    from stac_sm.core.text import unknown_name_message
    from stac_sm.ingest.registry import RASTER, provider_classes
    from stac_sm.storage.address import is_remote, local_path

    first, *others = words
    known = sorted({*provider_classes(), *kept, RASTER, "auto"})
    if first in known and others:
        return (None if first == "auto" else first), tuple(others)
    if not is_remote(first) and not local_path(first).exists():
        if first in known:
            raise InputError(f"ingest {first}: name files or folders after it")
        raise InputError(f"{unknown_name_message('source', first, known)}; no file or folder has this name, either")
    return None, words


@click.command()
@click.argument("features", metavar="[FEATURE]...", nargs=-1)
@project_option
@click.option("--bbox", help="West,south,east,north in degrees: only granules that meet it.")
@workers_option
@json_option
def climatology(features: tuple[str, ...], folder: Path, bbox: str | None, workers: int, as_json: bool) -> None:
    """Average features over the years that the recipe fixes, for climatology, anomaly and gap filling.

    Without FEATURE, all that the recipe needs; what is in the catalogue already is left alone.
    """
    from stac_sm.core.progress import ProgressBar
    from stac_sm.features.climatology import features_needing_climatology, make_climatology

    project = open_project(folder)
    box = select_box(project, bbox)
    needed, chosen = features_needing_climatology(project.recipe), [project.recipe.feature(name) for name in features]
    selected = [one for one in needed if one.climatology_key in [of.climatology_key for of in chosen]]
    selected = [*selected, *(one for one in chosen if one.climatology is None)] if features else needed
    made, left_out = {}, dict[str, dict[str, str]]()
    for feature in selected:
        left_out[feature.name] = {}
        with ProgressBar(f"climatology {feature.name}", "items", print_message) as progress:
            made[feature.name] = make_climatology(
                project.catalog,
                feature,
                bbox=box,
                workers=workers,
                progress=lambda outcome, total: progress.step(total),
                left_out=left_out[feature.name],
            )
    if not made:
        print_message("no feature of the recipe has a climatology: nothing to do")
    bad = {
        name: {"left out": items if as_json else len(items)} if any(left_out.values()) else {}
        for name, items in left_out.items()
    }
    print_result([{"feature": name, **counts, **bad[name]} for name, counts in made.items()], as_json)
    reasons = [why for items in left_out.values() for why in items.values()]
    for why in reasons:
        print_message(f"left out: {why}")
    exit_if_failed(reasons, f"{len(reasons)} items left out; correct them and run the same command again")


@click.command()
@at_option
@bbox_option
@optional_project_option
@json_option
def tiles(at: str | None, bbox: str | None, folder: str | None, as_json: bool) -> None:
    """Name the tile that holds a point, or the tiles that overlap a box, each with its own box in degrees.

    Of a point also the row and the column of its pixel in the tile, from 0 in the upper left. Outside of a project,
    tiles are those of the MODIS sinusoidal grid, which projects have unless their file says another.
    """
    from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
    from stac_sm.core.land import has_land
    from stac_sm.workflows.project import nearest_project_folder

    if (at is None) == (bbox is None):
        raise InputError("give one of --at and --bbox")
    outside = folder is None and nearest_project_folder(".") is None
    grid, rows = MODIS_SINUSOIDAL_1KM if outside else open_project(folder or ".").grid, list[dict[str, Any]]()
    for tile in tiles_of_places(grid, at, bbox):
        sides = [round(degrees, 4) + 0.0 for degrees in grid.bbox(tile) or ()]
        rows.append({"tile": tile, "bbox": sides, "land": has_land(grid, tile)})
    if at is not None:
        _, rows[0]["row"], rows[0]["column"] = grid.tile_at(*parsed_point(at))
    if not as_json:
        words = {True: "yes", False: "no", None: "not known"}
        for row in rows:
            row |= {"bbox": ",".join(f"{side:g}" for side in row["bbox"]), "land": words[row["land"]]}
    print_result(rows, as_json)
    if outside:
        print_message(f"no project here or above: the tiles are those of grid {grid.name}, which a new project has")
    if all(has_land(grid, row["tile"]) is False for row in rows):
        print_message("no land there: nothing is made of it; the longitude comes first, in degrees east")


@click.command()
@click.argument("where", metavar="[TILE] DAY", nargs=-1, required=True)
@at_option
@project_option
@click.option(
    "--reader",
    type=click.Choice(["stackstac", "odc"]),
    default="stackstac",
    show_default=True,
    help="Who reads; the values are the same.",
)
@click.option("--save", type=LocalPath(dir_okay=False), help="Write the cube to this NetCDF file.")
@click.option("--plot", type=LocalPath(dir_okay=False), help="Draw it to this .png, .pdf or .svg.")
@json_option
def features(
    where: tuple[str, ...],
    at: str | None,
    folder: Path,
    reader: str,
    save: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Build and show the feature cube of a TILE (h18v04) and DAY (2019-06-01, or 2019-06): what the model would see.

    Instead of TILE, --at takes a point in it.
    """
    from stac_sm.core.period import Period
    from stac_sm.core.text import cube_rows
    from stac_sm.raster.plots import check_suffix, plot_cube
    from stac_sm.workflows.tile_cube import build_tile_cube

    if len(where) != (2 if at is None else 1):
        required = "TILE and DAY are required, or DAY and --at LON,LAT" if at is None else "DAY is required beside --at"
        raise InputError(f"{' '.join(where)}: {required}")
    day, project = where[-1], open_project(folder)
    tile = where[0] if at is None else (select_tiles(project, at=at) or [""])[0]
    if save is not None and save.suffix != ".nc":
        raise InputError(f"--save {save}: a name that ends with .nc is required")
    if plot is not None:
        check_suffix(plot)  # before the cube is built
    made = build_tile_cube(project, tile, Period.parse(day), reader=reader)
    print_result(cube_rows(made.cube), as_json)
    for why in made.left_out.values():
        print_message(f"left out: {why}")
    for date, names in made.blocked.items():
        print_message(f"{date}: no input for {', '.join(names)}: the model would leave this day out")
    if save is not None:
        made.save(save)
        print_message(f"saved: {save}")
    if plot is not None:
        place = project.grid.describe(tile)
        plot_cube(made.cube, plot, title=f"Simulated Earth, {place}" if made.simulated else place)
        print_message(f"drawn: {plot}")
