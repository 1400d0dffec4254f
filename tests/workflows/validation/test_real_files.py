"""Validation against real files: a half-orbit of SMAP; ESA CCI and ISMN stations of Hawaii.

What stands for the product are known fields. h5py, the time series of the CCI and the text of the archive are read
beside the readers, and scores are plain sums over what pyproj says of the place of each pixel.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from datetime import date
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pyproj
import pytest
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.fingerprint import digest
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM, TileGrid
from stac_sm.core.metrics import agreement_scores
from stac_sm.core.period import Period
from stac_sm.core.projections import SINUSOIDAL
from stac_sm.core.variables import QualityFlag
from stac_sm.ingest.pipeline import ingest
from stac_sm.product.item import PRODUCT_COLLECTION, ProductDay, product_item, write_product_assets
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import publish
from tests.support import hawaii
from tests.support.fields import PIXEL
from tests.support.product_days import new_project
from tests.support.source_files import DATA, HAWAII, real_data

HALF_ORBIT = DATA / "smap_l2" / "SMAP_L2_SM_P_02801_A_20150811T013002_R18290_001.h5"
EASE2 = ("EPSG:6933", -17367530.44516138, 7314540.83063855, 36032.220840584)
CCI = ("OGC:CRS84", -180.0, 90.0, 0.25)
ISLAND = TileGrid("hawaii", SINUSOIDAL, (-17660 * PIXEL, 2410 * PIXEL), (PIXEL, PIXEL), (100, 80), (2, 1), "HAWA")
TILES = ("h00v00", "h01v00")
ISLAND_DAYS = Period(date(2017, 3, 1), date(2017, 3, 17))
NAMES = ("r", "rmse", "ubrmse", "bias")


def field(shape, seed):
    """Soil moisture in steps of the product: waves and noise, with gaps: single pixels and a piece of some cells."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    waves = 0.1 * np.sin(columns / 37 + rng.uniform(0, 6)) * np.cos(rows / 29)
    sm = 0.25 + waves + 0.03 * rng.standard_normal(shape)
    sm = np.clip(np.round(sm * 2**13) / 2**13, 0.03125, 0.5).astype(np.float32)
    sm[rng.random(shape) < 0.1] = np.nan
    sm[shape[0] // 4 : shape[0] // 2, shape[1] // 6 : shape[1] // 2] = np.nan
    return sm


def put_field(catalog, grid, tile, day, sm):
    made = ProductDay(tile, day, "001", digest([tile, str(day), sm.tobytes().hex()[:64]]))
    item = product_item(made, grid, model_id="m", recipe_checksum="r", properties={})
    qa = np.where(np.isnan(sm), np.uint8(QualityFlag.FROZEN), np.uint8(0))
    with tempfile.TemporaryDirectory() as scratch:
        publish(catalog, item, write_product_assets(sm, qa, grid.geobox(tile), Path(scratch)))


def places(box, cells):
    """Rows and columns among the cells of the centres of a tile's pixels: whole numbers are edges of cells."""
    crs, left, top, size = cells
    rows, columns = np.indices(tuple(box.shape)) + 0.5
    to_cells = pyproj.Transformer.from_crs(SINUSOIDAL, crs, always_xy=True)
    x, y = to_cells.transform(box.affine.c + columns * PIXEL, box.affine.f - rows * PIXEL)
    return (top - y) / size, (x - left) / size


def without_doubt(sm, box, cells):
    """Without the pixels whose centre lies on the edge of a cell, but for a millionth of it: some centimetres."""
    return np.where(sum(abs(at - np.round(at)) < 1e-6 for at in places(box, cells)), np.float32(np.nan), sm)


def cell_means(fields, cells):
    """Mean of the pixels whose centre lies in each cell, of those cells whose centre lies in one of the tiles.

    ``fields`` are pairs of a tile's geobox and its pixels.
    """
    crs, left, top, size = cells
    parts = []
    for box, sm in fields:
        row, column = (np.floor(at).astype(int).ravel() for at in places(box, cells))
        parts.append(pd.DataFrame({"row": row, "column": column, "sm": sm.ravel().astype(float)}).dropna())
    to_tiles = pyproj.Transformer.from_crs(crs, SINUSOIDAL, always_xy=True)
    inside = {}
    for (row, column), mean in pd.concat(parts).groupby(["row", "column"])["sm"].mean().items():
        x, y = to_tiles.transform(left + (column + 0.5) * size, top - (row + 0.5) * size)
        boxes = [box.boundingbox for box, _ in fields]
        if any(box.left <= x < box.right and box.bottom < y <= box.top for box in boxes):
            inside[row, column] = mean
    return inside


def validated(project, period):
    """What the command says, and where its files lie."""
    arguments = ["validate", "--project", str(project.folder), "--period", str(period), "--json"]
    told = CliRunner().invoke(main, arguments)
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    return found, project.catalog.item("validation", found["id"])


def compare(found, item, collection, key, pairs, cells):
    """Hold the pooled scores and those of every cell against pairs of (product, other): cell -> two lists."""
    (told,) = (one for one in found["others"] if one["collection"] == collection)
    ours, theirs = (np.concatenate([pair[i] for pair in pairs.values()]) for i in (0, 1))
    wanted = agreement_scores(ours, theirs)
    assert (told["cells"], told["n"]) == (len(pairs), wanted.n)
    for name in NAMES:
        assert told[name] == pytest.approx(getattr(wanted, name), abs=2e-6)
    table = pq.read_table(item.assets[key].get_absolute_href()).to_pandas()
    crs, left, top, size = cells
    x, y = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform(table["lon"], table["lat"])
    places = zip(np.floor((top - y) / size).astype(int), np.floor((x - left) / size).astype(int), strict=True)
    rows = dict(zip(places, table.to_dict("records"), strict=True))
    assert rows.keys() == pairs.keys()
    for place, pair in pairs.items():
        alone = agreement_scores(*pair)
        assert rows[place]["days"] == alone.n
        for name in ("rmse", "bias"):
            assert rows[place][name] == pytest.approx(getattr(alone, name), abs=2e-6)


@real_data
def test_against_a_real_half_orbit_of_smap(tmp_path):
    grid, tile, day = MODIS_SINUSOIDAL_1KM, "h12v02", date(2015, 8, 11)
    project = new_project(tmp_path / "p", grid)
    sm = without_doubt(field(grid.tile_shape, 1), grid.geobox(tile), EASE2)
    put_field(project.catalog, grid, tile, day, sm)
    refresh(project.catalog.store, PRODUCT_COLLECTION)
    (result,) = ingest(project.catalog, "smap", [HALF_ORBIT])
    assert (result.error, result.items) == (None, {"new": 1})
    found, item = validated(project, Period.of_day(day))

    ours = cell_means([(grid.geobox(tile), sm)], EASE2)
    with h5py.File(HALF_ORBIT) as raw:
        read = raw["Soil_Moisture_Retrieval_Data"]
        names = ("EASE_row_index", "EASE_column_index", "soil_moisture", "retrieval_qual_flag")
        cells = list(zip(*(read[name][:] for name in names), strict=True))
    theirs = {(int(row), int(column)): sm for row, column, sm, flag in cells if sm != -9999 and flag % 2 == 0}
    pairs = {cell: ([ours[cell]], [theirs[cell]]) for cell in ours.keys() & theirs.keys()}
    assert 200 < len(pairs) < len(theirs)  # some cells lie outside the tile or in the gap
    compare(found, item, "smap", "cells-smap_sm", pairs, EASE2)
    assert any("ESA" in note or "esa-cci-sm" in note for note in found["notes"])
    assert Path(found["report"]).read_text().count("data:image/png;base64,") == 1


@pytest.fixture(scope="module")
def island(tmp_path_factory):
    """A project with real ESA CCI and real stations of Hawaii, and known fields of the product by tile and day."""
    folder = tmp_path_factory.mktemp("island")
    project = new_project(folder / "p", ISLAND)
    catalog, known = project.catalog, {}
    for i, tile in enumerate(TILES):
        for n, day in enumerate(ISLAND_DAYS.days):
            known[tile, day] = without_doubt(field(ISLAND.tile_shape, [i, n]), ISLAND.geobox(tile), CCI)
            put_field(catalog, ISLAND, tile, day, known[tile, day])
    refresh(catalog.store, PRODUCT_COLLECTION)
    whole = hawaii.esa_cci(HAWAII)
    chosen = (whole.days >= np.datetime64(ISLAND_DAYS.start)) & (whole.days < np.datetime64(ISLAND_DAYS.end))
    values = {name: read[:, chosen] for name, read in whole.values.items()}
    part = hawaii.Points(whole.days[chosen], whole.lon, whole.lat, values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hawaii, "esa_cci", lambda data: part)
        files = hawaii.write_esa_cci(HAWAII, folder / "cci")
    for source, paths in (("esa-cci-sm", files), ("ismn", [HAWAII / "ismn_ceop_2017_2018.zip"])):
        assert {result.error for result in ingest(catalog, source, paths)} == {None}
    found, item = validated(project, ISLAND_DAYS)
    return found, item, known, part


@real_data
def test_against_real_values_of_esa_cci(island):
    found, item, known, cci = island
    pairs = {}
    for n, day in enumerate(ISLAND_DAYS.days):
        assert cci.days[n] == np.datetime64(day)
        ours = cell_means([(ISLAND.geobox(tile), known[tile, day]) for tile in TILES], CCI)
        for lon, lat, value, flag in zip(
            cci.lon, cci.lat, cci.values["sm"][:, n], cci.values["flag"][:, n], strict=True
        ):
            cell = int((90 - lat) // 0.25), int((lon + 180) // 0.25)
            if cell in ours and flag == 0 and value >= 0:
                lists = pairs.setdefault(cell, ([], []))
                lists[0].append(ours[cell])
                lists[1].append(value)
    assert len(pairs) > 6
    compare(found, item, "esa-cci-sm", "cells-cci_sm", pairs, CCI)


def plain_daily(archive):
    """Mean of each UTC day of every shallow sensor with 12 good hours, then of the sensors: station -> day -> mean."""
    hours, days = {}, {f"{day:%Y/%m/%d}": day for day in ISLAND_DAYS.days}
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            lines = opened.read(name).decode().splitlines() if "_sm_0.050800_" in name else []
            for word in (line.split() for line in lines if line[:10] in days):
                if word[13] == "G" and 0 < float(word[12]) < 0.6:
                    of_day = hours.setdefault((name.split("/")[1], days[word[0]]), {})
                    of_day.setdefault(name, []).append(float(word[12]))
    means = {at: [np.mean(one) for one in of.values() if len(one) >= 12] for at, of in hours.items()}
    return {at: np.mean(of) for at, of in means.items() if of}


@real_data
def test_against_real_stations(island):
    found, item, known, _ = island
    archive = HAWAII / "ismn_ceop_2017_2018.zip"
    daily, places = plain_daily(archive), {}
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            if "_sm_0.050800_" in name:
                word = opened.open(name).readline().split()
                places[name.split("/")[1]] = float(word[8]), float(word[7])
    to_grid = pyproj.Transformer.from_crs("OGC:CRS84", SINUSOIDAL, always_xy=True)
    pairs = {}
    for (station, day), observed in daily.items():
        x, y = to_grid.transform(*places[station])
        column, row = int((x - ISLAND.origin[0]) // PIXEL), int((ISLAND.origin[1] - y) // PIXEL)
        value = known[f"h{column // 80:02}v00", day][row, column % 80]
        if np.isfinite(value):
            lists = pairs.setdefault(f"SCAN.{station}", ([], []))
            lists[0].append(value)
            lists[1].append(observed)
    wanted = agreement_scores(*(np.concatenate([pair[i] for pair in pairs.values()]) for i in (0, 1)))
    rows = {one["network"]: one for one in found["stations"]}
    assert rows.keys() == {"all", "SCAN"}  # the cosmic-ray probe reaches to 0.17 m
    assert rows["SCAN"]["role"] == "not known"
    assert (rows["SCAN"]["sites"], rows["SCAN"]["n"]) == (len(pairs), wanted.n)
    assert len(pairs) > 2
    for name in NAMES:
        assert rows["SCAN"][name] == pytest.approx(getattr(wanted, name), abs=1e-6)
    metrics = json.loads(Path(item.assets["metrics"].get_absolute_href()).read_text())
    assert {one["site"] for one in metrics["sites"]} <= pairs.keys()


@real_data
def test_the_page_of_real_files_has_maps_and_series(island):
    found, item, *_ = island
    page = Path(found["report"]).read_text()
    boxes = page.count('alt="Boxes of R, ubRMSE and bias of sites by ')
    assert boxes >= 2
    assert page.count("data:image/png;base64,") == 3 + boxes  # a scatter, and maps of stations and of ESA CCI
    series = Path(item.assets["series"].get_absolute_href()).read_text()
    assert series.count("data:image/png;base64,") == 1
    assert {link.title for link in item.links if link.rel == "related"} >= {"esa-cci-sm", "ismn-stations"}
