"""A project is planned from Python as by the command: its tiles, its days, its only model; and what that costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.errors import InputError
from stac_sm.core.period import Period
from stac_sm.features.recipe import Feature, Mask
from stac_sm.model.skill import Skill
from stac_sm.stac.links import refresh
from stac_sm.workflows.plan.plan_file import newest_plan, read_plan
from stac_sm.workflows.plan.project_plan import default_tiles, only_model, plan_project
from stac_sm.workflows.project import ProductRules
from tests.support.fields import DAYS, RECIPE, SMALL, TILE, around, copied_project, image, put, put_model
from tests.support.product_days import new_project


@pytest.fixture
def project(tmp_path):
    project, _, _ = copied_project(tmp_path / "p")
    return replace(project, product=ProductRules(tiles=(TILE,), period=str(DAYS)))


def test_what_is_not_named_is_that_of_the_project(project):
    found = plan_project(project)
    assert found.plan.columns.table["tile"].unique().to_pylist() == [TILE]
    assert [planned.made.day for planned in found.plan.days] == DAYS.days
    assert found.model.id == found.plan.model == only_model(project)
    assert found.cost.items == len(DAYS)
    assert Path(found.href) == Path(project.folder, "plans", f"{found.plan.id}.parquet")
    assert read_plan(found.href).id == found.plan.id
    assert newest_plan(project.catalog.store) == found.href


def test_status_finds_the_newest_plan_wherever_it_was_written(project, tmp_path, monkeypatch):
    first, away = plan_project(project), tmp_path / "away.parquet"
    monkeypatch.chdir(tmp_path)
    second = plan_project(project, period=Period.of_day(DAYS.start), out="away.parquet")
    assert newest_plan(project.catalog.store) == str(away)
    status = CliRunner().invoke(main, ["status", "--json", "--project", str(project.folder)])
    assert json.loads(status.stdout)["plan"] == second.plan.id != first.plan.id
    plan_project(project, period=Period.of_day(DAYS.start), out="away.parquet")  # noted once more
    assert newest_plan(project.catalog.store) == str(away)


def test_a_plan_is_printed_in_few_lines(project):
    """Of three days, 18 were too many; what JSON states is not less."""
    given = ["plan", "--project", str(project.folder), "--tiles", TILE, "--period", "2018-06-28/2018-06-30"]
    text = CliRunner().invoke(main, given).stdout.splitlines()
    assert len(text) <= 4
    assert "tile-days: 3 (3 new)" in text
    assert any(line.startswith("to make them: ") and "core-hours" in line for line in text)
    assert not any(line.startswith("cost") or "0.0 USD" in line for line in text)


def test_what_is_named_counts(project, tmp_path):
    day = Period.of_day(DAYS.start)
    found = plan_project(project, ["h00v02"], day, model=only_model(project), out=str(tmp_path / "a.parquet"))
    assert [(planned.made.tile, planned.made.day) for planned in found.plan.days] == [("h00v02", day.start)]
    assert found.href == str(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no tile found"):
        plan_project(project, [])  # none, and not the default


def test_a_plan_that_costs_too_much_is_not_written(project):
    with pytest.raises(InputError, match="costs about .* USD, at most 0 are allowed"):
        plan_project(project, max_cost=0.0)
    with pytest.raises(InputError, match="has no plan: `stac-sm plan` writes one"):
        newest_plan(project.catalog.store)
    assert plan_project(project, max_cost=1e6).plan.to_do


def test_a_model_that_is_worse_than_its_own_input_is_planned_with_on_request_only(project):
    where = ["--tiles", TILE, "--period", str(DAYS), "--project", str(project.folder)]
    assert "has no skill beside its input" in CliRunner().invoke(main, ["plan", *where]).stderr
    path = f"sm-models/{only_model(project)}/{only_model(project)}.json"
    item = json.loads(project.catalog.store.read(path))
    skill = [Skill("site", name, "swvl1", 100, 9, 0.06, other, 0.06 / other - 1, -0.1, 0.4).to_dict()
             for name, other in (("input", 0.07), ("bias-corrected input", 0.05))]  # fmt: skip
    item["properties"]["stac_sm:skill"] = skill
    Path(project.folder, path).write_text(json.dumps(item))
    plans = sorted(Path(project.folder, "plans").iterdir())
    with pytest.raises(
        InputError, match="WORSE THAN ITS OWN INPUT: at unseen sites RMSE 0.0600, .20 % .* 0.0500 of .*swvl1"
    ):
        plan_project(project)
    assert "--accept-unskilled" in CliRunner().invoke(main, ["plan", *where]).stderr
    assert sorted(Path(project.folder, "plans").iterdir()) == plans
    assert plan_project(project, accept_unskilled=True).plan.to_do
    done = CliRunner().invoke(main, ["plan", *where, "--accept-unskilled", "--json"])
    assert json.loads(done.stdout)["skill"] == skill
    assert "WORSE THAN ITS OWN INPUT" in done.stderr
    item["properties"]["stac_sm:skill"] = skill[:1]
    Path(project.folder, path).write_text(json.dumps(item))
    assert plan_project(project).model.skill == (Skill.from_dict(skill[0]),)


def test_a_static_input_at_another_depth_blocks_and_says_so(project):
    """The recipe asks for clay of 0-5 cm, and there is clay of 5-15 cm."""
    catalog, coarse = project.catalog, around(SMALL.geobox(TILE), "EPSG:4326", 0.05)
    water = Mask("water", Feature("water", "soilgrids", "clay", "average", "static"), unknown=True)
    model = put_model(catalog, Path(project.folder, ".scratch", "m"), replace(RECIPE, masks=(*RECIPE.masks, water)))
    put(catalog, "soilgrids", "soilgrids-clay_5-15cm-x", coarse, {"clay_5-15cm": image(coarse)}, DAYS.start)
    found = plan_project(project, model=model)
    assert found.plan.counts["blocked"] == len(DAYS)
    (missing,) = found.missing_inputs
    assert (missing["input"], missing["asset"], missing["other_depths"]) == ("water", "clay", ["clay_5-15cm"])
    given = ["--model", model, "--tiles", TILE, "--period", str(DAYS), "--project", str(project.folder)]
    done = CliRunner().invoke(main, ["plan", *given])
    assert "lack water (collection soilgrids, asset clay; there is clay_5-15cm, of another depth)" in done.stderr


def test_no_model_and_two_models_are_told_apart(project, tmp_path):
    with pytest.raises(InputError, match="0 models found .*`stac-sm train` makes one"):
        plan_project(new_project(tmp_path / "none"), [TILE], DAYS)
    id = only_model(project)
    catalog = project.catalog
    path = f"sm-models/{id}/{id}.json"
    item = json.loads(catalog.store.read(path)) | {"id": "xgb-other"}
    catalog.store.create("sm-models/xgb-other/xgb-other.json", json.dumps(item).encode())
    refresh(catalog.store, "sm-models")
    with pytest.raises(InputError, match=f"2 models found .*({id}, xgb-other|xgb-other, {id}).*name one with --model"):
        plan_project(project)
    assert plan_project(project, model=id).model.id == id


def test_default_tiles_are_those_of_the_file_or_all_with_land(project):
    assert default_tiles(project) == [TILE]
    assert project.product_period == DAYS
    bare = replace(project, product=ProductRules())
    assert bare.product_period == Period.parse(bare.matchups.period)
