"""Real data, the whole flow by its command line: Hawaii, 2017-2018.

Stations of the ISMN, ERA5-Land as feature and second data set of triple collocation, ESA CCI as third. What the flow
makes is compared with plain readings of the same files, with pytesmo, and with what other libraries read.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
import rioxarray
from click.testing import CliRunner

from stac_sm import Model, Period, open_catalog, open_product, point_series, triple_collocation
from stac_sm.cli.main import main
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM as GRID
from stac_sm.core.projections import transform_points
from stac_sm.core.variables import QualityFlag
from tests.support.hawaii import PROJECT_FILE, Points, era5_land, esa_cci, write_era5_land, write_esa_cci

pytestmark = pytest.mark.integration

TILES, DAYS = ("h03v06", "h03v07"), pd.date_range("2018-07-01", "2018-07-07")
PLAN = ("plan", "--tiles", ",".join(TILES), "--period", "2018-07-01/2018-07-07", "--accept-unskilled")
STEP = 2.0**-13  # of the product's values
FILES = {  # of one sensor each
    "SCAN.IslandDairy": "SCAN_IslandDairy_HydraprobeAnalog25Volt",
    "SCAN.ManaHouse": "SCAN_ManaHouse_ns",
    "SCAN.SilverSword": "SCAN_SilverSword_HydraprobeAnalog25Volt",
}
KAINALIU = tuple(f"SCAN_Kainaliu_HydraprobeAnalog25Volt{sensor}" for sensor in "AB")
TIED = "SCAN.ManaHouse"  # at 19.95 N, on the edge of two cells of ERA5-Land: its pixel lies in the southern one


@dataclass
class Flow:
    """A project after the whole flow, and what each command has said."""

    data: Path
    granules: Path
    folder: Path
    said: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def do(self, *arguments: str | Path, code: int = 0, project: Path | None = None) -> Any:
        """What a command prints; its exit code must be as expected."""
        words = [str(word) for word in arguments]
        if words[0] not in {"init", "--help"}:
            words += ["--project", str(project or self.folder)]
        started = time.monotonic()
        result = CliRunner().invoke(main, words)
        self.seconds[" ".join(words[:2])] = round(time.monotonic() - started, 1)
        assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}\n{result.exception!r}"
        return result

    def all(self) -> dict[str, Any]:
        """Every command of the flow, in order."""
        archive = self.data / "ismn_ceop_2017_2018.zip"
        return {
            "ismn": self.do("ingest", "ismn", archive, "--json"),
            "era5-land": self.do("ingest", "era5-land", self.granules / "era5-land", "--json"),
            "esa-cci-sm": self.do("ingest", "esa-cci-sm", self.granules / "esa-cci-sm", "--json"),
            "matchup": self.do("matchup", "--json"),
            "screen": self.do("screen", "--json"),
            "train": self.do("train"),
            "plan": self.do(*PLAN, "--out", self.granules / "plan.parquet", "--json"),
            "run": self.do("run", self.granules / "plan.parquet", "--json"),
        }

    def json(self, name: str) -> Any:
        return json.loads(self.said[name].stdout)

    def table(self, key: str) -> pd.DataFrame:
        """A table of the match-up item."""
        item = open_catalog(self.folder).item("matchups", self.json("matchup")["item"])
        return pd.read_parquet(item.assets[key].get_absolute_href())

    @property
    def model_item(self) -> pystac.Item:
        return open_catalog(self.folder).item("sm-models", self.json("plan")["model"])

    @property
    def model(self) -> Model:
        return Model.from_item(self.model_item.self_href)

    def product(self, tile: str, day: pd.Timestamp) -> pystac.Item:
        return open_catalog(self.folder).item("sm-1km-daily", f"SM1KM.A{day:%Y%j}.{tile}.v001")

    def read(self, tile: str, day: pd.Timestamp, key: str) -> np.ndarray:
        """Stored pixels of a product asset."""
        with rasterio.open(self.product(tile, day).assets[key].get_absolute_href()) as file:
            return file.read(1)


@pytest.fixture(scope="module")
def flow(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Flow:
    """The whole flow, once. Nothing of it is kept: the ISMN forbids to hand its data on."""
    root = tmp_path_factory.mktemp("hawaii")
    flow = Flow(shared / "data" / "hawaii_tc", root / "granules", root / "project")
    write_era5_land(flow.data, flow.granules / "era5-land")
    write_esa_cci(flow.data, flow.granules / "esa-cci-sm")
    flow.do("init", flow.folder)
    (flow.folder / "stac-sm.toml").write_text(PROJECT_FILE.read_text())
    flow.said = flow.all()
    print("seconds:", flow.seconds)  # pytest -s shows where the time goes
    return flow


@pytest.fixture(scope="module")
def truth(flow: Flow) -> dict[str, pd.DataFrame]:
    """Collocated series by others, of each sensor: insitu, era5land, cci by day, rounded to five places."""
    folder = flow.data / "derived_collocated_daily_2017_2018"
    return {file.stem: pd.read_csv(file, parse_dates=["date"], index_col="date") for file in folder.glob("*.csv")}


def series(points: Points, name: str, lon: float, lat: float) -> pd.Series:
    """Series of the point at a place."""
    (at,) = np.flatnonzero((points.lon == lon) & (points.lat == lat))
    return pd.Series(points.values[name][at], index=pd.DatetimeIndex(points.days.astype("datetime64[ns]"), name="date"))


def unflagged(points: Points, lon: float, lat: float) -> pd.Series:
    return series(points, "sm", lon, lat).where(series(points, "flag", lon, lat) == 0)


def good_hours(archive: Path, sensor: str) -> pd.DataFrame:
    """Mean and count of the hours flagged G by day and sensor, read plainly: CEOP in separate files."""
    with zipfile.ZipFile(archive) as file:
        names = sorted(name for name in file.namelist() if f"_{sensor}_sm_" in name)
        parts = [pd.read_csv(io.BytesIO(file.read(name)), sep=r"\s+", header=None) for name in names]
    for part in parts:
        part["date"] = pd.to_datetime(part[0], format="%Y/%m/%d")
    hours = pd.concat(parts, keys=range(len(parts)), names=["sensor"])
    return hours[hours[13] == "G"].groupby(["date", "sensor"])[12].agg(["mean", "size"])


def same_to_five_places(found: pd.Series, wanted: pd.Series) -> bool:
    return np.allclose(found, wanted.reindex(found.index), rtol=0, atol=5.1e-6, equal_nan=True)


# stations and match-ups


def test_stations_become_items_and_the_deep_probe_no_site(flow: Flow) -> None:
    items = {item.id: item for item in open_catalog(flow.folder).items("ismn-stations")}
    assert sorted(items) == ["COSMOS.SilverSword", "SCAN.IslandDairy", "SCAN.Kainaliu", "SCAN.ManaHouse",
                             "SCAN.SilverSword"]  # fmt: skip
    depths = {id: {s["depth_to"] for s in item.properties["stac_sm:sensors"]} for id, item in items.items()}
    assert depths.pop("COSMOS.SilverSword") == {0.17}
    assert set(map(tuple, depths.values())) == {(0.0508,)}
    table = flow.table("table")
    assert sorted(table["site"].unique()) == sorted(depths)
    kainaliu = items["SCAN.Kainaliu"].properties["stac_sm:sensors"]
    assert [sensor["sensor"][-2:] for sensor in kainaliu] == ["-A", "-B"]
    for site, part in table.groupby("site"):
        lon, lat = items[site].geometry["coordinates"]
        assert (part[["tile", "row", "col"]] == GRID.tile_at(lon, lat)).all().all()
        assert part["date"].is_unique


@pytest.mark.parametrize("site", [*FILES, "SCAN.Kainaliu"])
def test_daily_means_are_those_of_a_plain_reading(flow: Flow, site: str) -> None:
    days = good_hours(flow.data / "ismn_ceop_2017_2018.zip", f"SCAN_{site.removeprefix('SCAN.')}")
    enough = days[days["size"] >= 12].groupby("date").agg({"mean": "mean", "size": "sum"})
    found = flow.table("table").query("site == @site").set_index("date")
    pd.testing.assert_series_equal(found["sm"], enough["mean"], check_names=False, rtol=1e-12)
    assert (found["n"] == enough["size"]).all()


def test_triplets_are_the_series_collocated_by_others(flow: Flow, truth: dict[str, pd.DataFrame]) -> None:
    """But for days with less than 12 good hours, which the others kept, and one tie between two cells."""
    triplets = {site: part.set_index("date") for site, part in flow.table("triplets").groupby("site")}
    assert {site: len(part) for site, part in triplets.items()} == {
        "SCAN.IslandDairy": 635, "SCAN.Kainaliu": 730, "SCAN.ManaHouse": 592, "SCAN.SilverSword": 342
    }  # fmt: skip
    for site, name in FILES.items():
        found, theirs = triplets[site], truth[name]
        assert same_to_five_places(found["insitu"], theirs["insitu"])
        assert same_to_five_places(found["third"], theirs["cci"])
        assert same_to_five_places(found["era5land"], theirs["era5land"]) == (site != TIED)
        only_theirs = theirs["insitu"].dropna().index.difference(found.index)
        hours = good_hours(flow.data / "ismn_ceop_2017_2018.zip", f"SCAN_{site.removeprefix('SCAN.')}")
        assert hours.loc[only_theirs, "size"].max() < 12 if len(only_theirs) else site == "SCAN.SilverSword"
    first, second = (truth[name] for name in KAINALIU)
    found = triplets["SCAN.Kainaliu"]
    assert same_to_five_places(found["insitu"], (first["insitu"] + second["insitu"]) / 2)
    assert same_to_five_places(found["third"], first["cci"])
    assert same_to_five_places(found["era5land"], first["era5land"])


def test_the_station_on_an_edge_gets_the_cell_of_its_pixel(flow: Flow, truth: dict[str, pd.DataFrame]) -> None:
    era5 = era5_land(flow.data)
    found = flow.table("triplets").query("site == @TIED").set_index("date")
    south, north = (series(era5, "swvl1", -155.5, lat).reindex(found.index) for lat in (19.9, 20.0))
    assert (found["era5land"] == south).all()
    assert same_to_five_places(north, truth[FILES[TIED]]["era5land"])
    assert (
        found["third"].dropna() == unflagged(esa_cci(flow.data), -155.625, 19.875).reindex(found.index).dropna()
    ).all()


# screening and training


def test_triple_collocation_agrees_with_pytesmo_and_refuses_what_is_degenerate(flow: Flow) -> None:
    from pytesmo.metrics import tcol_metrics

    judged = {row["site"]: row for row in flow.model_item.properties["stac_sm:screening"]}
    assert {site: (row["n"], row["status"] == "kept") for site, row in judged.items()} == {
        "SCAN.IslandDairy": (612, False), "SCAN.Kainaliu": (216, False),
        "SCAN.ManaHouse": (469, False), "SCAN.SilverSword": (330, True),
    }  # fmt: skip
    assert "error variance of ERA5-Land is -0.0072" in judged["SCAN.IslandDairy"]["status"]
    assert "covariance ERA5-Land with ESA CCI is -4.44e-05" in judged["SCAN.Kainaliu"]["status"]
    assert judged["SCAN.ManaHouse"]["status"].startswith("undetermined: triple collocation fails in ")
    triplets = flow.table("triplets").dropna().astype({"era5land": float, "third": float})
    for site, part in triplets.groupby("site"):
        if not judged[site]["status"].startswith("rejected"):
            rows = [part[name].to_numpy() for name in ("insitu", "era5land", "third")]
            snr, error, beta = tcol_metrics(*rows, ref_ind=0)
            ours = triple_collocation(*rows)
            for theirs, figure in ((snr, ours.snr_db), (error, ours.error_std), (beta, ours.beta)):
                np.testing.assert_allclose(figure, theirs, rtol=1e-6)
            assert judged[site]["snr_db"] == pytest.approx(snr[0], abs=1e-6)
            assert judged[site]["error_std"] == pytest.approx(error[0], abs=1e-6)
        else:
            assert judged[site]["snr_db"] is None


def test_triple_collocation_agrees_with_the_published_figures(flow: Flow, truth: dict[str, pd.DataFrame]) -> None:
    """Of the series rounded to five places; and the flow's own, unrounded figures are next to them."""
    table = pd.read_csv(flow.data / "derived_pytesmo_tcol_reference.csv").query("third == 'cci'").set_index("sensor")
    for sensor, row in table.iterrows():
        rows = truth[str(sensor)][["insitu", "era5land", "cci"]].dropna()
        ours = triple_collocation(*(rows[name] for name in rows))
        assert (ours.n, ours.ok) == (row["n"], not row["degenerate"])
        if ours.ok:
            names = ("insitu", "era5land", "third")
            np.testing.assert_allclose(ours.snr_db, [row[f"snr_db_{name}"] for name in names], rtol=1e-6)
            np.testing.assert_allclose(ours.error_std, [row[f"err_std_{name}"] for name in names], rtol=1e-6)
            np.testing.assert_allclose(ours.beta, [row[f"beta_{name}"] for name in names], rtol=1e-6)
    judged = {row["site"]: row for row in flow.model_item.properties["stac_sm:screening"]}["SCAN.SilverSword"]
    wanted = table.loc[FILES["SCAN.SilverSword"]]
    assert judged["snr_db"] == pytest.approx(wanted["snr_db_insitu"], abs=1e-3)
    assert judged["error_std"] == pytest.approx(wanted["err_std_insitu"], abs=1e-5)


def test_the_site_on_an_edge_would_be_rejected_with_the_other_cell(flow: Flow) -> None:
    """So one site is sound beyond doubt, as the collocation by others says; the bootstrap shows the doubt."""
    part = flow.table("triplets").query("site == @TIED").set_index("date")
    north = series(era5_land(flow.data), "swvl1", -155.5, 20.0).reindex(part.index)
    other = triple_collocation(part["insitu"], north, part["third"])
    assert not other.ok
    assert "error variance of y" in other.status
    judged = {row["site"]: row for row in flow.model_item.properties["stac_sm:screening"]}
    assert judged["SCAN.SilverSword"]["correlation_low"] > 0.6 > judged[TIED]["correlation_low"]


def test_the_screened_model_is_refused_and_the_unscreened_one_says_so(flow: Flow) -> None:
    refusal = "unscreened: screened training refused: 1 site of 4 kept, 5 required"
    properties = flow.model_item.properties
    assert properties["stac_sm:tc_status"].startswith(refusal)
    assert properties["stac_sm:rows"] == len(flow.table("table")) == 2299
    assert refusal in flow.said["train"].stdout
    assert "screened training refused" in flow.said["train"].stderr
    assert [one["name"] for one in properties["mlm:input"]] == ["swvl1", "stl1", "doy_sin", "doy_cos"]
    assert {row["site"]: row["status"] for row in flow.json("screen")} == {
        row["site"]: row["status"] for row in properties["stac_sm:screening"]
    }


def test_every_strategy_is_scored_beside_the_baselines(flow: Flow) -> None:
    scores = flow.model_item.properties["stac_sm:scores"]
    found = {(one["strategy"], one["method"]): one["pooled"] for one in scores["results"]}
    methods = ("unscreened", "swvl1", "swvl1 bias-corrected")
    assert set(found) == {
        (strategy, method) for strategy in ("random", "site", "year") for method in methods
    }  # one network
    assert {one["n"] for one in found.values()} == {2299}
    assert "default numbers of rounds" in scores["notes"].pop("rounds")
    assert set(scores["notes"]) == {"screening", "network", "random screened", "site screened", "year screened"}
    assert all("required" in note for note in scores["notes"].values())
    assert scores["kept"] is None
    # the plain figures of ERA5-Land at the stations; a random split flatters, the honest one does not
    table = flow.table("table").astype({"swvl1": float})
    difference = table["swvl1"] - table["sm"]
    assert found["site", "swvl1"]["rmse"] == pytest.approx(np.sqrt((difference**2).mean()), rel=1e-9)
    assert found["site", "swvl1"]["r"] == pytest.approx(table["swvl1"].corr(table["sm"]), rel=1e-9)
    assert found["random", "unscreened"]["r"] > 0.65  # settings are chosen for sites that were not seen
    assert found["random", "unscreened"]["rmse"] < 0.07
    assert 0 < found["site", "unscreened"]["r"] < found["random", "unscreened"]["r"]


# inputs


def test_items_of_era5_land_say_one_hour_and_hold_the_points(flow: Flow) -> None:
    assert flow.json("era5-land")[0]["items"] == {"new": 31}
    items = open_catalog(flow.folder).items("era5-land")
    assert len(items) == 730
    assert {item.properties["stac_sm:hours"] for item in items} == {1}
    points = era5_land(flow.data)
    for index in (0, 181, 546, 552, 729):  # both ends, and the first and last day predicted among others
        for name in ("swvl1", "stl1"):
            check_pixels(items[index], name, points, points.values[name][:, index])
    assert [str(items[index].datetime.date()) for index in (0, 546, 729)] == ["2017-01-01", "2018-07-01", "2018-12-31"]


def test_items_of_esa_cci_hold_the_points_without_a_flag(flow: Flow) -> None:
    items = open_catalog(flow.folder).items("esa-cci-sm")
    assert len(items) == 730
    points = esa_cci(flow.data)
    sound = np.where(points.values["flag"] == 0, points.values["sm"], np.nan)
    for index in (0, 181, 546, 729):
        check_pixels(items[index], "cci_sm", points, sound[:, index])


def check_pixels(item: pystac.Item, key: str, points: Points, values: np.ndarray) -> None:
    """Every pixel with a value is a point with that value, and the other way round."""
    with rasterio.open(item.assets[key].get_absolute_href()) as file:
        rows, columns = rasterio.transform.rowcol(file.transform, points.lon, points.lat)
        pixels = file.read(1, masked=True).filled(np.nan)
        x, y = rasterio.transform.xy(file.transform, rows, columns)  # the points are the centres
        np.testing.assert_allclose([x, y], [points.lon, points.lat], atol=1e-6)
    np.testing.assert_array_equal(pixels[rows, columns], values)
    assert np.isfinite(pixels).sum() == np.isfinite(values).sum()


# products


def test_the_skill_beside_era5_land_is_the_same_number_everywhere(flow: Flow) -> None:
    stated = flow.model_item.properties["stac_sm:skill"]
    assert flow.product(TILES[0], DAYS[0]).properties["stac_sm:skill"] == stated == flow.json("plan")["skill"]
    corrected = next(one for one in stated if one["reference"] == "bias-corrected input")
    scores = {
        (one["strategy"], one["method"]): one["pooled"]
        for one in flow.model_item.properties["stac_sm:scores"]["results"]
    }
    assert corrected["rmse"] == pytest.approx(scores["site", "unscreened"]["rmse"], abs=1e-6)
    assert corrected["reference_rmse"] == pytest.approx(scores["site", "swvl1 bias-corrected"]["rmse"], abs=1e-6)
    said = flow.said["train"].stdout
    assert f"at unseen sites ({corrected['rows']:,} rows of 4 sites): RMSE in m3 m-3, {corrected['rmse']:.4f}, " in said
    assert f"beside {corrected['reference_rmse']:.4f} of its own input swvl1, bias-corrected" in said
    worse = any(one["change"] > 0 for one in stated if "name" in one)
    assert said.startswith("WORSE THAN ITS OWN INPUT") == worse


def test_the_plan_is_made_and_every_item_is_valid(flow: Flow, validate: Any) -> None:
    counts = {"tile-days": 14, "new": 14, "done": 0, "stale": 0, "blocked": 0, "retracted": 0}
    assert {key: flow.json("plan")[key] for key in counts} == counts
    assert flow.json("run") == {"tasks": 2, "new": 14, "replaced": 0, "done": 0, "failed": 0, "blocked": 0}
    root = pystac.Catalog.from_file(str(flow.folder / "catalog.json"))
    products = list(root.get_child("sm-1km-daily").get_items(recursive=True))
    assert sorted(item.id for item in products) == sorted(f"SM1KM.A{d:%Y%j}.{t}.v001" for t in TILES for d in DAYS)
    others = [next(iter(root.get_child(c).get_items(recursive=True))) for c in ("era5-land", "esa-cci-sm")]
    others += [item for c in ("ismn-stations", "matchups", "sm-models") for item in root.get_child(c).get_items()]
    for item in (*products, *others):
        validate(json.loads(Path(item.self_href).read_text()))
        for link in item.get_links("derived_from"):
            assert Path(link.get_absolute_href()).is_file()
    for collection in root.get_children():
        validate(collection)
    for item in products:
        sources = [link.title for link in item.get_links("derived_from")]
        assert sources == [flow.model.id, f"ERA5L.A{item.datetime:%Y%j}.w159.95n22.45-51x37"]


def test_cogs_are_cogs(flow: Flow) -> None:
    from rio_cogeo import cog_validate

    for tile in TILES:
        for day in DAYS:
            for key in ("sm", "qa"):
                sound, errors, warnings = cog_validate(flow.product(tile, day).assets[key].get_absolute_href())
                assert (sound, errors, warnings) == (True, [], [])


def test_the_pixel_of_a_station_is_the_prediction_of_its_features(flow: Flow) -> None:
    table, model = flow.table("table"), flow.model
    rows = table[table["date"].isin(DAYS)]
    assert len(rows) == 4 * len(DAYS)
    for row, predicted in zip(rows.itertuples(), model.predict(rows), strict=True):
        stored = flow.read(row.tile, row.date, "sm")[row.row, row.col]
        assert abs(stored - predicted) <= STEP / 2
        assert (stored / STEP).is_integer()


@pytest.mark.parametrize("tile", TILES)
def test_pixels_are_the_prediction_of_features_computed_plainly(flow: Flow, tile: str) -> None:
    """Bilinear weights written out here. A prediction may jump where a feature passes a threshold by its last bit."""
    points, model, day = era5_land(flow.data), flow.model, DAYS[3]
    stored, qa = flow.read(tile, day, "sm"), flow.read(tile, day, "qa")
    land = np.argwhere(stored != -9999)
    chosen = land[np.random.default_rng(1).choice(len(land), 500, replace=False)]
    lon, lat = degrees(tile, *chosen.T)
    at = int((day.to_datetime64() - points.days[0]) / np.timedelta64(1, "D"))
    columns = {name: bilinear(points, points.values[name][:, at], lon, lat) for name in ("swvl1", "stl1")}
    angle = 2 * np.pi * (day.dayofyear - 1) / 365.25
    columns |= {"doy_sin": np.full(500, np.sin(angle)), "doy_cos": np.full(500, np.cos(angle))}
    predicted = model.predict(columns)
    close = np.abs(stored[tuple(chosen.T)] - predicted) <= STEP / 2
    assert close.mean() >= 0.99
    outside = model.applicability.outside(columns)
    same = (qa[tuple(chosen.T)] == np.where(outside, QualityFlag.NOT_APPLICABLE, 0)).mean()
    assert same >= 0.99  # a feature's last bit may decide at the edge
    assert 0 < outside.mean() < 0.7  # four stations do not stand for all of an island


@pytest.mark.parametrize("tile", TILES)
def test_the_sea_has_no_value_and_says_that_inputs_are_missing(flow: Flow, tile: str) -> None:
    """A pixel has a value where one of the four cells around it has: less than a cell away from a point."""
    points = era5_land(flow.data)
    near = np.zeros((1200, 1200), bool)
    lon, lat = degrees(tile, *np.indices(near.shape))
    for x, y in zip(points.lon, points.lat, strict=True):
        near |= (np.abs(lon - x) < 0.1 - 1e-6) & (np.abs(lat - y) < 0.1 - 1e-6)
    assert 0.001 < near.mean() < 0.1
    for day in DAYS[[0, 6]]:
        sm, qa = flow.read(tile, day, "sm"), flow.read(tile, day, "qa")
        assert np.array_equal(sm != -9999, near)
        outside = qa == QualityFlag.NOT_APPLICABLE
        assert np.array_equal(np.where(outside, 0, qa), np.where(near, 0, QualityFlag.INPUT_MISSING))
        assert not (outside & ~near).any()
        assert 0 < sm[near].min() < sm[near].max() < 0.6
        pixels = flow.product(tile, day).properties["stac_sm:pixels"]
        told = {"valid": near, "input_missing": ~near, "not_applicable": outside}
        assert pixels == {name: int(where.sum()) for name, where in told.items()}


def test_other_libraries_read_the_very_values(flow: Flow) -> None:
    from odc.stac import load

    items = [flow.product("h03v07", day) for day in DAYS]
    cube = load(items, bands=["sm"], chunks={})
    assert dict(cube.sizes) == {"time": 7, "y": 1200, "x": 1200}
    for index in (0, 6):
        stored = flow.read("h03v07", DAYS[index], "sm")
        assert np.array_equal(cube["sm"].isel(time=index).values, stored)
        with rioxarray.open_rasterio(items[index].assets["sm"].get_absolute_href()) as raster:
            assert np.array_equal(raster.squeeze("band").values, stored)
            assert raster.rio.crs == rasterio.CRS.from_wkt(items[index].properties["proj:wkt2"])
            np.testing.assert_allclose([cube.x, cube.y], [raster.x, raster.y], rtol=0, atol=1e-6)
            assert raster.rio.nodata == -9999


@pytest.mark.parametrize("site", ["SCAN.IslandDairy", "SCAN.Kainaliu", "SCAN.ManaHouse", "SCAN.SilverSword"])
def test_the_series_of_a_station_is_read_from_its_pixel(flow: Flow, site: str) -> None:
    """Two of them stand on the edge of two pixels (20 N and 19.95 N)."""
    row = flow.table("table").query("site == @site").iloc[0]
    found = point_series(open_catalog(flow.folder), row["lon"], row["lat"], Period.parse("2018-07-01/2018-07-07"))
    assert found["sm"].tolist() == [flow.read(row["tile"], day, "sm")[row["row"], row["col"]] for day in DAYS]
    assert not found["qa"].any()


def test_a_box_over_two_tiles_is_read_without_a_seam(flow: Flow) -> None:
    box = open_product(open_catalog(flow.folder), (-156.1, 18.9, -154.8, 20.3), Period.parse("2018-07-03"))
    both = np.concatenate([flow.read(tile, DAYS[2], "sm") for tile in TILES])
    columns_rows = ~GRID.geobox(TILES[0]).affine * (box.x.values, box.y.values[:, np.newaxis])
    columns, rows = (np.floor(at).astype(int) for at in columns_rows)
    assert rows.min() < 1200 < rows.max()
    found = box["sm"].isel(time=0).values
    assert np.array_equal(np.nan_to_num(found, nan=-9999), both[rows, columns])


# again, and errors


def test_the_same_commands_again_make_nothing(flow: Flow) -> None:
    before = files(flow.folder)
    again = flow.all()
    for source in ("ismn", "era5-land", "esa-cci-sm"):
        assert {result["status"] for result in json.loads(again[source].stdout)} == {"done"}
    assert json.loads(again["matchup"].stdout) == flow.json("matchup") | {"new": False}
    assert "(there already)" in again["train"].stdout
    assert {key: json.loads(again["plan"].stdout)[key] for key in ("new", "done", "stale")} == {
        "new": 0, "done": 14, "stale": 0
    }  # fmt: skip
    assert json.loads(again["run"].stdout)["tasks"] == 0
    assert files(flow.folder) == before
    assert sum(flow.seconds.values()) < 60  # s, on a slow machine; it takes 8


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time of change and content of every file."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "plans")  # asked anew
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


@pytest.mark.parametrize(("tile", "period"), [("h18v04", "2018-07-01"), ("h03v07", "2019-01-01")])
def test_a_tile_or_day_without_inputs_is_blocked_by_name(flow: Flow, tile: str, period: str) -> None:
    result = flow.do("plan", "--tiles", tile, "--period", period, "--accept-unskilled", "--json")
    assert json.loads(result.stdout)["blocked"] == 1
    for feature in ("swvl1", "frozen"):
        assert f"blocked: 1 tile-days lack {feature} (collection era5-land, " in result.stderr


def test_a_source_with_too_few_hours_says_which_setting_to_change(flow: Flow, tmp_path: Path) -> None:
    flow.do("init", tmp_path / "project")  # asks for 24 hours a day
    file = flow.granules / "era5-land" / "era5_land_hawaii_2018-07.nc"
    result = flow.do("ingest", "era5-land", file, project=tmp_path / "project", code=1)
    assert f"{file}: at most 1 hours a day found, 24 required" in result.stderr
    assert "min_hours under [sources.era5-land] is to be changed only for files that hold daily means" in result.stderr


def test_an_empty_project_says_what_to_do_first(flow: Flow, tmp_path: Path) -> None:
    empty = tmp_path / "project"
    flow.do("init", empty)
    assert (
        "no station found, at least one is required: `stac-sm ingest ismn"
        in flow.do("train", project=empty, code=1).stderr
    )
    assert "`stac-sm train` makes one" in flow.do(*PLAN, project=empty, code=1).stderr
    nowhere = flow.do("train", project=tmp_path, code=1).stderr
    assert "`stac-sm init DIR` makes a project" in nowhere


# plain geometry


def degrees(tile: str, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude of pixel centres."""
    affine = GRID.geobox(tile).affine
    x, y = affine.c + affine.a * (columns + 0.5), affine.f + affine.e * (rows + 0.5)
    radius = 6371007.181
    lat = y / radius
    lon, check = transform_points(str(GRID.geobox(tile).crs), "OGC:CRS84", x, y)
    np.testing.assert_allclose(check, np.degrees(lat), atol=1e-9)
    np.testing.assert_allclose(lon, np.degrees(x / radius / np.cos(lat)), atol=1e-9)
    return np.degrees(x / radius / np.cos(lat)), np.degrees(lat)


def bilinear(points: Points, values: np.ndarray, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Mean of the points less than 0.1 degrees away both ways, weighted by closeness."""
    weight = np.clip(1 - np.abs(lon[:, None] - points.lon) / 0.1, 0, 1)
    weight = weight * np.clip(1 - np.abs(lat[:, None] - points.lat) / 0.1, 0, 1)
    return (weight * values).sum(axis=1) / weight.sum(axis=1)
