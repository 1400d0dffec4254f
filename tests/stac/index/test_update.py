"""The index: stac-geoparquet that others read, from the items and their place; what its proof can and cannot prove."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pystac
import pytest
import rustac
import shapely
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from stac_geoparquet.arrow import stac_table_to_items

from stac_sm.cli.main import main
from stac_sm.core.errors import ConflictError
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.index import update as updating
from stac_sm.stac.index.manifest import check_manifest, index_months, read_manifest, read_shard, shard_path
from stac_sm.stac.index.shard import parse_indexed_item, shard_is_here
from stac_sm.stac.index.update import update_index
from stac_sm.stac.items import item_folder, item_json, with_structural_links
from stac_sm.storage.store import open_store
from tests.support.bare_items import put as put_there
from tests.support.examples import examples
from tests.support.object_stores import environment_of, moto_server, new_bucket
from tests.support.racing import killed_at, race
from tests.support.rasters import known_raster

COLLECTION = "sm-1km-daily"
LAYOUT = "year/month/day"
DAYS = [date(2018, 5, 31), date(2018, 6, 1), date(2018, 6, 2), date(2018, 7, 1)]


def published(root: Path, days=DAYS, *, version: str = "a", properties: dict[str, Any] | None = None) -> list[str]:
    """Item JSON of some days, each beside a file with the name of its asset; their paths."""
    paths = []
    for day in days:
        raster = known(day, version)
        item = raster.item | {"properties": raster.item["properties"] | (properties or {})}
        fingerprint = item["properties"]["stac_sm:fingerprint"]
        asset = {"href": f"./{item['id']}.{fingerprint[:12]}.sm.tif", "type": "image/tiff"}
        paths.append(put(root, item | {"assets": {"sm": asset}}))
        (root / paths[-1]).with_name(asset["href"][2:]).write_bytes(b"pixels")
    return paths


def known(day, version):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return known_raster(Path(folder), day=day, version=version, shape=(8, 9))


def put(root: Path, item: dict[str, Any], layout: str = LAYOUT) -> str:
    folder = item_folder(layout, item)
    path = f"{folder}/{item['id']}.json"
    (root / folder).mkdir(parents=True, exist_ok=True)
    temporary = root / f"{folder}/.tmp-x"
    temporary.write_bytes(item_json(with_structural_links(item, folder)))
    temporary.replace(root / path)
    return path


def updated(root, **options):
    result = update_index(open_store(root), COLLECTION, layout=LAYOUT, **options)
    return {month.month: (month.items, month.outcome) for month in result.months}


def index_files(root) -> dict[str, bytes]:
    folder = Path(root) / COLLECTION / "index"
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.parquet")}


def shards(root) -> dict[str, bytes]:
    return {name: content for name, content in index_files(root).items() if "/" not in name}


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def plain(item: dict[str, Any]) -> dict[str, Any]:
    """An item without links and without what stac-geoparquet cannot keep: nulls, and how a time is written."""
    bare = without_nulls({**item, "links": []})
    for name in ("datetime", "start_datetime", "end_datetime"):
        bare["properties"][name] = bare["properties"][name].replace(".000000Z", "Z")
    for asset in bare["assets"].values():
        asset["href"] = asset["href"].rpartition("/")[2]
    return bare


def test_other_readers_find_the_items(project_root):
    paths = published(project_root)
    assert updated(project_root) == {"2018-05": (1, "new"), "2018-06": (2, "new"), "2018-07": (1, "new")}
    wanted = [plain(json.loads((project_root / path).read_bytes())) for path in paths]
    folder = project_root / COLLECTION / "index"
    files = [str(folder / f"{month}.parquet") for month in ("2018-05", "2018-06", "2018-07")]
    found = [item for file in files for item in stac_table_to_items(pq.read_table(file))]
    assert [plain(item) for item in found] == wanted
    for item in found:
        own = self_href(item)
        assert json.loads(Path(own).read_bytes())["id"] == item["id"]
        assert (Path(own).parent / item["assets"]["sm"]["href"]).read_bytes() == b"pixels"
    query = f"select id, datetime::varchar, bbox.xmin from read_parquet('{folder}/*.parquet') order by id"
    rows = duckdb.sql(query).fetchall()
    assert [(row[0], row[2]) for row in rows] == [(item["id"], item["bbox"][0]) for item in wanted]
    assert rows[0][1].startswith("2018-05-31 12:00:00")
    read = [item for file in files for item in rustac.read_sync(file)["features"]]
    assert [(item["id"], item["geometry"]) for item in read] == [(item["id"], item["geometry"]) for item in wanted]
    ours = open_catalog(files[1]).items(COLLECTION, period=Period.of_day(DAYS[2]))
    assert [item.id for item in ours] == [wanted[2]["id"]]
    assert Path(ours[0].assets["sm"].get_absolute_href()).resolve().read_bytes() == b"pixels"


def self_href(item: dict[str, Any]) -> str:
    (own,) = [link["href"] for link in item["links"] if link["rel"] == "self"]
    return own


FIXTURE = Path(__file__).parents[2] / "support/project_4977fae/project"
"""A project of an earlier version; its index has hrefs that are relative to the file, and no link to the collection."""
INDEXED = ["ismn-stations", "sm-1km-daily", "sm-models"]
OUTCOMES = ("new", "replaced", "done", "removed")


@pytest.fixture
def project(tmp_path) -> Path:
    """Copy of a project with products, a model and stations, so that a test may change it."""
    names = ["catalog.json", "stac-sm.toml", *INDEXED]
    unused = shutil.ignore_patterns("*.tif", "*.png", "*.html")
    for name in names[:2]:
        (tmp_path / "p").mkdir(exist_ok=True)
        shutil.copy2(FIXTURE / name, tmp_path / "p" / name)
    for name in INDEXED:
        shutil.copytree(FIXTURE / name, tmp_path / "p" / name, ignore=unused)
    return tmp_path / "p"


def indexed(project: Path) -> dict[str, set[str]]:
    """Outcomes of the command ``index`` by collection."""
    done = CliRunner().invoke(main, ["index", *INDEXED, "--workers", "1", "--json", "--project", str(project)])
    assert done.exit_code == 0, done.output
    return {row["collection"]: {name for name in OUTCOMES if row[name]} for row in json.loads(done.stdout)}


def by_stac_geoparquet(file: Path) -> list[dict[str, Any]]:
    return list(stac_table_to_items(pq.read_table(file)))


def by_rustac(file: Path) -> list[dict[str, Any]]:
    return json.loads(json.dumps(rustac.read_sync(str(file))["features"]))  # lists, where rustac gives tuples


def by_duckdb(file: Path) -> list[dict[str, Any]]:
    """Items as SQL gives them: DuckDB's own JSON, without any extension that is installed or loaded."""
    with duckdb.connect() as database:
        for name in ("autoinstall_known_extensions", "autoload_known_extensions", "enable_geoparquet_conversion"):
            database.execute(f"SET {name} = false")
        types = database.sql(f"DESCRIBE SELECT * FROM '{file}'").fetchall()
        times = [name for name, kind, *_ in types if kind == "TIMESTAMP WITH TIME ZONE"]
        texts = [f"""strftime(make_timestamp(epoch_us("{one}")), '%Y-%m-%dT%H:%M:%SZ') AS "{one}" """ for one in times]
        plain = f"SELECT * EXCLUDE (geometry) REPLACE ({', '.join(texts)}) FROM '{file}'"
        rows = database.sql(
            f"SELECT to_json(x)::VARCHAR, g FROM ({plain}) x POSITIONAL JOIN (SELECT geometry AS g FROM '{file}')"
        )
        return [item_of(without_nulls(json.loads(text)), footprint) for text, footprint in rows.fetchall()]


def item_of(row: dict[str, Any], footprint: bytes) -> dict[str, Any]:
    head = ("type", "stac_version", "stac_extensions", "id", "links", "assets", "collection")
    box = [row["bbox"][name] for name in ("xmin", "ymin", "xmax", "ymax")]
    rest = {name: value for name, value in row.items() if name not in (*head, "bbox")}
    geometry = json.loads(shapely.to_geojson(shapely.from_wkb(footprint)))
    return {name: row[name] for name in head} | {"bbox": box, "geometry": geometry, "properties": rest}


READERS = {"stac-geoparquet": by_stac_geoparquet, "rustac": by_rustac, "DuckDB": by_duckdb}


@pytest.mark.parametrize("reader", READERS)
def test_items_that_other_readers_rebuild_are_valid_and_lead_to_what_they_name(project, validate, reader):
    indexed(project)
    for collection in INDEXED:
        files = sorted((project / collection / "index").glob("*.parquet"))
        found = [item for file in files for item in READERS[reader](file)]
        assert len(found) == sum(1 for file in (project / collection).rglob("*.json") if file.stem == file.parent.name)
        for item in found:
            validate(item)
            path = project / Path(self_href(item)).relative_to(project)
            source = json.loads(path.read_bytes())
            structural = {"self", "root", "parent"}
            links, expected = (
                {(link["rel"], link["href"]) for link in one["links"] if link["rel"] not in structural}
                for one in (item, source)
            )
            assert links == expected
            assert {link["rel"] for link in item["links"]} >= {"self", "collection"}
            hrefs = {key: asset["href"] for key, asset in source["assets"].items()}
            assert {key: asset["href"] for key, asset in item["assets"].items() if asset} == hrefs
            known = pystac.Item.from_dict(item)  # takes the self link of the row
            for key, href in hrefs.items():
                place = known.assets[key].get_absolute_href()
                assert Path(place) == path.parent / href, place
            (up,) = known.get_links("collection")
            assert json.loads(Path(up.get_absolute_href()).read_bytes())["id"] == collection


def test_the_collection_is_in_the_metadata_of_the_file(project, validate):
    indexed(project)
    for collection in INDEXED:
        for file in (project / collection / "index").glob("*.parquet"):
            about = json.loads(pq.read_schema(file).metadata[b"stac-geoparquet"])
            assert about["version"] == "1.1.0"  # the first version of the specification with `collections`
            ((id, held),) = about["collections"].items()
            source = json.loads((project / collection / "collection.json").read_bytes())
            assert (id, held["id"]) == (collection, collection)
            assert {**held, "links": []} == {**source, "links": []}
            validate(held)
            assert self_href(held) == str(project / collection / "collection.json")
            assert not {link["rel"] for link in held["links"]} & {"item", "child"}


def test_after_a_move_index_makes_the_self_links_right(project, tmp_path):
    assert indexed(project) == {"ismn-stations": {"new"}, "sm-1km-daily": {"replaced"}, "sm-models": {"new"}}
    assert set().union(*indexed(project).values()) == {"done"}
    moved = tmp_path / "else where" / "p#2"
    moved.parent.mkdir()
    project.rename(moved)
    (file,) = (moved / "sm-1km-daily/index").glob("*.parquet")
    before = open_catalog(file).items("sm-1km-daily")  # our own reader follows the project
    assert all(Path(item.get_self_href()).is_file() for item in before)
    store = open_store(moved)
    found = check_manifest(read_manifest(store, "sm-1km-daily", "2019-03"), store.list_objects("sm-1km-daily"))
    assert (found.unchanged.num_rows, found.out_of_date) == (3, [])  # plans go on reading the index
    assert set().union(*indexed(moved).values()) == {"replaced"}
    for one in INDEXED:
        (file,) = (moved / one / "index").glob("*.parquet")
        for item in by_stac_geoparquet(file):
            assert json.loads(Path(self_href(item)).read_bytes())["id"] == item["id"]
    assert set().union(*indexed(moved).values()) == {"done"}


def test_index_takes_another_document_of_the_collection_and_no_longer_extent(project):
    indexed(project)
    path = project / "sm-1km-daily/collection.json"
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps(document | {"keywords": ["other"]}))
    assert indexed(project) == {"ismn-stations": {"done"}, "sm-1km-daily": {"replaced"}, "sm-models": {"done"}}
    (file,) = (project / "sm-1km-daily/index").glob("*.parquet")
    about = json.loads(pq.read_schema(file).metadata[b"stac-geoparquet"])
    assert about["collections"]["sm-1km-daily"]["keywords"] == ["other"]
    content, root = file.read_bytes(), str(project)
    held = about["collections"]["sm-1km-daily"]
    assert shard_is_here(content, root, held | {"extent": {"grown": True}})
    assert not shard_is_here(content, root + "x", held)
    assert not shard_is_here(content, root, held | {"title": "x"})
    assert not shard_is_here(content, root, None)
    assert not shard_is_here((FIXTURE / "sm-1km-daily/index/2019-03.parquet").read_bytes(), root, held)


def test_an_index_of_an_earlier_version_is_read(project):
    """Its hrefs are relative to the file."""
    (file,) = (project / "sm-1km-daily/index").glob("*.parquet")
    items = open_catalog(file).items("sm-1km-daily")
    assert len(items) == 3
    for item in items:
        for asset in item.assets.values():
            assert (FIXTURE / Path(asset.get_absolute_href()).resolve().relative_to(project)).is_file()


def test_a_copy_of_one_index_file_leads_to_the_project(project, tmp_path):
    indexed(project)
    (file,) = (project / "sm-1km-daily/index").glob("*.parquet")
    shutil.copy(file, tmp_path / "copy.parquet")
    items = open_catalog(tmp_path / "copy.parquet").items("sm-1km-daily")
    assert len(items) == 3
    assert all(Path(item.get_self_href()).is_relative_to(project) for item in items)


def rows_anywhere(root: Path | str) -> dict[str, list[dict[str, Any]]]:
    """Rows of each shard, with self links below the root."""
    store = open_store(root)
    found = {}
    for month in index_months(store, COLLECTION):
        found[month] = pq.read_table(pa.BufferReader(store.read(shard_path(COLLECTION, month)))).to_pylist()
        for row in found[month]:
            row["links"][0]["href"] = row["links"][0]["href"].removeprefix(store.root)
    return found


def test_the_same_items_give_the_same_rows_wherever_they_lie_and_the_same_bytes_in_one_place(project_root, tmp_path):
    published(project_root)
    updated(project_root)
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(project_root, copy, ignore=shutil.ignore_patterns("index"))
    published(copy, reversed(DAYS))  # written anew in another order
    updated(copy, workers=2)
    assert rows_anywhere(copy) == rows_anywhere(project_root)
    assert len(shards(copy)) == 3
    before = shards(project_root)
    shutil.rmtree(project_root / COLLECTION)
    shutil.copytree(copy / COLLECTION, project_root / COLLECTION, ignore=shutil.ignore_patterns("index"))
    updated(project_root)
    assert shards(project_root) == before


def test_only_what_changed_is_built(project_root):
    published(project_root)
    updated(project_root)
    before = {name: (project_root / COLLECTION / "index" / name).stat().st_ino for name in index_files(project_root)}
    assert set(updated(project_root).values()) == {(1, "done"), (2, "done")}
    published(project_root, [DAYS[3] + ONE_DAY])
    published(project_root, [DAYS[0]], version="b")
    assert updated(project_root) == {"2018-05": (1, "replaced"), "2018-06": (2, "done"), "2018-07": (2, "replaced")}
    after = {name: (project_root / COLLECTION / "index" / name).stat().st_ino for name in before}
    assert {name for name in before if before[name] == after[name]} == {"2018-06.parquet", "proof/2018-06.parquet"}


def test_months_without_items(project_root):
    (path, *_) = published(project_root)
    updated(project_root)
    shutil.rmtree((project_root / path).parent)
    assert updated(project_root)["2018-05"] == (0, "replaced")
    assert pq.read_table(project_root / COLLECTION / "index" / "2018-05.parquet").num_rows == 0
    assert updated(project_root)["2018-05"] == (0, "done")
    assert updated(project_root, prune=True)["2018-05"] == (0, "removed")
    assert index_months(open_store(project_root), COLLECTION) == ["2018-06", "2018-07"]


def test_a_collection_not_laid_out_by_time_has_one_shard(project_root):
    for day in DAYS:
        put(project_root, known(day, "a").item | {"collection": "soilgrids"}, "flat")
    (made,) = update_index(open_store(project_root), "soilgrids", layout="flat").months
    assert (made.month, made.items) == ("all", 4)


def test_an_item_belongs_to_the_month_of_its_datetime(project_root):
    times = {"start_datetime": "2018-05-31T00:00:00Z", "datetime": "2018-06-04T00:00:00Z"}
    published(project_root, [DAYS[0]], properties=times | {"end_datetime": "2018-06-07T23:59:59Z"})
    published(project_root, [DAYS[1]], properties={"datetime": None})
    assert updated(project_root) == {"2018-06": (2, "new")}


def listing(root):
    return list(open_store(root).list_objects(COLLECTION))


def test_proof_holds_while_the_listing_is_the_same(project_root):
    paths = published(project_root)
    updated(project_root)
    store = open_store(project_root)
    table = pa.concat_tables([read_manifest(store, COLLECTION, month) for month in index_months(store, COLLECTION)])
    found = check_manifest(table, listing(project_root))
    assert found.unchanged.equals(table)
    assert (found.out_of_date, found.gone) == ([], [])
    for path, row in zip(paths, table.to_pylist(), strict=True):
        item = json.loads((project_root / path).read_bytes())
        assert (row["path"], row["id"]) == (path, item["id"])
        assert row["size"] == (project_root / path).stat().st_size
        for name in ("stac_sm:fingerprint", "grid:code"):
            assert row[name] == item["properties"][name]
        assert f"{row['datetime']:%Y-%m-%dT%H:%M:%SZ}" == item["properties"]["datetime"]


@pytest.mark.parametrize("how", ["rewritten", "other size", "copied back", "gone"])
def test_what_the_store_lists_otherwise_is_unproven(project_root, how):
    paths = published(project_root)
    updated(project_root)
    table = read_manifest(open_store(project_root), COLLECTION, "2018-06")
    victim = project_root / paths[1]
    content = victim.read_bytes()
    if how == "gone":
        victim.unlink()
    elif how == "rewritten":  # to the byte the same size
        published(project_root, [DAYS[1]], version="b")
        assert victim.stat().st_size == len(content)
    elif how == "other size":
        before = victim.stat()
        victim.write_bytes(content + b" ")
        os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        victim.unlink()
        victim.write_bytes(content)
    found = check_manifest(table, [entry for entry in listing(project_root) if "/2018/06/" in entry.path])
    assert found.unchanged.column("path").to_pylist() == [paths[2]]
    assert (found.out_of_date, found.gone) == (([], [paths[1]]) if how == "gone" else ([paths[1]], []))


def test_a_forged_row_proves_nothing(project_root):
    paths = published(project_root)
    updated(project_root)
    store, entries = open_store(project_root), listing(project_root)
    table = read_manifest(store, COLLECTION, "2018-06")
    fingerprint = table.column("stac_sm:fingerprint")
    forged = pa.array(["f" * 64, fingerprint[1].as_py()])
    at = table.schema.get_field_index("stac_sm:fingerprint")
    lie = table.set_column(at, "stac_sm:fingerprint", forged)
    assert check_manifest(lie, entries).unchanged.column("path").to_pylist() == [paths[2]]
    twice = pa.concat_tables([table, table])
    assert check_manifest(twice, entries).unchanged.num_rows == 2
    invented = table.set_column(0, "path", pa.array(["x/y/y.json", paths[2]]))
    assert check_manifest(invented, entries).unchanged.column("path").to_pylist() == [paths[2]]
    assert check_manifest(invented, entries).gone == ["x/y/y.json"]


@settings(max_examples=examples(40))
@given(damage=st.sampled_from(["cut", "byte", "other", "empty"]), at=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_damaged_index_proves_nothing_false_and_is_rebuilt(tmp_path_factory, damage, at, value):
    root = tmp_path_factory.mktemp("damage")
    paths = published(root, DAYS[1:3])
    updated(root)
    good = index_files(root)
    file = root / COLLECTION / "index" / ("proof/" if at % 2 else "") / "2018-06.parquet"
    content = bytearray(file.read_bytes())
    if damage == "byte":
        content[at % len(content)] = value
    pq.write_table(pa.table({"path": [1]}), root / "other.parquet")
    changed = {"cut": content[: at % len(content)], "other": (root / "other.parquet").read_bytes(), "empty": b""}
    file.write_bytes(changed.get(damage, content))
    truth = {path: json.loads((root / path).read_bytes())["properties"]["stac_sm:fingerprint"] for path in paths}
    found = check_manifest(read_manifest(open_store(root), COLLECTION, "2018-06"), listing(root)).unchanged
    for row in found.to_pylist():
        assert truth[row["path"]] == row["stac_sm:fingerprint"]
    updated(root)
    assert index_files(root) == good or file.read_bytes() == content


def test_a_changed_shard_is_not_read_with_its_old_proof(project_root):
    published(project_root)
    updated(project_root)
    store = open_store(project_root)
    rows, content = read_shard(store, COLLECTION, "2018-06")
    assert pq.read_table(pa.BufferReader(content)).column("id").to_pylist() == rows.column("id").to_pylist()
    folder = project_root / COLLECTION / "index"
    shutil.copy(folder / "2018-05.parquet", folder / "2018-06.parquet")
    assert read_shard(store, COLLECTION, "2018-06") is None
    assert updated(project_root)["2018-06"] == (2, "replaced")
    assert (folder / "2018-06.parquet").read_bytes() == content


BROKEN = {
    "no JSON": b"{",
    "another id": item_json({"type": "Feature", "id": "z", "collection": COLLECTION}),
    "no time": item_json({"type": "Feature", "id": "x", "collection": COLLECTION, "properties": {}}),
    "no assets": item_json(
        {"type": "Feature", "id": "x", "collection": COLLECTION, "properties": {"datetime": "2018-06-09T00:00:00Z"}}
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_item_is_named_and_left_out(project_root, kind):
    published(project_root)
    broken = project_root / COLLECTION / "2018/06/09/x/x.json"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(BROKEN[kind])
    result = update_index(open_store(project_root), COLLECTION, layout=LAYOUT)
    assert sum(month.items for month in result.months) == 4
    assert list(result.failures) == [f"{COLLECTION}/2018/06/09/x/x.json"]
    assert "x.json is no item" in str(result.failures)


@pytest.mark.parametrize(
    ("name", "value"),
    [("updated", "yesterday"), ("created", 5), ("expires", "2019-13-01"), ("grid:code", 7), ("published", ["x"])],
)
def test_an_optional_property_that_cannot_be_right_costs_that_property(project_root, name, value):
    published(project_root)
    path = next(p for p in sorted(Path(project_root, COLLECTION).rglob("*.json")) if p.stem == p.parent.name)
    item = json.loads(path.read_text())
    item["properties"] |= {name: value}
    path.write_text(json.dumps(item))
    result = update_index(open_store(project_root), COLLECTION, layout=LAYOUT)
    assert (sum(month.items for month in result.months), result.failures) == (4, {})
    ((key, reasons),) = result.left_out.items()
    assert key == str(path.relative_to(project_root))
    assert list(reasons) == [name]
    assert str(value) in reasons[name]
    rows = [row for month in result.months for row in rows_of(project_root, month.month)]
    assert len(rows) == 4
    assert next(row for row in rows if row["id"] == item["id"]).get(name) is None


@pytest.mark.parametrize("name", ["datetime", "start_datetime", "end_datetime"])
def test_a_time_that_places_an_item_costs_the_item(project_root, name):
    published(project_root)
    path = next(p for p in sorted(Path(project_root, COLLECTION).rglob("*.json")) if p.stem == p.parent.name)
    item = json.loads(path.read_text())
    item["properties"] |= {name: "yesterday"}
    path.write_text(json.dumps(item))
    result = update_index(open_store(project_root), COLLECTION, layout=LAYOUT)
    assert sum(month.items for month in result.months) == 3
    assert list(result.failures) == [str(path.relative_to(project_root))]
    assert "yesterday" in str(result.failures)


def rows_of(root, month):
    return pq.read_table(Path(root, shard_path(COLLECTION, month))).to_pylist()


def test_values_of_many_types_and_empty_objects_are_kept(project_root):
    values = {"n": 1, "mixed": "a", "deep": {"a": [1, "b", None], "e": {}}, "list": [{"x": 1}, {"y": "z"}]}
    published(project_root, [DAYS[1]], properties=values)
    published(project_root, [DAYS[2]], properties={"n": 1.5, "mixed": [2], "deep": {"a": []}, "list": [], "big": 2**70})
    updated(project_root)
    one, other = stac_table_to_items(pq.read_table(project_root / COLLECTION / "index" / "2018-06.parquet"))
    assert (one["properties"]["n"], other["properties"]["n"]) == (1, 1.5)
    assert (one["properties"]["mixed"], other["properties"]["mixed"]) == ('"a"', "[2]")
    assert one["properties"]["deep"]["a"] == ["1", '"b"', None]
    assert without_nulls(one["properties"]["list"]) == [{"x": 1}, {"y": "z"}]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3), max_leaves=8), st.sampled_from([None, 2, 4]))  # fmt: skip  # noqa: E501
@settings(max_examples=examples(60))
def test_a_footprint_is_cut_out_of_any_json(value, indent):
    """Whatever else is in an item, and however it is written, what is parsed is the same."""
    item = known_item() | {"geometry": {"type": "Point", "coordinates": [1.5, 2]}, "bbox": [1.5, 2, 1.5, 2]}
    item["properties"] = item["properties"] | {"geometry": {"geometry": value}, "x": value}
    found = parse_indexed_item(
        f"{COLLECTION}/x/{item['id']}/{item['id']}.json", json.dumps(item, indent=indent).encode()
    )
    assert {**found.item, "geometry": None} == {**item, "geometry": None}
    assert found.footprint == b"\x01\x01\x00\x00\x00" + b"\0\0\0\0\0\0\xf8?" + b"\0\0\0\0\0\0\0@"


def known_item() -> dict[str, Any]:
    return {"type": "Feature", "id": "i", "collection": COLLECTION, "properties": {"datetime": "2018-06-09T00:00:00Z"}}


def test_writers_at_once_leave_the_index_right(project_root):
    def one(root, number):
        published(Path(root), [date(2018, 6, 1 + 4 * number + i) for i in range(4)])
        return updated(root)["2018-06"][0]

    counts = race(one, [(str(project_root), number) for number in range(4)])
    assert max(counts) == 16
    before = index_files(project_root)
    assert updated(project_root) == {"2018-06": (16, "done")}
    shutil.rmtree(project_root / COLLECTION / "index")
    updated(project_root)
    assert shards(project_root) == {name: content for name, content in before.items() if "/" not in name}


def test_a_writer_killed_at_any_step_leaves_nothing_that_lies(tmp_path, monkeypatch):
    monkeypatch.setattr("stac_sm.storage.local_store.LOCK_SECONDS", 0.2)
    for count in itertools.count(1):
        root = tmp_path / str(count)
        paths = published(root, DAYS[1:3])
        updated(root)
        published(root, [DAYS[1]], version="b")
        died = killed_at(count, root, updated, root)
        found = check_manifest(read_manifest(open_store(root), COLLECTION, "2018-06"), listing(root))
        truth = {path: json.loads((root / path).read_bytes())["properties"]["stac_sm:fingerprint"] for path in paths}
        assert all(truth[row["path"]] == row["stac_sm:fingerprint"] for row in found.unchanged.to_pylist())
        assert updated(root)["2018-06"][0] == 2
        if not died:
            break
    assert count > 4


class Restless:
    """A store in which an item is written anew whenever it has been listed."""

    def __init__(self, store, root):
        self._store, self._root = store, root

    def __getattr__(self, name):
        return getattr(self._store, name)

    def list_objects(self, prefix=""):
        found = list(self._store.list_objects(prefix))
        if "index" not in prefix:
            published(self._root, [DAYS[1]], version=str(len(found)))
        return iter(found)


def test_a_shard_that_was_written_before_another_writer_was_faster_counts_as_made(project_root, monkeypatch):
    """At the second try it is right already; the first one of this call has made it."""
    published(project_root)
    write, late = updating.write_if_unchanged, []

    def one_is_late(store, path, content, current):
        if not late and "/index/proof/" in path:
            late.append(path)
            return False
        return write(store, path, content, current)

    monkeypatch.setattr(updating, "write_if_unchanged", one_is_late)
    found = updated(project_root)
    assert len(late) == 1
    assert {outcome for _, outcome in found.values()} == {"new"}
    assert {outcome for _, outcome in updated(project_root).values()} == {"done"}


def test_a_collection_that_keeps_changing_is_an_error(project_root):
    published(project_root, DAYS[1:2])
    with pytest.raises(ConflictError, match="keeps changing"):
        update_index(Restless(open_store(project_root), project_root), COLLECTION, layout=LAYOUT)


def test_on_s3_the_etag_proves(project_root, tmp_path):
    import boto3

    paths = published(project_root)
    updated(project_root)
    server = moto_server()
    new_bucket(server, "index")
    with environment_of(server):
        client = boto3.session.Session().client("s3")
        for file in (file for file in project_root.rglob("*") if file.is_file() and "/index/" not in str(file)):
            client.upload_file(str(file), "index", f"p/{file.relative_to(project_root)}")
        store = open_store("s3://index/p")
        update_index(store, COLLECTION, layout=LAYOUT)
        assert rows_anywhere("s3://index/p") == rows_anywhere(project_root)
        (item, _) = stac_table_to_items(pq.read_table(pa.BufferReader(store.read(shard_path(COLLECTION, "2018-06")))))
        assert self_href(item) == f"s3://index/p/{paths[1]}"
        table = read_manifest(store, COLLECTION, "2018-06")
        assert check_manifest(table, store.list_objects(COLLECTION)).unchanged.num_rows == 2
        client.put_object(Bucket="index", Key=f"p/{paths[1]}", Body=store.read(paths[1]) + b"\n")
        assert check_manifest(table, store.list_objects(COLLECTION)).unchanged.column("path").to_pylist() == [paths[2]]


def test_frozen_entries_compare_by_version(project_root):
    published(project_root, DAYS[1:2])
    updated(project_root)
    table = read_manifest(open_store(project_root), COLLECTION, "2018-06")
    entries = [entry._replace(version="other") for entry in listing(project_root)]
    assert check_manifest(table, entries).unchanged.num_rows == 0


def test_some_months_are_brought_up_to_date_from_their_folders_alone(project_root, monkeypatch):
    for n, day in enumerate((date(2018, 6, 29), date(2018, 7, 1), date(2018, 8, 1))):
        put_there(project_root, "sm-1km-daily", f"x{n}", start=day)
    store = open_store(project_root)
    whole = {month.month: month.items for month in update_index(store, "sm-1km-daily", layout="year/month/day").months}
    assert whole == {"2018-06": 1, "2018-07": 1, "2018-08": 1}
    put_there(project_root, "sm-1km-daily", "x3", start=date(2018, 7, 2))
    seen, entries = [], type(store).list_objects
    monkeypatch.setattr(type(store), "list_objects", lambda self, at="": seen.append(at) or entries(self, at))
    found = update_index(store, "sm-1km-daily", layout="year/month/day", months=["2018-07"])
    assert [(month.month, month.items, month.outcome) for month in found.months] == [("2018-07", 2, "replaced")]
    assert set(seen) == {"sm-1km-daily/2018/07", "sm-1km-daily/index"}
    monkeypatch.undo()
    again = update_index(store, "sm-1km-daily", layout="year/month/day")
    assert {month.outcome for month in again.months} == {"done"}


def test_an_item_that_belongs_to_another_month_than_its_folder_is_not_lost(project_root):
    put_there(project_root, "glass-lai", "a", start=date(2018, 6, 29), days=8)
    put_there(project_root, "glass-lai", "b", start=date(2018, 7, 20), days=8)
    store = open_store(project_root)
    update_index(store, "glass-lai", layout="year/month/day")
    put_there(project_root, "glass-lai", "c", start=date(2018, 6, 30), days=8)
    found = update_index(store, "glass-lai", layout="year/month/day", months=["2018-06"])
    assert sum(month.items for month in found.months) == 3
    assert {month.outcome for month in update_index(store, "glass-lai", layout="year/month/day").months} == {"done"}
