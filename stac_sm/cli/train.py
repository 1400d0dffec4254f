"""Commands around the model: matchup, screen, train, evaluate.

They come between ingest and plan. Each calls one step of `workflows.training`, and prints its result.
"""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from typing import Any

import click

from stac_sm.cli.options import (
    LocalPath,
    json_option,
    open_project,
    print_message,
    print_result,
    project_option,
    workers_option,
)
from stac_sm.core.errors import InputError


@click.command()
@workers_option
@project_option
@json_option
def matchup(workers: int, folder: Path | str, as_json: bool) -> None:
    """Bring station measurements and features together, for training and triple collocation."""
    from stac_sm.workflows.training.steps import match_up_step

    made = match_up_step(open_project(folder), workers=workers)
    facts = {key.removeprefix("stac_sm:"): value for key, value in made.item["properties"].items() if "stac_sm:" in key}
    print_result({"item": made.item["id"], "new": made.new, **facts}, as_json)


@click.command()
@project_option
@json_option
def screen(folder: Path | str, as_json: bool) -> None:
    """Screen by triple collocation which stations represent their pixel; the result is written to the station items."""
    from stac_sm.workflows.training.steps import screen_step

    made = screen_step(open_project(folder))
    judged = made.screening.sites
    print_message(
        f"screening results on station items: {', '.join(f'{n} {outcome}' for outcome, n in made.stations.items())}"
    )
    print_result(json.loads(judged.to_json(orient="records", double_precision=4)), as_json)


target_unit_option = click.option(
    "--target-unit",
    type=click.Choice(["m3 m-3", "percent", "other"]),
    metavar="UNIT",
    help="Unit of the target in TABLE: m3 m-3, percent, or other for no soil moisture.  [default: m3 m-3]",
)


@click.command()
@click.argument("table", required=False, type=LocalPath(dir_okay=False))
@click.option("--target", help="Column of the soil moisture to learn, m3 m-3 or as --target-unit says.")
@target_unit_option
@click.option("--site", help="Column of the id of the site.")
@click.option("--time", help="Column of the day, or of the first day of a window.")
@click.option("--features", help="Feature columns with commas between.  [default: all numbers that can be one]")
@click.option("--plain", is_flag=True, help="The paper's XGBoost: one booster on the columns as they are.")
@click.option("--seed", type=int, help="Of folds and draws.  [default: 0]")
@click.option("--out", type=LocalPath(), help="Folder for the model of TABLE.")
@click.option("--overwrite", is_flag=True, help="Replace the model that is in that folder.")
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    help="Where XGBoost trains on TABLE; cuda requires its package.  [default: cpu]",
)
@click.option(
    "--baseline",
    multiple=True,
    metavar="COLUMN",
    help="Column of TABLE, in the unit of the target, that the model is compared with; may be given several times.",
)
@workers_option
@project_option
@json_option
def train(
    table: Path | None,
    target: str | None,
    target_unit: str | None,
    site: str | None,
    time: str | None,
    features: str | None,
    plain: bool,
    seed: int | None,
    out: Path | None,
    overwrite: bool,
    device: str | None,
    baseline: tuple[str, ...],
    workers: int,
    folder: Path | str,
    as_json: bool,
) -> None:
    """Train a model on the match-ups of the project, or on TABLE, and leave it as a STAC item.

    Without TABLE, the project's match-ups: the model is scored on hold-outs and published in sm-models.

    TABLE is any match-up table, CSV or Parquet, with a row per site and time; --target, --site, --time and --out are
    then required. The model is the best that we know at unseen stations; `evaluate` scores it on other tables.
    """
    given = {"target": target, "site": site, "time": time, "out": out}
    if table is None:
        others = {
            "features": features,
            "seed": seed,
            "target-unit": target_unit,
            "device": device,
            "baseline": baseline or None,
            "overwrite": overwrite or None,
        }
        needless = [name for name, value in {**given, **others}.items() if value is not None]
        if needless or plain:
            raise InputError(
                f"--{(needless or ['plain'])[0]} goes with a TABLE; without one, --workers and --json only"
            )
        return _train_project(folder, workers, as_json)
    missing = [f"--{name}" for name, value in given.items() if value is None]
    if missing:
        raise InputError(f"{', '.join(missing)} required beside a TABLE, e.g. --target sm --site station --time date")
    names = None if features is None else [name.strip() for name in features.split(",")]
    roles = (str(target), str(site), str(time))
    more: dict[str, Any] = {
        "features": names,
        "plain": plain,
        "seed": seed or 0,
        "target_unit": target_unit or "m3 m-3",
    }
    more |= {"device": device or "cpu", "baselines": baseline, "overwrite": overwrite, "log": print_message}
    return _train_table(table, roles, Path(str(out)), more, as_json)


def _train_project(folder: Path | str, workers: int, as_json: bool) -> None:
    from stac_sm.core.text import score_rows
    from stac_sm.model.skill import read_skill, skill_sentences
    from stac_sm.stac.simulated import SIMULATED_FIELD, SIMULATED_NOTE
    from stac_sm.workflows.training.steps import train_step

    made = train_step(open_project(folder), workers=workers, log=print_message)
    properties = made.item["properties"]
    if as_json:
        facts = {"model": made.id, "new": made.new, **made.report_hrefs, "flagged": list(made.flagged)}
        facts["missing_features"] = dict(made.missing_features)
        click.echo(json.dumps({**facts, **properties}, indent=2))
        return
    if properties.get(SIMULATED_FIELD):
        click.echo(SIMULATED_NOTE)
    for sentence in skill_sentences(read_skill(properties) or ()):
        click.echo(sentence)
    click.echo(f"model: {made.id}{'' if made.new else ' (there already)'}\n{properties['stac_sm:tc_status']}\n")
    print_result(score_rows(made.scores), as_json)
    for note in properties.get("stac_sm:notes", []):
        click.echo(f"\nnote: {note}")
    for name, why in properties["stac_sm:scores"]["notes"].items():
        print_message(f"{name}: {why}")
    click.echo(f"\nreport: {made.report_hrefs['report']}")


def _train_table(file: Path, roles: tuple[str, str, str], out: Path, more: dict[str, Any], as_json: bool) -> None:
    from stac_sm.core.columns import Columns
    from stac_sm.model.skill import skill_sentences
    from stac_sm.workflows.training.table_training import train_table_folder

    columns = Columns(target=roles[0], site=roles[1], time=roles[2])
    trained = train_table_folder(file, columns, out, **more)
    unit = "" if more["target_unit"] == "other" else "m3 m-3"
    for sentence in skill_sentences(trained.found.skill, unit):
        print_message(sentence) if as_json else click.echo(sentence)
    names = {"report": "report.html", "metrics": "metrics.json", "series": "series.html"}
    files = {key: str(out / name) for key, name in names.items() if (out / name).is_file()}
    facts = {"model": str(out), "item": str(trained.item), **files, "flagged": list(trained.found.diagnostics.flagged)}
    summary = trained.summary()
    if not as_json:
        del summary["skill"]  # said above
    print_result({**facts, **summary}, as_json)
    print_message(f"next: stac-sm evaluate {quote(str(out))} TABLE_OF_OTHER_SITES")


_ROWS: dict[str, Any] = {
    "type": LocalPath(dir_okay=False),
    "metavar": "FILE",
    "help": "CSV or Parquet: prediction, interval and applicability of each row.",
}


@click.command()
@click.argument("model")
@click.argument("table", type=LocalPath(dir_okay=False))
@target_unit_option
@click.option("--out", **_ROWS)
@project_option
@json_option
def evaluate(
    model: str, table: Path, target_unit: str | None, out: Path | None, folder: Path | str, as_json: bool
) -> None:
    """Score MODEL on TABLE: on all rows, and apart on those that it was trained on.

    MODEL is the folder that `train TABLE --out` has left, the href of a model item, or the id of one of the project's.
    TABLE is CSV or Parquet with the columns that the model was trained on.
    """
    href = _item_href(model, folder)
    from stac_sm.workflows.training.table_scores import evaluate_model

    found = evaluate_model(href, table, target_unit=target_unit, out=out)
    print_result(found.to_dict(), as_json)


@click.command("predict-table")
@click.argument("model")
@click.argument("table", type=LocalPath(dir_okay=False))
@click.option("--out", required=True, **_ROWS)
@project_option
@json_option
def predict_table(model: str, table: Path, out: Path, folder: Path | str, as_json: bool) -> None:
    """Predict the rows of TABLE with MODEL; TABLE needs no target.

    MODEL and TABLE are those of `evaluate`. The result has the rows of TABLE in their order.
    """
    href = _item_href(model, folder)
    from stac_sm.workflows.training.table_scores import predict_table_file

    print_result(predict_table_file(href, table, out), as_json)


def _item_href(model: str, folder: Path | str) -> str:
    """Return the href of the item that an argument MODEL names: a folder, an href, or an id of the project."""
    from stac_sm.model.item import MODELS_COLLECTION, model_item_href
    from stac_sm.storage.address import is_remote

    href = model_item_href(model)
    if href == model and not model.endswith(".json"):
        if "/" in model and not is_remote(model):
            raise InputError(f"{model}: there is no such folder; give the folder of `train TABLE --out`, or an id")
        href = open_project(folder).catalog.item(MODELS_COLLECTION, model).self_href
    return href


@click.group("model")
def model_commands() -> None:
    """Move models between projects: `export` writes one file, `import` takes it over."""


@model_commands.command("export")
@click.argument("model")
@click.option("--out", type=LocalPath(dir_okay=False), required=True, metavar="FILE", help="New .zip file.")
@project_option
@json_option
def model_export(model: str, out: Path, folder: Path | str, as_json: bool) -> None:
    """Write MODEL, its item and all that prediction needs, into one file.

    MODEL is the id of a model of the project, or the href of its item. Station time series stay behind: their licences
    may forbid to pass them on.
    """
    from stac_sm.workflows.model_archive import export_model

    made = export_model(_item_href(model, folder), out)
    facts = {"model": made.id, "out": str(made.file), "assets": list(made.assets)}
    print_result({**facts, "left_behind": list(made.left_behind)}, as_json)


@model_commands.command("import")
@click.argument("file", type=LocalPath(dir_okay=False, exists=True))
@project_option
@json_option
def model_import(file: Path, folder: Path | str, as_json: bool) -> None:
    """Publish the model of FILE, which `model export` has written, in the project."""
    from stac_sm.workflows.model_archive import import_model

    made = import_model(open_project(folder), file)
    print_result({"model": made.item["id"], "new": made.new, "notes": list(made.notes)}, as_json)
    print_message(f"next: stac-sm plan --model {made.item['id']}")
