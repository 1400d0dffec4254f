"""The plan in columns is the plan day by day, whatever has become of the index."""

from __future__ import annotations

import random
import shutil
import tempfile
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stac_sm.core.fingerprint import digest
from stac_sm.core.period import ONE_DAY, Period, utc_instant
from stac_sm.features.inputs import CLIMATOLOGY_COLLECTION, resolve_inputs
from stac_sm.features.recipe import Climatology, Feature, Mask, Recipe
from stac_sm.product.item import PRODUCT_COLLECTION, ProductDay
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.index.manifest import manifest_path, shard_path
from stac_sm.stac.index.update import update_index
from stac_sm.stac.items import COG_MEDIA_TYPE, item_folder, item_json, raster_item, with_structural_links
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, RETRACTED_PROPERTY
from stac_sm.stac.simulated import mark_simulated
from stac_sm.storage.local_store import LocalStore
from stac_sm.storage.store import sha256
from stac_sm.workflows.plan.existing_items import FINGERPRINT_PARTS_PROPERTY
from stac_sm.workflows.plan.plan import day_fingerprint_parts, make_plan, planned_day
from stac_sm.workflows.plan.plan_file import read_plan, write_plan
from stac_sm.workflows.plan.planned_days import PlannedDay
from stac_sm.workflows.project import create_project
from tests.support.examples import examples
from tests.support.fields import SMALL, TILE, around, project_text, small_model

TILES = (TILE, "h02v01")
PERIOD = Period.parse("2018-06-27/2018-07-04")
NORMAL = Climatology("2018")
RECIPE = Recipe(
    (
        Feature("lst", "glass-lst", "lst"),
        Feature("lai", "glass-lai", "lai", "average", "composite", 16, missing="nan"),
        Feature("before", "glass-lst", "lst", time="previous", max_gap=3, valid=(1.0, 9.0)),
        Feature("mean", "era5-land", "swvl1", lag=1, trailing=3, missing="nan"),
        Feature("usual", "glass-lst", "lst", missing="climatology", climatology=NORMAL),
        Feature("elevation", "cop-dem", "elevation", "average", "static"),
        Feature("memory", "era5-land", "swvl1", "bilinear", exponential=2, window=5),
        Feature("short_memory", "glass-lst", "lst", exponential=0.9, window=3),
        Feature("usual_memory", "glass-lst", "lst", exponential=2, missing="climatology", climatology=NORMAL),
        Feature("spread", "glass-lst", "lst", statistic="spread", missing="nan", climatology=NORMAL),
    ),
    masks=(Mask("frozen", Feature("frozen", "era5-land", "stl1"), below=273.15),),
)
MODEL = replace(small_model(), recipe=RECIPE)
COARSE = around(SMALL.geobox(TILE), "EPSG:4326", 0.1, margin=20)
DAMAGE = ("none", "drop", "truncate", "alter shard", "forge proof", "forge both", "change item", "old index")


def planned(folder, **options):
    options = {"grid": SMALL, "version": "002", **options}
    return make_plan(open_catalog(folder), MODEL, TILES, PERIOD, **options)


def day_by_day(folder, redo=False):
    """The plan as it is defined: every day for itself, from the JSON of all items."""
    catalog, days = open_catalog(folder), []
    there = {path.stem: path for path in Path(folder, PRODUCT_COLLECTION).rglob("SM1KM*.json")}
    for tile in sorted(TILES):
        resolution = resolve_inputs(catalog, RECIPE, SMALL.geobox(tile), PERIOD)
        for day in PERIOD.days:
            one = planned_day(resolution, MODEL, tile, day, grid=SMALL, version="002")
            days.append(judged(one, there, redo))
    return days


def judged(one: PlannedDay, there: dict, redo: bool) -> PlannedDay:
    import json

    older = one.made.id.replace(".v002", ".v001")
    one = replace(one, predecessor=older if older in there else "")
    if one.made.id not in there or one.state == "blocked":
        return one
    item = json.loads(there[one.made.id].read_text())
    told = item["properties"]
    if RETRACTED_PROPERTY in told:
        return replace(one, redo=True) if redo else replace(one, state="retracted")
    if told[FINGERPRINT_PROPERTY] == one.made.fingerprint:
        return replace(one, state="done")
    parts = day_fingerprint_parts(MODEL, SMALL, one)
    known = told.get(FINGERPRINT_PARTS_PROPERTY, {})
    return replace(one, state="stale", changed=tuple(name for name in parts if known and known[name] != parts[name]))


def put_item(folder, collection, id, geobox, assets, start, days=1, **properties):
    """An item without files."""
    item = raster_item(
        id=id, collection=collection, geobox=geobox, start=utc_instant(start), end=utc_instant(start) + days * ONE_DAY,
        properties={FINGERPRINT_PROPERTY: digest(id), "grid:code": "SMAL-0101", **properties}, extensions=["grid"],
    )  # fmt: skip
    for key, (checksum, scale) in assets.items():
        band = {"name": key, "data_type": "uint16", "nodata": 0, "raster:scale": scale}
        file = {"file:checksum": f"1220{digest([id, key, checksum])}", "file:size": 1000 + checksum}
        item["assets"][key] = {
            "href": f"./{id}.{key}.tif",
            "type": COG_MEDIA_TYPE,
            "roles": ["data"],
            "bands": [band],
            **file,
        }
    layout = open_catalog(folder).layout(collection)
    place = item_folder(layout, item)
    path = Path(folder, place, f"{id}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(item_json(with_structural_links(item, place)))
    return path


def fill(folder, chance: random.Random) -> None:
    """Items of all features on some days, with gaps, twice on some, and in other grids."""
    span = Period(PERIOD.start - 6 * ONE_DAY, PERIOD.end + 2 * ONE_DAY)
    for tile in (*TILES, "h00v00"):
        geobox = SMALL.geobox(tile)
        for day in span.days:
            if chance.random() < 0.8:
                put_item(
                    folder, "glass-lst", f"LST.{day:%Y%j}.{tile}", geobox, {"lst": (chance.randrange(3), 0.01)}, day
                )
            if chance.random() < 0.2:  # another version of the day, before or after the first by its id
                id = f"{chance.choice(('AAA', 'ZZZ'))}.{day:%Y%j}.{tile}"
                put_item(folder, "glass-lst", id, geobox, {"lst": (3, 0.01)}, day, version=chance.choice(("50", "060")))
        for i in range(4):
            if chance.random() < 0.8:
                scale = chance.choice((0.1, 0.2))
                start = span.start - 8 * ONE_DAY + 8 * i * ONE_DAY
                put_item(folder, "glass-lai", f"LAI.{i}.{tile}", geobox.zoom_out(0.5), {"lai": (i, scale)}, start, 8)
        put_item(folder, "cop-dem", f"DEM.{tile}", geobox, {"elevation": (1, 1.0)}, date(2010, 1, 1), 365)
    for day in span.days:
        assets = {"swvl1": (0, 1.0), "stl1": (1, 1.0)}
        put_item(folder, "era5-land", f"ERA5.{day:%Y%j}", COARSE, assets, day)
        if chance.random() < 0.2:  # a second file of the day
            put_item(folder, "era5-land", f"MORE.{day:%Y%j}", COARSE, {"stl1": (2, 1.0)}, day)
        if chance.random() < 0.2:  # and one of coarser pixels
            put_item(folder, "era5-land", f"AERA5.{day:%Y%j}", COARSE.zoom_out(2.5), assets, day)
    normal = {"stac_sm:climatology": RECIPE.feature("usual").climatology_key, "stac_sm:month": 6}
    put_item(
        folder,
        CLIMATOLOGY_COLLECTION,
        "MEAN.06",
        COARSE,
        {"mean": (0, 1.0), "std": (1, 1.0)},
        date(2018, 1, 1),
        365,
        **normal,
    )


def put_products(folder, chance: random.Random) -> None:
    """Products of some days: as wanted, of something else, retracted; some of the version before."""
    for one in day_by_day(folder):
        made = one.made
        kind = chance.choice(("none", "right", "wrong", "told", "retracted", "older"))
        told = {"right": made.fingerprint, "wrong": "0" * 64, "told": "0" * 64, "retracted": "1" * 64}.get(kind)
        more = {RETRACTED_PROPERTY: "wet"} if kind == "retracted" else {}
        more |= (
            {FINGERPRINT_PARTS_PROPERTY: day_fingerprint_parts(MODEL, SMALL, one) | {"model": "00000000"}}
            if kind == "told"
            else {}
        )
        id = ProductDay(made.tile, made.day, "001", "").id if kind == "older" else made.id
        if kind != "none":
            more[FINGERPRINT_PROPERTY] = told or "2" * 64
            path = put_item(folder, PRODUCT_COLLECTION, id, SMALL.geobox(made.tile), {}, made.day, **more)
            (path.parent / f"{id}.{more[FINGERPRINT_PROPERTY][:12]}.sm.tif").write_bytes(b"pixels")


def damage(folder, how: str, chance: random.Random) -> None:
    """Something happens to the index of a month, or to an item after it was made."""
    collection, month = chance.choice(
        [(PRODUCT_COLLECTION, "2018-06"), (PRODUCT_COLLECTION, "2018-07"), ("glass-lst", "2018-06"),
         ("glass-lai", "2018-06"),
         ("era5-land", "2018-07"), ("cop-dem", "all")]
    )  # fmt: skip
    shard, proof = Path(folder, shard_path(collection, month)), Path(folder, manifest_path(collection, month))
    if not shard.is_file():
        return
    if how == "drop":
        chance.choice((shard, proof)).unlink(missing_ok=True)  # damage may come twice
    elif how == "truncate":
        file = chance.choice((shard, proof))
        file.write_bytes(file.read_bytes()[: chance.randrange(2000)])
    elif how == "alter shard":
        content = bytearray(shard.read_bytes())
        content[chance.randrange(len(content))] ^= 255
        shard.write_bytes(content)
    elif how == "forge proof":
        forged(proof, lambda table: with_fingerprints(table, "0" * 64))
    elif how == "forge both" and collection == PRODUCT_COLLECTION:
        forged(proof, lambda table: with_fingerprints(table.slice(0, max(1, len(table) // 2)), None))
    elif how == "change item":
        items = sorted(path for path in Path(folder, collection).rglob("*.json") if path.stem == path.parent.name)
        path = chance.choice(items)
        path.write_text(path.read_text().replace('"raster:scale": ', '"raster:offset": 1.0,\n "raster:scale": '))


def forged(proof: Path, change) -> None:
    """A proof with other rows, that bears the sum of its shard as before."""
    table = pq.read_table(proof)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), proof)


def with_fingerprints(table: pa.Table, value: str | None) -> pa.Table:
    """All rows with one fingerprint, or each with that of the next."""
    old = table[FINGERPRINT_PROPERTY].to_pylist()
    new = [value] * len(old) if value else old[1:] + old[:1]
    return table.set_column(
        table.column_names.index(FINGERPRINT_PROPERTY), FINGERPRINT_PROPERTY, pa.array(new, pa.string())
    )


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("law") / "p"
    create_project(folder, project_text(SMALL, RECIPE.only(["lst"])))
    return folder


def made(empty, target: Path, seed: int):
    """A catalogue of a seed, with its links and index."""
    chance = random.Random(seed)
    shutil.copytree(empty, target)
    fill(target, chance)
    for name in ("glass-lst", "glass-lai", "era5-land", "cop-dem", CLIMATOLOGY_COLLECTION):
        refresh(open_catalog(target).store, name)
    put_products(target, chance)
    for name in ("glass-lst", "glass-lai", "era5-land", "cop-dem", PRODUCT_COLLECTION):
        catalog = open_catalog(target)
        update_index(catalog.store, name, layout=catalog.layout(name))
    return chance


@settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), how=st.lists(st.sampled_from(DAMAGE), min_size=1, max_size=3))
@example(seed=1, how=["none"])
@example(seed=2, how=["drop", "truncate", "alter shard", "forge proof", "forge both", "change item"])
def test_the_plan_is_that_of_every_day_for_itself(empty, seed, how):
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "p")
        chance = made(empty, folder, seed)
        for one in how:
            damage(folder, one, chance)
        redo = chance.random() < 0.3
        wanted = day_by_day(folder, redo)
        found = planned(folder, redo_retracted=redo)
        assert [replace(day, changed=()) for day in found.days] == [replace(day, changed=()) for day in wanted]
        for day, other in zip(found.days, wanted, strict=True):
            assert day.changed == other.changed or not other.changed
        short = [one.days_found for one in resolved_of(folder)]
        names = {name for one in short for name in one}
        few = {name: [days for one in short for days in one.get(name, {}).values()] for name in names}
        assert found.days_found == {name: (min(days), max(days)) for name, days in few.items()}
        shutil.rmtree(folder / PRODUCT_COLLECTION / "index")
        assert planned(folder, redo_retracted=redo) == found


def asset_of(item: dict) -> dict:
    return next(iter(item["assets"].values()))


BAD_VALUES = {
    "scale": lambda item: asset_of(item)["bands"][0].update({"raster:scale": "ten"}),
    "scale of nought": lambda item: asset_of(item)["bands"][0].update({"raster:scale": 0}),
    "endless offset": lambda item: asset_of(item)["bands"][0].update({"raster:offset": "inf"}),
    "nodata": lambda item: asset_of(item)["bands"][0].update({"nodata": [0]}),
    "data type": lambda item: asset_of(item)["bands"][0].update({"data_type": "int7"}),
    "bands": lambda item: asset_of(item).update({"bands": "one"}),
    "code": lambda item: item["properties"].update({"proj:code": "EPSG:none"}),
    "epsg": lambda item: (
        [item["properties"].pop(key, None) for key in ("proj:code", "proj:wkt2")]
        and item["properties"].update({"proj:epsg": "WGS84"})
    ),
    "shape": lambda item: item["properties"].update({"proj:shape": "40x50"}),
    "no shape": lambda item: item["properties"].update({"proj:shape": [0, 50]}),
    "transform": lambda item: item["properties"].update({"proj:transform": [1.0, None, "x"]}),
    "start": lambda item: item["properties"].update({"start_datetime": "yesterday"}),
    "end": lambda item: item["properties"].update({"end_datetime": 20180701}),
    "bbox": lambda item: item.update({"bbox": ["west", 1, 2, 3]}),
    "no properties": lambda item: item.pop("properties"),
    "month": lambda item: item["properties"].update({"stac_sm:month": "June"}),
}
"""What is changed in the JSON of an item."""


@settings(max_examples=examples(16), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), kind=st.sampled_from(sorted(BAD_VALUES)), indexed=st.booleans())
@example(seed=1, kind="month", indexed=True)
@example(seed=2, kind="start", indexed=True)
@example(seed=3, kind="scale", indexed=False)
@example(seed=4, kind="epsg", indexed=True)
def test_one_bad_value_in_an_item_costs_that_item_and_it_is_named(empty, seed, kind, indexed):
    """The slow way: a catalogue without the item gives the same plan and the same inputs."""
    import json

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "p")
        chance = made(empty, folder, seed)
        names = ("glass-lst", "glass-lai", "era5-land", "cop-dem") if kind != "month" else (CLIMATOLOGY_COLLECTION,)
        paths = sorted(p for name in names for p in Path(folder, name).rglob("*.json") if p.stem == p.parent.name)
        path = chance.choice(paths)
        collection = path.relative_to(folder).parts[0]
        item = json.loads(path.read_text())
        sound = planned(folder)
        BAD_VALUES[kind](item)
        path.write_text(json.dumps(item))
        if indexed:
            catalog = open_catalog(folder)
            update_index(catalog.store, collection, layout=catalog.layout(collection))
        spoiled, resolved = planned(folder), resolved_of(folder)
        path.unlink()
        refresh(open_catalog(folder).store, collection)
        assert spoiled.left_out.keys() <= {item["id"], *(f"{item['id']}/{key}" for key in item["assets"])}
        assert list(spoiled.days) == list(planned(folder).days)
        without = resolved_of(folder)
        assert [one.by_feature for one in resolved] == [one.by_feature for one in without]
        named = {name for one in resolved for name in one.left_out_items}
        if any(id.startswith(f"{item['id']}/") for day in sound.days for id, _ in day.inputs):
            assert spoiled.left_out
            assert named == spoiled.left_out.keys()
        file = Path(scratch, "plan.parquet")
        write_plan(spoiled, file, SMALL)
        assert read_plan(file).left_out == spoiled.left_out
        assert read_plan(file).days_found == spoiled.days_found


def resolved_of(folder):
    catalog = open_catalog(folder)
    return [resolve_inputs(catalog, RECIPE, SMALL.geobox(tile), PERIOD) for tile in TILES]


@pytest.fixture(scope="module")
def catalogue(empty, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "p"
    made(empty, folder, 5)
    return folder


class Reading(LocalStore):
    """Notes what is read."""

    seen: ClassVar[list[str]] = []

    def read(self, path: str) -> bytes:
        self.seen.append(path)
        return super().read(path)


def items_read(folder) -> list[str]:
    from stac_sm.stac.catalogs.catalog import Catalog

    Reading.seen.clear()
    make_plan(Catalog(Reading(Path(folder))), MODEL, TILES, PERIOD, grid=SMALL, version="002")
    return [path for path in Reading.seen if path.split("/")[-2:-1] == [path.split("/")[-1][:-5]]]


def test_no_item_is_read_that_the_index_proves(catalogue, tmp_path):
    """But those of products that are stale or retracted, and climatologies."""
    read = items_read(catalogue)
    assert {path.split("/")[0] for path in read} <= {PRODUCT_COLLECTION, CLIMATOLOGY_COLLECTION}
    stale = [day.made.id for day in planned(catalogue).days if day.state in {"stale", "retracted"}]
    assert sorted(path.split("/")[-2] for path in read if path.startswith(PRODUCT_COLLECTION)) == sorted(stale)
    shutil.copytree(catalogue, tmp_path / "p")
    for index in (tmp_path / "p").glob("*/index"):
        shutil.rmtree(index)
    assert len(items_read(tmp_path / "p")) > 10 * len(read)


def test_no_more_items_are_read_by_an_index_of_an_earlier_version(catalogue, tmp_path):
    """Its hrefs are relative to the shard."""
    folder = Path(shutil.copytree(catalogue, tmp_path / "p"))
    copy = open_catalog(folder)
    for index in folder.glob("*/index"):
        update_index(copy.store, index.parent.name, layout=copy.layout(index.parent.name))
    before = sorted(items_read(folder))
    for shard in folder.glob("*/index/*.parquet"):
        table, proof = pq.read_table(shard), shard.parent / "proof" / shard.name
        rows = table.to_pylist()
        for row, path in zip(rows, pq.read_table(proof)["path"].to_pylist(), strict=True):
            for asset in (row.get("assets") or {}).values():
                if asset is not None:
                    assert asset["href"].startswith("./")
                    below = path.partition("/")[2].rpartition("/")[0]
                    asset["href"] = f"../{below}/{asset['href'][2:]}"
        pq.write_table(pa.Table.from_pylist(rows, table.schema), shard)
        mark = {b"stac_sm:shard": sha256(shard.read_bytes())}
        pq.write_table(pq.read_table(proof).replace_schema_metadata(mark), proof)
    assert sorted(items_read(folder)) == before
    assert list(planned(folder).days) == list(planned(catalogue).days)


def test_a_plan_made_by_processes_is_the_same(catalogue, tmp_path):
    alone, together = planned(catalogue), planned(catalogue, workers=2)
    assert together == alone
    assert (together.id, together.reads, together.counts) == (alone.id, alone.reads, alone.counts)
    files = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    for plan, file in zip((alone, together), files, strict=True):
        write_plan(plan, file, SMALL)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert read_plan(files[0]) == together


def test_what_processes_have_written_goes_with_the_plan(catalogue, tmp_path, monkeypatch):
    import gc

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    plan = planned(catalogue, workers=2)
    assert list(tmp_path.glob("stac-sm-plan-*/*.inputs"))
    del plan
    gc.collect()
    assert not list(tmp_path.glob("stac-sm-plan-*"))


def test_parts_are_described_in_the_schema():
    import json

    import jsonschema

    from stac_sm.stac.links import skeleton_folder

    schema = json.loads((skeleton_folder() / "schema.json").read_text())
    parts = day_fingerprint_parts(
        MODEL, SMALL, PlannedDay(ProductDay(TILE, PERIOD.start, "001", ""), "new", (), (("a", "b"),))
    )
    item = {"type": "Feature", "properties": {FINGERPRINT_PROPERTY: "0" * 64, FINGERPRINT_PARTS_PROPERTY: parts}}
    jsonschema.validate(item, schema)
    for wrong in ({**parts, "model": "zz"}, {"model": "00000000"}, {**parts, "other": "00000000"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(
                {"type": "Feature", "properties": {FINGERPRINT_PROPERTY: "0" * 64, FINGERPRINT_PARTS_PROPERTY: wrong}},
                schema,
            )


def test_the_id_of_a_plan_is_that_of_its_days(catalogue):
    plan = planned(catalogue)
    assert plan.id == digest([plan.model, *((day.made.id, day.made.fingerprint) for day in plan.days)])[:12]


def test_what_is_read_is_each_file_once_a_task(catalogue):
    plan = planned(catalogue)
    files = {(task.tile, day.made.day.month, id) for task in plan.tasks() for day in task.planned
             for id, _ in next(one for one in plan.days if one.made == day.made).inputs}  # fmt: skip
    assert plan.reads.files == len(files)
    assert plan.reads.bytes >= 1000 * plan.reads.files
    assert plan.reads.unknown == 0


def test_blocked_and_stale_days_say_why(catalogue):
    plan = planned(catalogue)
    blocked = [day for day in plan.days if day.state == "blocked"]
    assert sum(plan.blocked_by.values()) == sum(len(day.blocked_by) for day in blocked) > 0
    told = [day for day in plan.days if day.changed]
    assert {day.changed for day in told} == {("model",)}
    assert plan.changed["model"] == len(told) > 0
    assert plan.changed["unknown"] == plan.counts["stale"] - len(told)


def test_an_item_that_is_linked_to_and_gone_is_an_error(catalogue, tmp_path):
    from stac_sm.core.errors import CatalogError

    shutil.copytree(catalogue, tmp_path / "p")
    next((tmp_path / "p" / "glass-lst").rglob("LST*.json")).unlink()
    with pytest.raises(CatalogError, match="is no file"):
        planned(tmp_path / "p")


def test_a_shard_is_believed_only_with_its_own_proof(catalogue, tmp_path):
    """Values in a shard that somebody has changed count for nothing."""
    shutil.copytree(catalogue, tmp_path / "p")
    shard = tmp_path / "p" / shard_path("glass-lst", "2018-07")
    table = pq.read_table(shard)
    ids = pa.array(["x"] * len(table))
    pq.write_table(table.set_column(table.column_names.index("id"), "id", ids), shard)
    assert list(planned(tmp_path / "p").days) == list(planned(catalogue).days)


def test_a_catalogue_that_is_marked_simulated_makes_its_days_stale_and_says_why(empty, tmp_path):
    folder = tmp_path / "marked"
    made(empty, folder, 5)
    before = planned(folder)
    assert before.counts["done"]
    mark_simulated(open_catalog(folder).store)
    after = planned(folder)
    assert after.counts["done"] == 0
    assert after.counts["stale"] == before.counts["stale"] + before.counts["done"]
    assert after.changed["output does not say that it is simulated"] == after.counts["stale"] - after.changed["unknown"]
