"""Commands that make the catalogue found and read: index, serve."""

from __future__ import annotations

from pathlib import Path

import click

from stac_sm.cli.options import end, json_option, open_project, project_option, say, show, workers_option


@click.command()
@click.argument("collections", metavar="[COLLECTION]...", nargs=-1)
@project_option
@click.option("--to", "database", help="Load pgstac instead: postgresql://USER@HOST/DATABASE.")
@workers_option
@json_option
def index(collections: tuple[str, ...], folder: Path, database: str | None, workers: int, as_json: bool) -> None:
    """Bring the stac-geoparquet index, links and extents in line with the items; what is right is left alone.

    Without COLLECTION, all of them. Exit code 1 if something is no item: it is named and left out.
    """
    if database is not None:
        _load(collections, folder, database, as_json)
        return
    from stac_sm.derived import refresh
    from stac_sm.index import update_index
    from stac_sm.progress import Progress

    catalog = open_project(folder).catalog
    rows: list[dict[str, str | int]] = []
    failures: dict[str, str] = {}
    for id in collections or catalog.collections:
        with Progress(f"index {id}", say) as progress:
            layout = catalog.layout(id)  # says which collections there are
            refresh(catalog.store, id)
            made = update_index(catalog.store, id, layout=layout, workers=workers, prune=True, progress=progress.step)
        failures.update(made.failures)
        counts = {outcome: sum(month.outcome == outcome for month in made.months) for outcome in _OUTCOMES}
        rows.append({"collection": id, "items": sum(month.items for month in made.months), **counts})
    show(rows, as_json)
    for message in failures.values():
        say(f"left out: {message}")
    end(list(failures), f"{len(failures)} files are no items")


def _load(collections: tuple[str, ...], folder: Path, database: str, as_json: bool) -> None:
    from stac_sm.pgstac import load_pgstac
    from stac_sm.progress import Progress

    with Progress("load", say) as progress:
        loaded = load_pgstac(open_project(folder).catalog, database, collections=collections, progress=progress.step)
    outcomes = ("new", "replaced", "done", "failed")
    show(
        [
            {"collection": one.collection, **{name: one.counts.get(name, 0) for name in outcomes}}
            | {"only in the database": one.only_there}
            for one in loaded
        ],
        as_json,
    )
    failures = {path: why for one in loaded for path, why in one.failures.items()}
    for why in failures.values():
        say(f"failed: {why}")
    end(list(failures), f"{len(failures)} items failed; mend them and run the same command again")


_OUTCOMES = ("new", "replaced", "done", "removed")


@click.command()
@project_option
@click.option("--catalog", help="Folder or s3://BUCKET/PREFIX to serve.  [default: the project's]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
def serve(folder: Path, catalog: str | None, host: str, port: int) -> None:
    """Serve the catalogue as a read-only STAC API, with STAC Browser at /browser if it is built."""
    from stac_sm.serve import serve as listen

    listen(catalog or str(open_project(folder).catalog.root), host=host, port=port, say=say)
