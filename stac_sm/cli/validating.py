"""Commands that hold the product against what others measured: validate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from stac_sm.cli.options import json_option, open_project, parsed_tiles, project_option, say

if TYPE_CHECKING:
    from stac_sm.validation import Validated


@click.command()
@project_option
@click.option("--period", help="2019, 2019-06, 2019-06-01 or FIRST/LAST.  [default: the project file's]")
@click.option("--tiles", help="Tile ids with commas between.  [default: all that have tile-days]")
@json_option
def validate(folder: str, period: str | None, tiles: str | None, as_json: bool) -> None:
    """Validate the product: against stations, and against ESA CCI, SMAP and SMAP/Sentinel-1 on their own cells.

    Networks that no model was trained on are told from the others. Publishes a page, its numbers and the scores of
    every cell as an item of the collection validation; what is there and still true is left alone.
    """
    from stac_sm.index import update_index
    from stac_sm.period import Period
    from stac_sm.progress import Progress
    from stac_sm.validation import COLLECTION
    from stac_sm.validation import validate as held_against

    project = open_project(folder)
    with Progress("validate", say) as progress:
        made = held_against(
            project,
            Period.parse(period or project.product.period or project.matchups.period),
            tiles=parsed_tiles(project, tiles),
            progress=progress.step,
        )
    catalog = project.catalog  # read again: an older one has just been given the collection
    update_index(catalog.store, COLLECTION, layout=catalog.layout(COLLECTION))
    _tell(made, str(project.catalog.store.href(made.report)), as_json)


def _tell(made: Validated, report: str, as_json: bool) -> None:
    from stac_sm.tables import table, to_json

    if as_json:
        click.echo(
            to_json({"id": made.id, "outcome": made.outcome, "report": report, "notes": made.notes} | made.scores)
        )
        return
    names = {"n": "days", "r": "R", "rmse": "RMSE", "ubrmse": "ubRMSE", "bias": "bias"}
    for rows, first in ((made.scores["stations"], ("network", "role", "sites")),
                        (made.scores["others"], ("collection", "grid", "cells"))):  # fmt: skip
        if rows:
            picked = [{**{k: row[k] for k in first}, **{to: row[k] for k, to in names.items()}} for row in rows]
            click.echo(table(picked) + "\n")
    for note in made.notes:
        say(note)
    click.echo(f"{made.id}: {made.outcome}\nreport: {report}")
