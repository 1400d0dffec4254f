"""The command line: one command a stage, in the order of the flow. Parses, calls, prints.

Data goes to stdout, everything else to stderr. A mistake that a user can mend is one message and exit code 1.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stac_sm.errors import StacSmError

if TYPE_CHECKING:
    from stac_sm.config import Project

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
_project = click.option(
    "--project",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    show_default="here or above",
    help="Folder with stac-sm.toml.",
)
_workers = click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes.")


class _Group(click.Group):
    """Commands in the order of the flow; a StacSmError is a message, not a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StacSmError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="stac_sm", prog_name="stac-sm")
def main() -> None:
    """Global 1 km daily soil moisture: from provider files to STAC items, models and published COGs."""


@main.command()
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False), default=Path("sm-demo"))
@_workers
@_json
def demo(folder: Path, workers: int, as_json: bool) -> None:
    """Run the whole flow on a small simulated Earth with known truth, in DIR (sm-demo)."""
    from stac_sm.demo import run_demo

    report = run_demo(folder, workers=workers, say=_say)
    click.echo(json.dumps(report.to_dict(), indent=2) if as_json else report.text)


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--full", is_flag=True, help="granules of every day, not of some 40, and MERIT of the whole island.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed is another Earth.")
@_workers
def simulate(folder: Path, full: bool, seed: int, workers: int) -> None:
    """Write a simulated Earth to DIR: granules in the providers' formats, stations, and the truth."""
    from stac_sm.simulate import Earth
    from stac_sm.simulate import simulate as write

    click.echo(write(folder, Earth(seed=seed), full=full, workers=workers, progress=_say))


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--recipe",
    type=click.Choice(["glass", "public"]),
    default="glass",
    show_default=True,
    help="GLASS SM's features from ingested files, or what public STAC APIs have.",
)
def init(folder: Path, recipe: str) -> None:
    """Make a project in DIR: a project file that explains itself, and an empty catalogue."""
    from stac_sm.config import FILE_NAME, create_project
    from stac_sm.project_file import TEMPLATES

    create_project(folder, TEMPLATES[recipe])
    _say(
        f"project ready: edit {folder / FILE_NAME}, then ingest, e.g. stac-sm ingest era5-land FILES --project {folder}"
    )
    click.echo(folder / "catalog.json")


class _Ingest(click.Command):
    """Names every source in its help; their table is opened only for that, since it imports much."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from stac_sm.sources import source_table

        self.help = (self.help or "").replace("{SOURCES}", ", ".join(sorted(source_table())))
        super().format_help_text(ctx, formatter)


@main.command(cls=_Ingest)
@click.argument("source")
@click.argument("paths", nargs=-1, required=True)
@_project
@_workers
@_json
def ingest(source: str, paths: tuple[str, ...], folder: Path, workers: int, as_json: bool) -> None:
    """Turn provider files into COGs and STAC items; files that are in the catalogue already are left alone.

    SOURCE is one of {SOURCES}; PATHS are files or folders; for soilgrids and
    era5-land (Zarr), https addresses, too.
    """
    from stac_sm.ingest import ingest as run
    from stac_sm.progress import Progress

    project = _open(folder)
    with Progress(f"ingest {source}", _say) as progress:
        results = run(
            project.catalog,
            source,
            paths,
            settings=dict(project.sources.get(source, {})),
            workers=workers,
            progress=lambda result, total: progress.step(total),
        )
    failed = [result for result in results if result.error]
    if as_json:
        click.echo(json.dumps([{**vars(result), "status": result.status} for result in results], indent=2))
    else:
        for status in ("new", "replaced", "done"):
            files = [result for result in results if result.status == status]
            if files:
                items = sum(sum(result.items.values()) for result in files)
                click.echo(f"{status}: {len(files)} files, {items} items")
        for result in results:
            for note in result.notes:
                _say(f"{result.file}: {note}")
        for result in failed:
            _say(f"failed: {result.error}")
    _end(failed, f"{len(failed)} of {len(results)} files failed; mend or remove them and run the same command again")


@main.command()
@click.argument("features", metavar="[FEATURE]...", nargs=-1)
@_project
@click.option("--bbox", help="West,south,east,north in degrees: only granules that meet it.")
@_workers
@_json
def climatology(features: tuple[str, ...], folder: Path, bbox: str | None, workers: int, as_json: bool) -> None:
    """Average features over the years that the recipe fixes, for climatology, anomaly and gap filling.

    Without FEATURE, all that the recipe needs; what is in the catalogue already is left alone.
    """
    from stac_sm.climatology import make_climatology, normals_wanted
    from stac_sm.progress import Progress

    project = _open(folder)
    wanted = [project.recipe.feature(name) for name in features] or normals_wanted(project.recipe)
    made = {}
    for feature in wanted:
        with Progress(f"climatology {feature.name}", _say) as progress:
            made[feature.name] = make_climatology(
                project.catalog,
                feature,
                bbox=_box(bbox) if bbox else None,
                workers=workers,
                progress=lambda outcome, total: progress.step(total),
            )
    if not made:
        _say("no feature of the recipe has a climatology: nothing to do")
    _show([{"feature": name, **counts} for name, counts in made.items()], as_json)


@main.command()
@click.argument("tile")
@click.argument("day")
@_project
@click.option("--reader", default="stackstac", show_default=True, help="stackstac or odc.")
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Write the cube to this NetCDF file.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw it to this .png, .pdf or .svg.")
@_json
def features(
    tile: str, day: str, folder: Path, reader: str, save: Path | None, plot: Path | None, as_json: bool
) -> None:
    """Build and show the feature cube of a TILE (h18v04) and DAY (2019-06-01): what the model would see."""
    from stac_sm.cube import build
    from stac_sm.period import Period
    from stac_sm.plots import plot_cube
    from stac_sm.regrid import Target
    from stac_sm.resolution import require_inputs, resolve
    from stac_sm.tables import cube_rows

    project = _open(folder)
    geobox = project.grid.geobox(tile)
    resolution = resolve(project.catalog, project.recipe, geobox, Period.parse(day))
    if not any(resolution.made_of.values()):
        require_inputs(resolution, f"features of {tile}")
    cube = build(resolution, Target(geobox), reader=reader).compute(scheduler="threads")
    _show(cube_rows(cube), as_json)
    for one in (missing for missing in resolution.days if resolution.blocked_by(missing)):
        _say(f"{one}: no input for {', '.join(resolution.blocked_by(one))}: the model would leave this day out")
    if save is not None:
        cube.drop_attrs().to_netcdf(save)
        _say(f"saved: {save}")
    if plot is not None:
        plot_cube(cube, plot, title=tile)
        _say(f"drawn: {plot}")


@main.command()
@_project
@_json
def matchup(folder: Path, as_json: bool) -> None:
    """Bring station measurements and features together, for training and triple collocation."""
    from stac_sm.steps import match_up_step

    made = match_up_step(_open(folder))
    facts = {key.removeprefix("stac_sm:"): value for key, value in made.item["properties"].items() if "stac_sm:" in key}
    _show({"item": made.item["id"], "new": made.new, **facts}, as_json)


@main.command()
@_project
@_json
def screen(folder: Path, as_json: bool) -> None:
    """Judge by triple collocation which stations represent their pixel."""
    from stac_sm.screening import screen as judge
    from stac_sm.steps import match_up_step

    project = _open(folder)
    judged = judge(match_up_step(project).triplets, project.screening).sites
    _show(json.loads(judged.to_json(orient="records", double_precision=4)), as_json)


@main.command()
@_project
@_json
def train(folder: Path, as_json: bool) -> None:
    """Train a model on the match-ups, score it on hold-outs, and publish it as a STAC item."""
    from stac_sm.steps import match_up_step, train_step
    from stac_sm.tables import score_rows

    project = _open(folder)
    made = train_step(project, match_up_step(project))
    properties = made.item["properties"]
    if as_json:
        click.echo(json.dumps({"model": made.id, "new": made.new, **properties}, indent=2))
        return
    click.echo(f"model: {made.id}{'' if made.new else ' (there already)'}\n{properties['stac_sm:tc_status']}\n")
    _show(score_rows(made.scores), as_json)
    for name, why in properties["stac_sm:scores"]["notes"].items():
        _say(f"{name}: {why}")


@main.command()
@_project
@click.option("--model", help="Id of the model item.  [default: the only one]")
@click.option("--tiles", help="Tile ids with commas between, e.g. h18v04,h18v05.")
@click.option("--bbox", help="West,south,east,north in degrees: all tiles that meet it.")
@click.option("--land", is_flag=True, help="All tiles with land (MODIS sinusoidal grid).")
@click.option("--period", required=True, help="2019, 2019-06, 2019-06-01 or FIRST/LAST.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the plan to this Parquet file.")
@_json
def plan(
    folder: Path,
    model: str | None,
    tiles: str | None,
    bbox: str | None,
    land: bool,
    period: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare what is wanted with what is in the catalogue: new, done, stale, blocked."""
    from stac_sm.model import Model
    from stac_sm.period import Period
    from stac_sm.plan import make_plan, write_plan

    project = _open(folder)
    wanted = _tiles(project, tiles, bbox, land)
    chosen = Model.from_item(project.catalog.item("sm-models", model or _only_model(project)).self_href)
    made = make_plan(
        project.catalog, chosen, wanted, Period.parse(period), grid=project.grid, version=project.about.version
    )
    _show({"model": made.model, "tile-days": len(made.days), **made.counts}, as_json)
    for day in [day for day in made.days if day.state == "blocked"][:10]:
        _say(f"blocked: {day.made.id}: no input for {', '.join(day.blocked_by)}")
    if out is not None:
        write_plan(made, out, project.grid)
        _say(f"next: stac-sm run {out} --project {folder}")


@main.command()
@click.argument("plan", type=click.Path(path_type=Path, dir_okay=False))
@_project
@_workers
@click.option("--memory", help="For all workers together, e.g. 8G.  [default: what the machine grants]")
@_json
def run(plan: Path, folder: Path, workers: int, memory: str | None, as_json: bool) -> None:
    """Make what a PLAN file wants: predict, write COGs, publish items. Run it again to make what is missing."""
    from stac_sm.memory import parse_bytes
    from stac_sm.plan import read_plan
    from stac_sm.progress import Progress
    from stac_sm.run import run_plan

    with Progress("run", _say) as progress:
        results = run_plan(
            _open(folder),
            read_plan(plan),
            workers=workers,
            memory=parse_bytes(memory) if memory else None,
            progress=lambda result, total: progress.step(total),
            warn=_say,
        )
    failures = [failure for result in results for failure in result.failures]
    outcomes = {name: sum(result.outcomes.get(name, 0) for result in results) for name in ("new", "replaced", "done")}
    _show({"tasks": len(results), **outcomes, "failed": len(failures)}, as_json)
    for id, kind, message in failures:
        _say(f"failed: {id}: {kind}: {message}")
    _end(failures, f"{len(failures)} tile-days failed; mend the cause and run the same command again")


def _open(folder: Path) -> Project:
    from stac_sm.config import find_project

    return find_project(folder)


def _tiles(project: Project, tiles: str | None, bbox: str | None, land: bool) -> list[str]:
    from stac_sm.land import land_tiles

    if [tiles is None, bbox is None, not land].count(False) != 1:
        raise click.UsageError("give one of --tiles, --bbox and --land")
    if land:
        return land_tiles(project.grid)
    if tiles is not None:
        return [tile.strip() for tile in tiles.split(",")]
    return list(project.grid.tiles_in(_box(str(bbox))))


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise click.UsageError(f"--bbox {text!r}: four numbers wanted, WEST,SOUTH,EAST,NORTH in degrees") from error
    return west, south, east, north


def _only_model(project: Project) -> str:
    models = [item.id for item in project.catalog.items("sm-models")]
    if len(models) != 1:
        raise StacSmError(
            f"{len(models)} models found ({', '.join(models) or 'none'}), one wanted: "
            + ("name one with --model" if models else "`stac-sm train` makes one")
        )
    return models[0]


def _show(value: Any, as_json: bool) -> None:
    """Print rows as a table, a mapping as facts, or either as JSON."""
    from stac_sm.tables import facts, table, to_json

    click.echo(to_json(value) if as_json else facts(value) if isinstance(value, dict) else table(value))


def _say(message: str) -> None:
    click.echo(message, err=True)


def _end(failed: list[Any], message: str) -> None:
    if failed:
        _say(message)
        sys.exit(1)
