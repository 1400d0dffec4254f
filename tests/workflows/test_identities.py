"""What identifies a result: explicit fields, the values of today, and one algorithm version a stage.

The golden values were computed before identities became explicit. One that changes makes stored products, models or
inputs stale: change it only on purpose. Where values change though no setting did, the algorithm version of the stage
is what changes it; a new asset or a new field of a profile changes the value of that profile by itself.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tomllib
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from stac_sm.core.columns import Columns
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, Stage, digest
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM, TileGrid
from stac_sm.core.period import Period
from stac_sm.features.climatology import ClimatologyItem
from stac_sm.features.inputs import ResolvedInputs
from stac_sm.features.recipe import Climatology, Feature, Mask, Recipe
from stac_sm.features.time_rules import DayFields, WeightedField
from stac_sm.ingest.file_group import ingest_fingerprint
from stac_sm.model.applicability import Applicability
from stac_sm.model.base_learners import BoosterSpec, TrainingTarget
from stac_sm.model.booster import WeightedBooster
from stac_sm.model.fit import Learned, Rounds
from stac_sm.model.intervals import ErrorLevel, Intervals
from stac_sm.model.model import Model
from stac_sm.model.tabular.features import TableFeatures
from stac_sm.model.tabular.fit import _fingerprint as table_fingerprint
from stac_sm.model.train_settings import TrainSettings
from stac_sm.product.aggregates import means, mosaic
from stac_sm.product.aggregates.aggregate import Aggregate as Aggregate
from stac_sm.product.aggregates.source_items import SourceItem as AggregateMember
from stac_sm.product.item import OUTPUT_PROFILE
from stac_sm.raster.cog import CogProfile
from stac_sm.raster.source import RasterSource
from stac_sm.stations.records import Station, StationRules
from stac_sm.stations.screening_thresholds import ScreeningThresholds
from stac_sm.workflows.plan.plan import day_fingerprint_parts, planned_day
from stac_sm.workflows.plan.planned_days import PlannedDay
from stac_sm.workflows.project import MatchupRules, Project, ValidationSettings
from stac_sm.workflows.project_template import TEMPLATES
from stac_sm.workflows.training.steps import TRIPLET_RECIPE, _matchup_provenance, model_provenance
from stac_sm.workflows.validation.validate import _validation_provenance as validation_proof

DAY = date(2018, 7, 1)
DEFAULT = Recipe.from_dict(tomllib.loads(TEMPLATES["glass"])["recipe"])
FULL = Recipe(
    (
        Feature(
            "lst", "modis-lst", "LST_Day_1km", "bilinear", "previous", 8, "climatology", (7500, 65535), "https://x.org",
            "planetary-computer", "2", 3, 7, "anomaly", Climatology("2001/2010", "year", 60),
        ),
        Feature(
            "lai", "modis-lai", "*.hdf", "average", "composite", 0, "nan", statistic="anomaly",
            climatology=Climatology("2001"),
        ),
        Feature("élevation", "cop-dem", "elevation", time="static"),
    ),
    ("doy_sin", "latitude"),
    (
        Mask("frozen", Feature("frozen", "era5-land", "stl1"), below=273.15),
        Mask("snow", Feature("snow", "era5-land", "sde"), above=0.0, unknown=True),
        Mask("water", Feature("water", "land", "land"), unknown=True),
    ),
)  # fmt: skip
WEIGHTED = Recipe(
    (
        Feature("memory", "era5-land", "swvl1", "bilinear", exponential=12.5, window=60),
        Feature("spread", "era5-land", "swvl1", statistic="spread", climatology=Climatology("2001/2010", "year")),
    )
)
SOURCE = RasterSource(
    "GLASS.A2018182", "lst", "https://x.org/a.tif",
    GeoBox((180, 360), Affine(1, 0, -180, 0, -1, 90), "EPSG:4326"),
    "uint16", math.nan, 0.02, None, "1220aa", valid=(7500.0, 65535.0), sign="planetary-computer", size=5,
)  # fmt: skip
BAND = RasterSource(
    'odd "é"', "bands", "./b.tif", GeoBox((2, 3), Affine(0.5, 0, 10, 0, -0.5, 50), "EPSG:3857"),
    None, None, 1.0, 0.0, 'etag "q"', band=2, bands=3,
)  # fmt: skip
PLAIN = Model(
    (WeightedBooster(1.0, ("lst", "lai"), b"{L\x00booster}"), WeightedBooster(-0.25, ("lai",), b"other")), DEFAULT, "m"
)
INTERVALS = Intervals(
    WeightedBooster(1.0, ("lai",), b"spread"), ErrorLevel(0.2, 0.08, (1.0, -0.125, 0.3), 0.4), 1.7, 0.01, 0.9, 12
)
AREA = Applicability(
    ("lst", "lai"), (290.0, 1.5), (0.5, 16.0), (0, 3), ((1, -2, 0), (3, 4, 3)), (1,), 25, 12.5, 0.75, 0.98, 400
)
FULL_MODEL = dataclasses.replace(PLAIN, intervals=INTERVALS, applicability=AREA)
STATION = Station(
    "NET.one", "NET", "one", 10.5, 45.25, ((0.0, 0.05), (0.05, 0.05)), Period.parse("2018"), "/i.json", "/s", "1220cc"
)
MEMBERS = tuple(AggregateMember(f"SM1KM.A2018182.{tile}.v001", tile, DAY, f"{n}" * 64, "p") for n, tile in
                enumerate(("h19v04", "h18v04")))  # fmt: skip
TABLE = pd.DataFrame(
    {
        "sm": [0.1, 0.2, np.nan, 0.3], "site": ["a", "a", "b", "b"], "lon": 1.0, "lat": 2.0,
        "soil": [1.0, 1.0, 2.0, 2.0],
        "date": pd.to_datetime(["2018-01-01", "2018-01-02"] * 2), "lst": [280.0, 281.0, np.nan, 290.0],
    }
)  # fmt: skip
FEATURES = TableFeatures(Columns(), ("lst", "soil"), ("soil",), False, ("lst",), 2, ("2018-01-01", "2018-01-02"))
PROJECT = Project(Path("/p"), DEFAULT, matchups=MatchupRules("2016/2018"))


def resolution() -> ResolvedInputs:
    lst = DayFields(((WeightedField(0.25, (SOURCE, BAND)), WeightedField(0.75, (SOURCE,))),))
    lai = DayFields((), (WeightedField(1.0, (BAND,)),))
    return ResolvedInputs(DEFAULT, (DAY,), {"lst": {DAY: lst}, "lai": {DAY: lai}})


def window() -> ResolvedInputs:
    days = tuple((WeightedField(1.0, (source,)),) for source in (SOURCE, BAND))
    spread = DayFields((), (WeightedField(1.0, (BAND,)),))
    return ResolvedInputs(WEIGHTED, (DAY,), {"memory": {DAY: DayFields(days, by_age=True)}, "spread": {DAY: spread}})


def normal() -> ClimatologyItem:
    return ClimatologyItem(
        FULL.features[0], 0, ((Period.parse("2001"), SOURCE), (Period.parse("2011"), BAND)), "MSIN-1804"
    )


def ingested() -> str:
    return ingest_fingerprint("one", [{"name": "a.hdf", "sha256": "aa", "hours": [0]}], {"bbox": [1, 2.5, 3, 4]})


def matched_up() -> str:
    return digest(_matchup_provenance(PROJECT, [STATION], {"table": {"h18v04": resolution()}, "triplets": {}}))


def trained() -> str:
    return digest(model_provenance(PROJECT, "aa"))


def trained_on_a_table() -> str:
    part = BoosterSpec("values", TrainingTarget.WHOLE, FEATURES.names, 50, {"max_depth": 4})
    learned = Learned(PLAIN, (part,), Rounds(50, 50), np.zeros(4), 3, 3, 2)
    return table_fingerprint(TABLE, FEATURES, learned, TrainSettings(seed=3))


def planned() -> PlannedDay:
    return planned_day(resolution(), FULL_MODEL, "h18v04", DAY, grid=MODIS_SINUSOIDAL_1KM, version="001")


def made_parts() -> str:
    return json.dumps(day_fingerprint_parts(FULL_MODEL, MODIS_SINUSOIDAL_1KM, planned()), sort_keys=True)


def month() -> Aggregate:
    return Aggregate("sm-1km-monthly", Period.parse("2018-07"), "h18v04", "001", MEMBERS, means._output(5))


def aggregated() -> str:
    return month().fingerprint(MODIS_SINUSOIDAL_1KM)


def validated() -> str:
    other = SimpleNamespace(name="ESA CCI")
    block = SimpleNamespace(tile="h18v04", resolution=resolution())
    where = pd.DataFrame({"stations": [["NET.one"]]})
    compared = [(other, None, [block]), (other, other, [])]
    return digest(validation_proof(PROJECT, Period.parse("2018"), MEMBERS, where, [STATION], compared))


IDENTITIES = {
    "grid": lambda: digest(MODIS_SINUSOIDAL_1KM.fingerprint_fields()),
    "default profile": lambda: digest(CogProfile().fingerprint_fields()),
    "output profile": lambda: digest(OUTPUT_PROFILE),
    "output of a mean": lambda: digest(means._output(5)),
    "output of a mosaic": lambda: digest(mosaic.define_daily_mosaic(Period.of_day(DAY), "001", MEMBERS).output),
    "default recipe": lambda: DEFAULT.checksum,
    "triplet recipe": lambda: TRIPLET_RECIPE.checksum,
    "recipe of exponential mean and spread": lambda: WEIGHTED.checksum,
    "recipe with every field": lambda: FULL.checksum,
    "recipe as it is stored": lambda: hashlib.sha256(json.dumps(FULL.to_dict()).encode()).hexdigest(),
    "climatology of a feature": lambda: digest(FULL.features[0].climatology_key),
    "station rules": lambda: digest(StationRules().fingerprint_fields()),
    "screening rules": lambda: digest(ScreeningThresholds().fingerprint_fields()),
    "validation rules": lambda: digest(ValidationSettings().fingerprint_fields()),
    "training settings": lambda: digest(TrainSettings(nthread=3).fingerprint_fields()),
    "plain model": lambda: PLAIN.checksum,
    "model with intervals": lambda: dataclasses.replace(PLAIN, intervals=INTERVALS).checksum,
    "model with everything": lambda: FULL_MODEL.checksum,
    "intervals": lambda: INTERVALS.checksum,
    "area of applicability": lambda: AREA.checksum,
    "features of a table": lambda: digest(FEATURES.fingerprint_fields()),
    "source": lambda: SOURCE.provenance_digest,
    "source of a band": lambda: BAND.provenance_digest,
    "inputs of a day": lambda: digest(resolution().inputs(DAY)),
    "ingested item": ingested,
    "climatology item": lambda: normal().provenance_digest,
    "climatology item with spread": lambda: (
        dataclasses.replace(normal(), feature=WEIGHTED.features[1]).provenance_digest
    ),
    "inputs of a window": lambda: digest(window().inputs(DAY)),
    "match-ups": matched_up,
    "model item": trained,
    "model of a table": trained_on_a_table,
    "tile-day": lambda: planned().made.fingerprint,
    "parts of a tile-day": made_parts,
    "aggregate": aggregated,
    "validation": validated,
}

GOLDEN = {
    "grid": "8eee7d5ac7e343fd849a24fe2440bdd3c75819394de096481f5341b6cae00b4b",
    "default profile": "2174d67f9290de4f6ecfc956e55ab3763981bfe541b33c5b599d712197cec74f",
    "output profile": "d3775c1320eb2f368cd7b6b878f6c2b707c567c61156d91b5751cd97ccda9a8a",
    "output of a mean": "935ede6741a32a7a02aa2d059c475589b38db5dc173c4ffe9eb6d575d87ba1f3",
    "output of a mosaic": "a78d3b36d29a7611a5932cad17b18a3046fd775deebb8e939644bd9f0867bdff",
    "default recipe": "e007dd96b98dd1f42e1111d72ea03eb881f9cdfd7fb2d88efc6db738702e306d",
    "triplet recipe": "3cd12752766042ba5713d8f4606866a0f116941818a2d1a36d5f5d8ceeb5abfc",
    "recipe of exponential mean and spread": "1924d70c10bd449114db09085e6b70e530d7d145d17607b91e4061bfe90692fd",
    "climatology item with spread": "d4a2e990b745eec315af33cc3dc69202f13e2e4bebdad300fe77560b4514b1c0",
    "inputs of a window": "0ec6cc8d47e34285a3ea04182c425c0653fa0587bced3821f2ca0159063c2426",
    "recipe with every field": "3df47b13d9f7203b04d8ee5d636c3c9101cb842b5cd2513dc9b5813307e5dea6",
    "recipe as it is stored": "3278d9cd247271a16a71227d27c3f1dfbe7b4104df77b244197a2f13d61ad9f1",
    "climatology of a feature": "a70220708daa4e311233bf2fd0363b39c73701828c5b39cba910e50fbe243ff8",
    "station rules": "c8d0fbe63e7f82e90df744891ef5d8d4fa0c39ce70caf8b38fa84e3b736d202f",
    "screening rules": "ba93ec91145a0be8753f9f1b6a88d08715598359f7efa2f7298495041217380b",
    "validation rules": "8d21cb966244eed1aa4de3ab9cc10e8d374116b3af72062eba0e3f2eca1fe490",
    "training settings": "c8aefc9f17f050c03ec31bc937817224dbf70313420b0951be663e8080115e63",
    "plain model": "091d5403c3e87f10c56f4dfaefb3db68aa115d7f444dab0cfe529e81b3bd5ec7",
    "model with intervals": "8425132c8d279f79d6e906a75683f3759b6c3e01f9c76acebee38be328754dc8",
    "model with everything": "1b3a73a822f5f379032bfbd3570a24c3a1f4574e993213b2dcc0f4cc3b94ee69",
    "intervals": "2894e84a873d0a38bd3db969a1371edcc81076933b5a71b6285ae73634b5f83c",
    "area of applicability": "7a4cb48cfcf7e44f90721550341750ccbbb71abf62e5194d72a213b090a7add5",
    "features of a table": "d50291c8f666493343d503f275f2cc6807f48435d6366996597ce1cc76dec531",
    "source": "bf6c04755f8c3e4f9fb5ad24299fdbc3d8051cc5d03863607ab2065c774d71aa",
    "source of a band": "84be49dab96e69c519219be2ad3414b7233ab8f4f52c65db83d6524044672f7f",
    "inputs of a day": "263e886ae51a58f6a5c8e5f6e0daafdc2e981724dcf8041d7864ed42ff820a43",
    "ingested item": "8168b2429027241dba06775b9b2b7e610362d6c3c9dd44f41e2a214d8f3f8fe3",
    "climatology item": "dc46f390b045b8b56d8d061f5ff2f76b897be7eefffc357b8e0a3e708b5a842c",
    "match-ups": "2ded4d3b2910f6f45629f20933e9ffa5b54e8ec69a9af7114493e6a2dc1133f5",
    "model item": "8e98aaec2c211944f56a4dd268eb1234114ff1db32d86bfc0681c69d3e21a408",
    "model of a table": "801edd167387a9519b986c56517403933a52786de2a5d27a196176dd9faf7b7e",
    "tile-day": "c68f63e6dfc887c5ea8eed5626e2f09f9c5bdb9e84224249f7c2eda490f28581",
    "aggregate": "cdb6b88022d471c343e46b56e9164961826f7beabe22f217b8c37d52a9391976",
    "validation": "24dd9275a58fd27e16ae54f874402d54e8a892aa3b04292390acb7fe527e1f97",
    "parts of a tile-day": json.dumps(
        {
            "algorithm": "cc11310c",
            "grid": "13043563",
            "inputs": "263e886a",
            "model": "6d4a06d8",
            "output": "d3775c13",
            "recipe": "e007dd96",
        }
    ),
}

MADE_BY = {
    "ingest": {"ingested item"},
    "climatology": {"climatology item", "climatology item with spread"},
    "matchups": {"match-ups"},
    "model": {"model item", "model of a table"},
    "product": {"tile-day", "parts of a tile-day"},
    "aggregates": {"aggregate"},
    "validation": {"validation"},
}
"""Identities that each stage gives to its results, their inputs being the same."""


@pytest.mark.parametrize("name", IDENTITIES)
def test_golden_value(name):
    assert IDENTITIES[name]() == GOLDEN[name]


def test_every_stage_has_a_version_and_results():
    assert set(ALGORITHM_VERSIONS) == set(get_args(Stage)) == set(MADE_BY)
    assert set(IDENTITIES) == set(GOLDEN)


@pytest.mark.parametrize("stage", get_args(Stage))
def test_another_version_of_a_stage_changes_its_own_results_only(stage, monkeypatch):
    monkeypatch.setitem(ALGORITHM_VERSIONS, stage, "another")
    assert {name for name, found in IDENTITIES.items() if found() != GOLDEN[name]} == MADE_BY[stage]


KEYS = [
    (MODIS_SINUSOIDAL_1KM, {"name", "crs", "origin", "pixel", "tile_shape", "tiles", "code"}),
    (CogProfile(), {"nodata", "step", "overviews", "scale", "offset", "block", "level"}),
    (StationRules(), {"max_depth", "flag", "valid", "min_hours"}),
    (
        ScreeningThresholds(),
        {
            "min_correlation", "max_error_std", "min_days", "min_sites", "min_sites_for_intervals", "confidence",
            "decide_by", "max_failed_resamples",
        },
    ),
    (ValidationSettings(), {"strategies", "folds", "seed"}),
    (
        TrainSettings(),
        {
            "n_estimators", "max_depth", "eta", "subsample", "colsample", "min_child_weight", "reg_lambda", "tune",
            "seed",
        },
    ),
    (FULL, {"features", "derived", "masks"}),
    (
        FULL.features[0],
        {
            "name", "collection", "asset", "resampling", "time", "max_gap", "missing", "valid", "catalog", "sign",
            "band", "lag", "trailing", "statistic", "climatology",
        },
    ),
    (FULL.features[0].climatology, {"period", "season", "least_days"}),
    (INTERVALS, {"spread", "level", "factor", "floor", "coverage", "sites"}),
    (INTERVALS.level, {"centre", "scale", "terms", "floor"}),
    (
        AREA,
        {
            "features", "centre", "steps", "missing", "points", "gaps", "radius", "mean_distance", "threshold",
            "agreement", "rows",
        },
    ),
    (Columns(), {"target", "site", "time", "network", "lon", "lat"}),
    (FEATURES, {"format", "columns", "given", "still", "plain", "restless", "sampling", "period", "scales"}),
]  # fmt: skip

NOT_IDENTITY = {TrainSettings: {"nthread", "device"}}
"""Fields that change no value, or (the device) are part of the identity unless they have their default."""

OF_OTHERS = {Feature: {"exponential", "window"}}
"""Fields that the thing above cannot have beside those that it has."""

NO_FIELDS = {TableFeatures: {"format", "scales"}}
"""Keys that stand for constants of the code."""


@pytest.mark.parametrize(("thing", "keys"), KEYS, ids=lambda thing: type(thing).__name__)
def test_every_field_is_part_of_the_identity_or_left_out_on_purpose(thing, keys):
    """Whoever adds a field adds it to ``fingerprint_fields``, or to NOT_IDENTITY; whoever renames one keeps its key."""
    assert set(thing.fingerprint_fields()) == keys
    kind = type(thing)
    fields = {field.name for field in dataclasses.fields(thing)}
    beside = NOT_IDENTITY.get(kind, set()) | OF_OTHERS.get(kind, set())
    assert fields == (keys - NO_FIELDS.get(kind, set())) | beside


@pytest.mark.parametrize(
    ("kind", "identity", "beside"),
    [
        (
            Model,
            {"members", "intervals", "applicability"},
            {"recipe", "id", "skill"},
        ),  # the recipe is hashed beside the model
        (WeightedBooster, {"weight", "features", "content", "learner"}, set()),
        (Mask, {"feature", "below", "above", "unknown"}, {"name"}),  # the feature bears its name
        (
            Station,
            {"id", "network", "lon", "lat", "depths", "checksum"},
            {"name", "period", "href", "series", "climate", "elevation", "land_cover", "instruments", "soil"},
        ),
        (
            BoosterSpec,
            {"name", "trained_on", "rounds", "parameters", "learner"},
            {"features"},
        ),  # of TableFeatures
        (Aggregate, {"collection", "span", "tile", "members", "output"}, {"version"}),  # part of the id
        (
            RasterSource,
            {"item_id", "asset", "geobox", "dtype", "nodata", "scale", "offset", "checksum", "valid", "band", "bands"},
            {"href", "item_href", "sign", "unit", "root", "size", "version", "preliminary", "title"},
        ),
    ],
)
def test_fields_that_are_hashed_by_hand_are_known(kind, identity, beside):
    """Whoever adds a field decides whether it identifies a result, and says so here."""
    assert {field.name for field in dataclasses.fields(kind)} == identity | beside


def test_what_is_usual_is_left_out():
    """If a default has changed: what a recipe leaves out must keep the meaning that it had when it was stored."""
    assert Feature("a", "b", "c").fingerprint_fields() == {"name": "a", "collection": "b", "asset": "c"}
    assert Climatology("2001").fingerprint_fields() == {"period": "2001-01-01/2001-12-31"}
    mask = Mask("water", Feature("water", "b", "c"), above=0.0).fingerprint_fields()
    assert mask == {"name": "water", "collection": "b", "asset": "c", "above": 0.0}


def test_every_way_to_learn_has_a_fixed_name():
    named = {learns: BoosterSpec("p", learns, (), 1).fingerprint_fields()["learns"] for learns in TrainingTarget}
    assert len(set(named.values())) == len(TrainingTarget)


def test_a_class_can_be_renamed():
    class Renamed(Intervals):
        pass

    class Moved(Applicability):
        pass

    values = {field.name: getattr(INTERVALS, field.name) for field in dataclasses.fields(Intervals)}
    area = {field.name: getattr(AREA, field.name) for field in dataclasses.fields(Applicability)}
    renamed = dataclasses.replace(PLAIN, intervals=Renamed(**values), applicability=Moved(**area))
    assert renamed.checksum == FULL_MODEL.checksum


def test_another_grid_of_the_same_name_is_another():
    assert _moved(MODIS_SINUSOIDAL_1KM).name == MODIS_SINUSOIDAL_1KM.name
    assert month().fingerprint(_moved(MODIS_SINUSOIDAL_1KM)) != month().fingerprint(MODIS_SINUSOIDAL_1KM)


def _moved(grid: TileGrid) -> TileGrid:
    return dataclasses.replace(grid, origin=(0.0, 0.0))
