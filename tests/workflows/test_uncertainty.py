"""A model that says how sure it is: through its item, through a cube, and into the assets of a product."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stac_sm.core.fingerprint import digest
from stac_sm.core.period import Period
from stac_sm.core.variables import QualityFlag
from stac_sm.features.cube import feature_cube
from stac_sm.model.applicability import fit_applicability
from stac_sm.model.interval_calibration import fit_intervals
from stac_sm.model.item import MODELS_COLLECTION, model_item, write_model_assets
from stac_sm.model.predict import predict
from stac_sm.product.item import write_product_assets as write_product
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import publish
from tests.support.fields import DAYS, RECIPE, SMALL, TILE, new_catalog, read_model, shared_project, small_model, table


@pytest.fixture(scope="module")
def sure():
    """Of 12 sites; errors are larger where there are many leaves, and where it is wet."""
    rows, rng = table(), np.random.default_rng(3)
    sites = np.array([f"s{i:02d}" for i in rng.integers(12, size=len(rows))])
    model = replace(small_model(), recipe=RECIPE)
    errors = (0.01 + 0.01 * rows["lai"]) * (1 + 4 * rows["sm"]) * rng.normal(size=len(rows))
    known = pd.DataFrame({"site": sites, "observed": rows["sm"], "predicted": rows["sm"] + errors})
    return replace(
        model,
        intervals=fit_intervals(rows, model.features, known.assign(row=np.arange(len(rows)))),
        applicability=fit_applicability(rows, model.features, model.importance(), sites),
    )


def published(root, folder, model):
    """The model, read back from its item."""
    catalog = new_catalog(root)
    folder.mkdir()
    item = model_item(
        model, fingerprint=digest("sure"), bbox=[8, 45, 12, 48], period=Period.parse("2018"), hyperparameters={},
        properties={"title": "sure"},
    )  # fmt: skip
    publish(catalog, item, write_model_assets(model, folder))
    refresh(catalog.store, MODELS_COLLECTION)
    return read_model(open_catalog(root), item["id"])


def test_there_and_back_through_the_item(tmp_path, sure):
    read = published(tmp_path / "p", tmp_path / "scratch", sure)
    assert (read.intervals, read.applicability, read.checksum) == (sure.intervals, sure.applicability, sure.checksum)
    rows = table(rows=300, seed=9)
    predicted = sure.predict(rows)
    half = sure.intervals.half_width(rows, predicted)
    np.testing.assert_array_equal(read.intervals.half_width(rows, predicted), half)
    np.testing.assert_array_equal(read.applicability.outside(rows), sure.applicability.outside(rows))
    assert np.ptp(half) > 0.005


def test_every_part_counts_in_the_checksum(sure):
    wider = replace(sure.intervals, factor=sure.intervals.factor * 1.1)
    level = replace(sure.intervals, level=replace(sure.intervals.level, floor=0.1))
    larger = replace(sure.applicability, radius=sure.applicability.radius + 1)
    changes = [{}, {"intervals": None}, {"applicability": None}, {"intervals": wider}, {"intervals": level},
               {"applicability": larger}]  # fmt: skip
    assert len({replace(sure, **change).checksum for change in changes}) == len(changes)


@pytest.fixture(scope="module")
def cube():
    project = shared_project()[0]
    return feature_cube(project.catalog, RECIPE, TILE, DAYS, grid=SMALL).compute()


def test_a_cube_gets_half_widths_and_flags(sure, cube):
    found = predict(sure, cube)
    valid = ~np.isnan(found.sm.values)
    assert found.uncertainty.dtype == np.float32
    assert (found.uncertainty.attrs["units"], "90%" in found.uncertainty.attrs["long_name"]) == ("m3 m-3", True)
    np.testing.assert_array_equal(np.isnan(found.uncertainty.values), ~valid)
    rows = {name: cube[name].values[valid] for name in sure.features}
    raw = sure.predict(rows)
    np.testing.assert_array_equal(found.uncertainty.values[valid], sure.predict_with_half_width(rows)[1])
    assert raw.shape == sure.intervals.half_width(rows, raw).shape
    flagged = (found.qa.values[valid] & np.uint8(QualityFlag.NOT_APPLICABLE)) > 0
    np.testing.assert_array_equal(flagged, sure.applicability.outside(rows))
    nowhere = replace(sure, applicability=replace(sure.applicability, radius=0))
    assert (predict(nowhere, cube).qa.values[valid] & np.uint8(QualityFlag.NOT_APPLICABLE)).all()
    assert not (found.qa.values[~valid] & np.uint8(QualityFlag.NOT_APPLICABLE)).any()


def test_a_model_without_says_nothing(sure, cube):
    found = predict(replace(sure, intervals=None, applicability=None), cube)
    assert set(found.data_vars) == {"sm", "qa"}
    assert not (found.qa.values & np.uint8(QualityFlag.NOT_APPLICABLE)).any()
    np.testing.assert_array_equal(found.sm.values, predict(sure, cube).sm.values)


def test_the_product_has_an_asset(tmp_path, sure, cube):
    import rasterio

    found = predict(sure, cube).isel(time=0)
    sm, qa, half = (found[name].values for name in ("sm", "qa", "uncertainty"))
    assets = write_product(sm, qa, SMALL.geobox(TILE), tmp_path, uncertainty=half, coverage=0.9)
    with rasterio.open(assets["uncertainty"].file) as file:
        stored = file.read(1, masked=True)
    np.testing.assert_array_equal(stored.mask, np.isnan(sm))
    np.testing.assert_allclose(stored.compressed(), half[~np.isnan(half)], atol=2.0**-12)
    fields = assets["uncertainty"].fields
    assert ("90%" in fields["title"], "uncertainty" in fields["roles"]) == (True, True)
    assert "uncertainty" not in write_product(sm, qa, SMALL.geobox(TILE), tmp_path)
