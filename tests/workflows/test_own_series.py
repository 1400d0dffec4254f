"""A raster series of one's own from the first command to the product: kept settings, a feature, a comparison.

The blocks of catalog/README.md are typed here as they stand, on files that are simulated.
"""

from __future__ import annotations

import shlex
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.errors import CatalogError, InputError, ProjectError
from stac_sm.core.metrics import agreement_scores
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.features.recipe import Recipe
from stac_sm.raster.mosaic_cog import whole_grid_geobox
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.workflows.own_series import ingest_source
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.project import FILE_NAME, create_project, read_project
from stac_sm.workflows.project_template import TEMPLATES
from stac_sm.workflows.validation.products import OTHER_PRODUCTS, OtherProduct, other_product
from stac_sm.workflows.validation.validate import validate_product
from tests.support.fields import SMALL, TILE, image, project_text, put_model, read_model
from tests.support.plan_runs import run_here
from tests.support.product_days import FIRST, known, new_project, put_days
from tests.support.readme_blocks import blocks_of
from tests.support.source_files import write_geotiff

DAYS = Period(FIRST, FIRST + 3 * ONE_DAY)
WHOLE = whole_grid_geobox(SMALL)
CLICK = ["--collection", "my-sm", "--variable", "sm", "--unit", "m3 m-3", "--datetime", "%Y%j"]


def typed(*words, folder):
    return CliRunner().invoke(main, [*words, "--project", str(folder)])


def good(*words, folder):
    done = typed(*words, folder=folder)
    assert done.exit_code == 0, done.output
    return done.output


def blocks(heading, language):
    found = blocks_of("catalog/README.md")
    return [one.text for one in found if (one.heading, one.language) == (heading, language)]


def glass_day(number):
    """What the simulated GLASS SM has: half of the range of the product, and gaps."""
    sm = image(WHOLE, 0.1, 0.4, 0.2 + 0.1 * number)
    sm[:4] = -9999
    return sm


@pytest.fixture
def home(tmp_path):
    """Files of a user: percent by volume, GLASS SM as days and as means, a static map."""
    for name in ("my-sm", "glass-sm/daily", "glass-sm/annual"):
        (tmp_path / name).mkdir(parents=True)
    for number, day in enumerate(DAYS.days):
        sm = glass_day(number)
        percent = np.where(sm < 0, 255, np.round(sm * 100)).astype(np.uint8)
        write_geotiff(tmp_path / "my-sm" / f"sm_{day:%Y%m%d}.tif", percent, WHOLE, nodata=255)
        write_geotiff(tmp_path / "glass-sm" / "daily" / f"GLASS.SM.V01.A{day:%Y%j}.2022021.tif", sm, WHOLE, nodata=None)
    write_geotiff(tmp_path / "glass-sm" / "annual" / "mean_2018.tif", glass_day(0), WHOLE)
    write_geotiff(tmp_path / "cover.tif", image(WHOLE, 0, 6, 0.9), WHOLE)
    return tmp_path


def typed_lines(text, home, folder):
    for line in text.splitlines():
        words = shlex.split(line.replace("~", str(home)), comments=True)
        assert words[0] == "stac-sm"
        good(*words[1:], folder=folder)


def test_a_series_of_ones_own_as_the_readme_has_it_makes_a_day_of_the_product(home):
    """Typed, planned and run: the features are a daily and a static series."""
    (commands,), (toml,) = (blocks("A raster series of your own", language) for language in ("sh", "toml"))
    features = {one.name: one for one in Recipe.from_dict(tomllib.loads(toml)["recipe"]).features}
    recipe = Recipe((replace(features["my_sm"], name="swvl1"), replace(features["cover"], name="lai")))
    project = create_project(home / "p", project_text(recipe=recipe))
    before = (home / "p" / FILE_NAME).read_text()
    typed_lines(commands, home, home / "p")
    after = (home / "p" / FILE_NAME).read_text()
    assert after.startswith(before)
    assert sorted(read_project(home / "p").sources) == ["my-cover", "my-sm"]
    model = read_model(project.catalog, put_model(project.catalog, home / "model", recipe))
    project = read_project(home / "p")
    planned = make_plan(project.catalog, model, [TILE], Period.of_day(FIRST), grid=SMALL, version="001")
    assert run_here(project, planned).failures == []
    (item,) = open_catalog(project.folder).items("sm-1km-daily")
    with rasterio.open(item.assets["sm"].get_absolute_href()) as file:
        assert np.isfinite(file.read(1, masked=True).filled(np.nan)).mean() > 0.9


def test_glass_sm_as_the_readme_has_it_is_compared_with_the_product(home, validate):
    project = new_project(home / "p")
    put_days(project.catalog, (TILE,), range(3))
    (commands,) = blocks("The published GLASS SM", "sh")
    typed_lines(commands, home, project.folder)
    (item,) = open_catalog(project.folder).items("validation")
    validate(item)
    (found,) = [one for one in item.properties["stac_sm:scores"]["others"] if one["collection"] == "glass-sm"]
    column, row = SMALL.column_row(TILE)
    height, width = SMALL.tile_shape
    inside = np.s_[row * height : (row + 1) * height, column * width : (column + 1) * width]
    pairs = [(known(SMALL, TILE, day)[0], glass_day(day)[inside]) for day in range(3)]
    ours, theirs = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1))
    both = np.isfinite(ours) & (theirs >= 0)
    expected = agreement_scores(ours[both], theirs[both])  # on the same pixels
    assert (found["asset"], found["grid"], found["n"]) == ("sm", "0.927 km", int(both.sum()))
    assert [found["r"], found["bias"]] == pytest.approx([expected.r, expected.bias], abs=1e-6)
    assert "cells-glass-sm-sm" in item.assets


def test_a_collection_that_cannot_be_compared_is_refused_with_the_reason(home):
    project = new_project(home / "p")
    put_days(project.catalog, (TILE,), range(3))
    daily = [str(home / "glass-sm" / "daily"), "--datetime", "A%Y%j", "--nodata", "-9999"]
    good("ingest", "raster", *daily, "--collection", "g", "--variable", "sm", "--unit", "m3/m3", folder=project.folder)
    percent = [str(home / "my-sm"), "--datetime", "%Y%m%d", "--variable", "wet", "--unit", "%"]
    good("ingest", "raster", *percent, "--collection", "p", folder=project.folder)
    year = [str(home / "glass-sm" / "annual"), "--datetime", "%Y", "--variable", "sm", "--unit", "m3 m-3"]
    good("ingest", "raster", *year, "--collection", "y", folder=project.folder)
    catalog = open_catalog(project.folder)
    assert other_product(catalog, "g", DAYS) == OtherProduct("g", "sm", "0.927 km")
    assert other_product(catalog, "smap", DAYS) == OTHER_PRODUCTS[1]
    for name, says in (
        ("p", r"wet in % found, an asset in m3 m-3 is required: .*--scale 0.01"),
        ("y", r"means over 2018-01-01/2018-12-31 found, none lies wholly in .*--period"),
        ("sm-1km-daily", "another collection"),
        ("g/uncertainty", "sm in m3 m-3 found, an asset"),
    ):
        with pytest.raises(InputError, match=says):
            other_product(catalog, name, DAYS)
    with pytest.raises(CatalogError, match="no item found on 2001"):
        other_product(catalog, "g", Period.parse("2001"))
    with pytest.raises(CatalogError, match="nothing"):
        validate_product(project, DAYS, against=["nothing"])


def test_means_are_compared_with_means_of_the_product_over_the_same_days(home):
    """Composites of four days, and of eight, of which the product has fewer than half."""
    project = new_project(home / "p")
    put_days(project.catalog, (TILE,), range(3))
    for number, days in ((0, 4), (1, 8)):
        folder = home / f"composites-{days}"
        folder.mkdir()
        write_geotiff(folder / "c_2018182.tif", glass_day(number), WHOLE)
        words = ["--datetime", "%Y%j", "--days", str(days), "--variable", "sm", "--unit", "m3 m-3"]
        good("ingest", "raster", str(folder), "--collection", f"c{days}", *words, folder=project.folder)
    period = Period(FIRST, FIRST + 8 * ONE_DAY)
    made = validate_product(project, period, others=(), against=["c4", "c8"])
    scores = {one["collection"]: one for one in made.scores["others"]}
    column, row = SMALL.column_row(TILE)
    height, width = SMALL.tile_shape
    theirs = glass_day(0)[row * height : (row + 1) * height, column * width : (column + 1) * width]
    ours = np.stack([known(SMALL, TILE, day)[0] for day in range(3)])
    days = np.isfinite(ours).sum(0)
    mean = np.where(days >= 2, np.nansum(ours, axis=0) / np.maximum(days, 1), np.nan)
    both = np.isfinite(mean) & (theirs >= 0)
    expected = agreement_scores(mean[both], theirs[both])
    found = scores["c4"]
    assert (found["grid"], found["n"], found["days"]) == ("0.927 km, means over 4 days", int(both.sum()), 1)
    assert [found["r"], found["bias"]] == pytest.approx([expected.r, expected.bias], abs=1e-6)
    assert scores["c8"]["n"] == 0
    assert any("compared with means of the product" in note for note in made.notes)


def series(folder):
    return write_geotiff(folder / "sm_2018182.tif", image(WHOLE, 0.1, 0.4), WHOLE)


def test_the_settings_are_kept_behind_all_comments_and_used_without_options(tmp_path):
    create_project(tmp_path / "p", TEMPLATES["glass"])
    file = series(tmp_path)
    before = (tmp_path / "p" / FILE_NAME).read_text()
    said = good("ingest", "raster", str(file), *CLICK, "--nodata", "-9999", "--title", 'My "ä"', folder=tmp_path / "p")
    assert "[sources.my-sm] is in the project file now" in said
    after = (tmp_path / "p" / FILE_NAME).read_text()
    assert after.startswith(before)
    kept = {"source": "raster", "variable": "sm", "unit": "m3 m-3", "datetime": "%Y%j", "nodata": [-9999.0]}
    assert read_project(tmp_path / "p").sources["my-sm"] == kept | {"title": 'My "ä"'}
    assert "done: 1 files" in good("ingest", "my-sm", str(file), folder=tmp_path / "p")
    assert "done: 1 files" in good("ingest", "raster", str(file), "--collection", "my-sm", folder=tmp_path / "p")
    assert (tmp_path / "p" / FILE_NAME).read_text() == after


def test_other_options_for_an_id_that_is_there_are_refused(tmp_path):
    create_project(tmp_path / "p", TEMPLATES["glass"])
    file = series(tmp_path)
    good("ingest", "raster", str(file), *CLICK, folder=tmp_path / "p")
    before = (tmp_path / "p" / FILE_NAME).read_text()
    done = typed("ingest", "raster", str(file), *CLICK, "--scale", "0.5", folder=tmp_path / "p")
    assert done.exit_code == 1
    assert "scale 'not set'" in done.output
    assert "given were scale 0.5: edit the file" in done.output
    assert (tmp_path / "p" / FILE_NAME).read_text() == before


def test_settings_with_which_no_file_was_ingested_are_not_kept(tmp_path):
    create_project(tmp_path / "p", TEMPLATES["glass"])
    file = series(tmp_path)
    wrong = typed("ingest", "raster", str(file), *CLICK[:-1], "%Y-%m-%d", folder=tmp_path / "p")
    assert wrong.exit_code == 1
    assert read_project(tmp_path / "p").sources.keys() == {"era5-land"}
    good("ingest", "raster", str(file), *CLICK, folder=tmp_path / "p")


@pytest.mark.parametrize(
    ("source", "options", "says"),
    [
        ("raster", {}, "--collection is missing"),
        ("raster", {"collection": "x"}, "--variable and --unit missing"),
        ("raster", {"collection": "era5-land", "variable": "sm", "unit": "1"}, "taken"),
        ("raster", {"collection": "sm-1km-daily", "variable": "sm", "unit": "m3 m-3"}, "taken"),
        ("raster", {"collection": "x", "variable": "sm", "unit": "%"}, "--scale 0.01"),
        ("era5-land", {"scale": 2.0}, r"--scale found, options of `ingest raster`"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, source, options, says):
    project = create_project(tmp_path / "p", TEMPLATES["glass"])
    with pytest.raises(InputError, match=says):
        ingest_source(project, source, options)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('[sources.my-sm]\nsource = "raster"\nvariable = "sm"', "unit is missing"),
        ('[sources.my-sm]\nvariable = "sm"\nunit = "m3 m-3"', "my-sm"),  # it does not say what it is
        ('[sources.smap-x]\nsource = "raster"\nvariable = "sm"\nunit = "1"\nscal = 2', "scal"),
        ('[sources.matchups]\nsource = "raster"\nvariable = "a"\nunit = "1"', "taken"),
        ('[sources.x]\nsource = "raster"\nid = "y"\nvariable = "a"\nunit = "1"', "leave it out"),
    ],
)
def test_a_table_of_the_project_file_that_is_no_series_is_refused(tmp_path, table, says):
    with pytest.raises(ProjectError, match=says):
        create_project(tmp_path / "p", TEMPLATES["glass"] + "\n" + table + "\n")
