"""Commands that learn: matchup, screen, train."""

from __future__ import annotations

import json
from pathlib import Path

import click

from stac_sm.cli.options import json_option, open_project, project_option, say, show


@click.command()
@project_option
@json_option
def matchup(folder: Path, as_json: bool) -> None:
    """Bring station measurements and features together, for training and triple collocation."""
    from stac_sm.steps import match_up_step

    made = match_up_step(open_project(folder))
    facts = {key.removeprefix("stac_sm:"): value for key, value in made.item["properties"].items() if "stac_sm:" in key}
    show({"item": made.item["id"], "new": made.new, **facts}, as_json)


@click.command()
@project_option
@json_option
def screen(folder: Path, as_json: bool) -> None:
    """Judge by triple collocation which stations represent their pixel."""
    from stac_sm.screening import screen as judge
    from stac_sm.steps import match_up_step

    project = open_project(folder)
    judged = judge(match_up_step(project).triplets, project.screening).sites
    show(json.loads(judged.to_json(orient="records", double_precision=4)), as_json)


@click.command()
@project_option
@json_option
def train(folder: Path, as_json: bool) -> None:
    """Train a model on the match-ups, score it on hold-outs, and publish it as a STAC item."""
    from stac_sm.steps import match_up_step, train_step
    from stac_sm.tables import score_rows

    project = open_project(folder)
    made = train_step(project, match_up_step(project))
    properties = made.item["properties"]
    if as_json:
        click.echo(json.dumps({"model": made.id, "new": made.new, **properties}, indent=2))
        return
    click.echo(f"model: {made.id}{'' if made.new else ' (there already)'}\n{properties['stac_sm:tc_status']}\n")
    show(score_rows(made.scores), as_json)
    for name, why in properties["stac_sm:scores"]["notes"].items():
        say(f"{name}: {why}")
