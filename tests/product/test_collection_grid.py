"""One grid a collection: tiles of another one are refused, whatever their ids, and the audit stays clean."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.errors import InputError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM, TileGrid
from stac_sm.core.period import Period
from stac_sm.product.aggregates.means import make_means
from stac_sm.product.aggregates.mosaic import make_mosaics
from stac_sm.product.collection_grid import lies_on, require_grid
from stac_sm.product.item import PRODUCT_COLLECTION, ProductDay, product_item
from stac_sm.workflows.audit import audit_project
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.plan.project_plan import plan_project
from stac_sm.workflows.project import read_project
from tests.support.fields import DAYS, EASE, SMALL, TILE, copied_project, project_text, read_model
from tests.support.plan_runs import run_here
from tests.support.source_files import content

OTHER = replace(SMALL, name="other", code="OTHR", origin=(SMALL.origin[0] + 500, SMALL.origin[1] - 500))
"""A grid whose tiles have the same ids, and lie over the same inputs."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with products of one tile on the grid ``small``, and the id of its model."""
    project, model, _ = copied_project(tmp_path_factory.mktemp("grid") / "p")
    plan = make_plan(
        project.catalog, read_model(project.catalog, model), [TILE], DAYS, grid=project.grid, version="001"
    )
    assert not run_here(project, plan).failures
    shutil.rmtree(project.folder / ".scratch", ignore_errors=True)
    return project.folder, model


@pytest.fixture
def folder(made, tmp_path):
    """A copy whose project file has another grid, with a tile of the same id."""
    shutil.copytree(made[0], tmp_path / "p")
    (tmp_path / "p" / "stac-sm.toml").write_text(project_text(OTHER))
    return tmp_path / "p"


def item_of(grid: TileGrid, tile: str, **changes):
    day = ProductDay(tile, Period.parse("2018-06-28").start, "001", "f" * 64)
    item = product_item(day, grid, model_id="m", recipe_checksum="r", properties={})
    return {**item, "properties": {**item["properties"], **changes}}


@pytest.mark.parametrize("tile", ["h10v05", "h18v04", "h20v11"])
def test_an_item_lies_on_its_own_grid_only(tile):
    item = json.loads(json.dumps(item_of(MODIS_SINUSOIDAL_1KM, tile)))
    assert lies_on(item, MODIS_SINUSOIDAL_1KM)
    assert lies_on(item, replace(MODIS_SINUSOIDAL_1KM, name="the same under another name"))
    for other in (
        EASE,
        SMALL,
        replace(MODIS_SINUSOIDAL_1KM, pixel=(926.0, 926.0)),
        replace(MODIS_SINUSOIDAL_1KM, tile_shape=(2400, 2400)),
        replace(MODIS_SINUSOIDAL_1KM, origin=(0.0, 0.0)),
        replace(MODIS_SINUSOIDAL_1KM, code="OURS"),
        replace(MODIS_SINUSOIDAL_1KM, crs="+proj=sinu +lon_0=10 +R=6371007.181 +units=m +no_defs"),
        replace(MODIS_SINUSOIDAL_1KM, tiles=(1, 1)),
    ):
        assert not lies_on(item, other)


def test_a_crs_in_other_words_is_the_same():
    item = json.loads(json.dumps(item_of(EASE, TILE, **{"proj:wkt2": "EPSG:6933"})))
    assert lies_on(item, EASE)
    assert not lies_on(json.loads(json.dumps(item_of(EASE, TILE, **{"proj:wkt2": "nonsense"}))), EASE)


def test_a_collection_without_items_takes_any_grid(tmp_path):
    project, _, _ = copied_project(tmp_path / "p")
    for grid in (SMALL, EASE, MODIS_SINUSOIDAL_1KM):
        require_grid(project.catalog, grid)


def test_planning_a_run_and_aggregates_of_another_grid_are_refused_and_write_nothing(made, folder):
    project, model = read_project(folder), made[1]
    before = content(folder)
    plan = make_plan(project.catalog, read_model(project.catalog, model), [TILE], DAYS, grid=OTHER, version="001")
    assert {day.state for day in plan.days} == {"stale"}  # the ids are the same
    june = [Period.parse("2018-06")]
    for attempt in (
        lambda: plan_project(project, [TILE], DAYS),
        lambda: run_here(project, plan),
        lambda: make_mosaics(project.catalog, OTHER, DAYS, "001"),
        lambda: make_means(project.catalog, OTHER, june, "001", collection="sm-1km-monthly"),
    ):
        with pytest.raises(InputError) as error:
            attempt()
        message = str(error.value)
        assert "collection sm-1km-daily holds tiles of another grid: its item SM1KM.A2018179.h01v01.v001" in message
        assert "lies on SMAL-0101" in message
        assert f"[grid] of the project is 'other', which has {OTHER.describe('h01v01')} on OTHR-0101" in message
        assert "restore [grid], or make the products of this grid in a project of their own" in message
        assert content(folder) == before


def test_the_commands_refuse_it_with_exit_code_1_and_the_audit_stays_clean(folder):
    run = CliRunner().invoke
    planned = run(main, ["plan", "--project", str(folder), "--tiles", TILE, "--period", str(DAYS)])
    assert planned.exit_code == 1
    assert "holds tiles of another grid" in planned.output
    for grid in (OTHER, SMALL):  # as it is, and with the grid restored
        (folder / "stac-sm.toml").write_text(project_text(grid))
        audited = run(main, ["audit", "--project", str(folder)])
        assert audited.exit_code == 0, audited.output
        note = "6 items of sm-1km-daily lie on another grid than [grid] of the project, 'other'"
        assert (note in audited.output) == (grid is OTHER)


def test_a_collection_of_two_grids_is_a_finding(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "p")
    project = read_project(tmp_path / "p")
    path = sorted(Path(project.folder, PRODUCT_COLLECTION).glob("2018/*/*/*/SM1KM*.json"))[2]
    item = json.loads(path.read_text())
    other = json.loads(json.dumps(item_of(EASE, TILE)))["properties"]
    item["properties"] |= {key: other[key] for key in other if key.startswith(("proj:", "grid:"))}
    path.write_text(json.dumps(item, indent=2) + "\n")
    (finding,) = (one for one in audit_project(project, [PRODUCT_COLLECTION]) if "another grid" in one.detail)
    assert (finding.kind, finding.path) == ("item", str(path.relative_to(project.folder)))
    assert "`stac-sm retract` it" in finding.detail
