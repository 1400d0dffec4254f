"""Open the project that commit 4977fae wrote with this version: nothing in it is stale, and its values are the same.

The fixture is never changed (`tests/tools/fixture_project.py` records how it was made). A change that makes other
values on purpose changes PLAN, STALE, FINDINGS and INGESTED below, with the reason. Tests that compare values that are
made again (`…_is_made_again_…`) then state which ones differ.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from click.testing import CliRunner
from shapely.geometry import shape

from stac_sm.cli.main import main
from stac_sm.model.model import Model
from stac_sm.product.aggregates.staleness import AGGREGATES, stale_aggregates
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.collection_fields import lacking_fields
from stac_sm.storage.store import open_store
from stac_sm.workflows.project import read_project
from tests.support.checkout import ROOT

FIXTURE = ROOT / "tests/support/project_4977fae"
EXPECTED = json.loads((FIXTURE / "expected.json").read_text())
MODEL = EXPECTED["model"]
PRODUCTS = EXPECTED["fingerprints"]["sm-1km-daily"]

PLAN = {"new": 0, "done": 0, "stale": 3, "blocked": 0, "retracted": 0}
"""Tile-days of the product by state. A change that makes products stale names them here: ``"done": 0, "stale": 3``."""

STALE = ["stale: 3 tile-days, changed: output profile 1, now 2"]
"""What `plan` says of stale tile-days: which parts of their fingerprints have changed."""

SCREENED = "screened by a version that decided by the estimate alone and did not state its rules"
OUTLINE = (
    "its exterior ring is clockwise, or has vertices that it does not need: `stac-sm audit --repair` writes it again, "
    "its fingerprint stays"
)
ITEMS = {
    file.relative_to(FIXTURE / "project").as_posix(): json.loads(file.read_text())
    for file in sorted((FIXTURE / "project").rglob("*.json"))
    if file.stem == file.parent.name
}
OLD_OUTLINES = [
    path
    for path, item in ITEMS.items()
    if item["geometry"]["type"] == "Polygon" and not shape(item["geometry"]).exterior.is_ccw
]
STORE = open_store(FIXTURE / "project")
LACKING = {
    path: names
    for path in (f"{file.parent.name}/collection.json" for file in (FIXTURE / "project").glob("*/collection.json"))
    if (names := lacking_fields(STORE, json.loads(STORE.read(path))))
}


def lacks(names):
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    told = f"lacks {', '.join(names[:4])}{more} of this version"
    return f"{told}: `stac-sm audit --repair` adds it, and changes nothing that is there"


FINDINGS = (
    sorted(
        [
            *({"kind": "geometry", "path": path, "detail": OUTLINE} for path in OLD_OUTLINES),
            *({"kind": "collection", "path": path, "detail": lacks(names)} for path, names in LACKING.items()),
        ],
        key=lambda one: one["path"],
    )
    + [
        {
            "kind": "stale",
            "path": path,
            "detail": "changed since it was made: output profile 1, now 2; `stac-sm plan` and `run` replace it",
        }
        for path in sorted(ITEMS)
        if path.startswith("sm-1km-daily/")
    ]
    + [
        {
            "kind": "stale",
            "path": next(path for path in ITEMS if path.startswith(f"{collection}/")),
            "detail": f"changed since it was made: output profile 1, now 2: `stac-sm {command}` makes it again",
        }
        for collection, command in AGGREGATES.items()
    ]
    + [
        {"kind": "stale", "path": path, "detail": f"{SCREENED}: `stac-sm screen` replaces it"}
        for path, item in sorted(ITEMS.items())
        if ".Site-" in path and "stac_sm:tc" in item["properties"]
    ]
)
"""What `audit` finds: outlines that run clockwise, as items had them until 2026-11; what collections have since; every
screened station, since
screening decides by the bounds of bootstrap intervals; and tile-days and aggregates, whose files have another profile
since."""

NOTHING = {"tasks": 0, "new": 0, "replaced": 0, "done": 0, "failed": 0, "blocked": 0}
"""What a run says that has nothing to do."""

INGESTED = "done"
"""What comes of every item when its granule is ingested again."""

AGGREGATED = "replaced"
"""What comes of every aggregate when it is made again: its files have another profile, 2."""

VALIDATED = "replaced"
"""What comes of the validation: its version is 2 since station series have a restricted page of their own, and 3 since
it has the scores of QA4SM, triple collocation at stations and a protocol; 4 since other data sets are scaled, too."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Copy the project, so that a test may change it."""
    return Path(shutil.copytree(FIXTURE / "project", tmp_path / "project"))


def run(project: Path, *arguments: object, code: int = 0):
    """Run a command on the project in this process, and check its exit code."""
    done = CliRunner().invoke(main, [*map(str, arguments), "--project", str(project)])
    assert done.exit_code == code, done.output
    return done


def planned(project: Path) -> tuple[dict[str, int], list[str]]:
    """Plan; return the tile-days by state, and the messages on stale ones."""
    done = run(project, "plan", "--json")
    found = json.loads(done.stdout)
    assert found["model"] == MODEL["id"]
    return {state: found[state] for state in PLAN}, [line for line in done.stderr.splitlines() if "stale" in line]


def files(project: Path) -> dict[str, bytes]:
    """Return the content of every file except the index and the plans, which any command may rewrite."""
    paths = sorted(path for path in project.rglob("*") if path.is_file())
    names = {path.relative_to(project).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in names.items() if not {"index", "plans"} & set(name.split("/"))}


def old_plan(project: Path) -> Path:
    """Return the plan from which the products were made; it lists all three as new."""
    (plan,) = (project / "plans").glob("*.parquet")
    return plan


def made(project: Path, plan: Path) -> dict[str, int]:
    """Run a plan; return the number of tile-days by outcome."""
    return dict(json.loads(run(project, "run", plan, "--json", "--workers", 1).stdout))


def item_file(project: Path, id: str) -> Path:
    (file,) = project.rglob(f"{id}/{id}.json")
    return file


def pixels(file: Path) -> dict[str, dict[str, object]]:
    """Return shape, type and SHA-256 of the decoded pixels of every raster of an item."""
    assets = json.loads(file.read_text())["assets"]
    return {key: decoded(file.parent / one["href"]) for key, one in assets.items() if one["href"].endswith(".tif")}


def decoded(file: Path):
    """Return the content of a raster, table or JSON file without its encoding; None for pictures and pages."""
    if file.suffix == ".tif":
        with rasterio.open(file) as raster:
            values = raster.read(1)
        digest = hashlib.sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest()
        return {"shape": list(values.shape), "dtype": values.dtype.name, "sha256": digest}
    if file.suffix == ".parquet":
        return repr(pq.read_table(file).to_pydict())
    return json.loads(file.read_text()) if file.suffix == ".json" else None


def items(project: Path, collection: str) -> dict[Path, dict]:
    """Return the items of a collection by the path of their JSON."""
    found = (file for file in (project / collection).rglob("*.json") if file.stem == file.parent.name)
    return {file.relative_to(project): json.loads(file.read_text()) for file in sorted(found)}


def held(project: Path, collection: str) -> dict[str, list]:
    """Return fingerprint and decoded assets of every item; of stations the fingerprint before screening."""
    return {
        item["id"]: [
            item["properties"].get("stac_sm:ingested", item["properties"]["stac_sm:fingerprint"]),
            {key: decoded(project / file.parent / asset["href"]) for key, asset in item["assets"].items()},
        ]
        for file, item in items(project, collection).items()
    }


def floats(text: str) -> np.ndarray:
    """Return float32 values from hex, little-endian."""
    return np.frombuffer(bytes.fromhex(text), "<f4").astype(np.float32)


# --- the fixture itself --------------------------------------------------------------------------------------------


def test_the_fixture_is_as_it_was_made_and_small():
    paths = [path for part in ("granules", "project") for path in (FIXTURE / part).rglob("*") if path.is_file()]
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(FIXTURE).as_posix()}\n" for path in paths
    ]
    assert hashlib.sha256("".join(sorted(lines)).encode()).hexdigest() == EXPECTED["tree"]
    sizes = [path.stat().st_size for path in FIXTURE.rglob("*") if path.is_file()]
    assert max(sizes) < 200_000
    assert sum(sizes) < 2_000_000


# --- what is there is up to date -----------------------------------------------------------------------------------


def test_plan_finds_everything_up_to_date(project):
    """From the items, since a checkout has other times than the index, and again from an index of this version."""
    assert planned(project) == (PLAN, STALE)
    run(project, "index", "--workers", 1)
    assert planned(project) == (PLAN, STALE)


def test_audit_is_clean(project):
    assert json.loads(run(project, "audit", "--json", "--workers", 1, code=1 if FINDINGS else 0).stdout) == FINDINGS


def test_repair_writes_outlines_again_and_completes_collections_and_nothing_else(project):
    """Fingerprints stay, the index follows, and nothing becomes stale."""
    before, indexed = files(project), sorted((project / "sm-1km-daily/index").rglob("*.parquet"))
    run(project, "index", "--workers", 1)
    run(project, "audit", "--repair", "--workers", 1, code=1)
    left = json.loads(run(project, "audit", "--json", "--workers", 1, code=1).stdout)
    assert {one["kind"] for one in left} == {"stale"}
    after = files(project)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {*OLD_OUTLINES, *LACKING}
    for name in OLD_OUTLINES:
        old, new = json.loads(before[name]), json.loads(after[name])
        assert {**old, "geometry": None} == {**new, "geometry": None}
        outline, was = shape(new["geometry"]), shape(old["geometry"])
        assert outline.exterior.is_ccw
        assert outline.hausdorff_distance(was) < 1e-3
        assert list(outline.bounds) == new["bbox"] == list(was.bounds)
    assert planned(project) == (PLAN, STALE)
    assert indexed
    for row in open_catalog(project).items("sm-1km-daily"):
        assert shape(row.geometry).exterior.is_ccw


def test_status_reads_the_plan_and_the_log_of_its_run(project):
    status = json.loads(run(project, "status", "--json").stdout)
    assert (status["plan"], status["done"], status["missing"]) == (old_plan(project).stem, 3, 0)
    (record,) = json.loads(run(project, "status", next(iter(PRODUCTS))).stdout)
    assert record["outcomes"] == {"new": 1}


def test_a_run_of_the_plan_that_the_products_were_made_by_does_nothing(project):
    before = files(project)
    assert made(project, old_plan(project)) == NOTHING | {"tasks": 3, "done": 3}
    after = files(project)
    assert {name: after[name] for name in before} == before
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"runs"}


@pytest.mark.parametrize("source", EXPECTED["ingest"])
def test_the_same_granules_replace_nothing(project, source):
    before = files(project)
    told = json.loads(run(project, "ingest", source, FIXTURE / "granules" / source, "--json", "--workers", 1).stdout)
    counts: dict[str, int] = {}
    for result in told:
        for outcome, count in result["items"].items():
            counts[outcome] = counts.get(outcome, 0) + count
    assert counts == {INGESTED: sum(EXPECTED["ingest"][source].values())}
    if INGESTED == "done":
        assert files(project) == before


def test_climatology_and_matchups_are_not_made_again_and_the_model_is_once(project):
    """Version 3 of the stage that trains and screens: see `SCREENED`."""
    before = files(project)
    for mean in json.loads(run(project, "climatology", "--json", "--workers", 1).stdout):
        assert (mean["new"], mean["replaced"]) == (0, 0), mean
    assert not json.loads(run(project, "matchup", "--json", "--workers", 1).stdout)["new"]
    assert files(project) == before
    train = json.loads(run(project, "train", "--json", "--workers", 1).stdout)
    assert (train["model"] != MODEL["id"], train["new"]) == (True, True)
    audit = ("audit", "ismn-stations", "sm-models", "--json", "--workers", 1)
    assert {one["kind"] for one in json.loads(run(project, *audit, code=1).stdout)} == {"collection"}
    before = files(project)
    assert not json.loads(run(project, "train", "--json", "--workers", 1).stdout)["new"]
    assert files(project) == before


COMMANDS = {
    "month": ["annual", "2019-03", "--monthly", "--tiles", "h01v01"],
    "year": ["annual", "2019", "--tiles", "h01v01"],
    "mosaic": ["mosaic"],
}
"""The commands that made the aggregates."""


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_aggregates_are_made_again_at_most_once(project, command):
    before = files(project)
    found = json.loads(run(project, *command, "--json").stdout)
    assert {one["outcome"] for one in found} == {AGGREGATED}
    after = json.loads(run(project, *command, "--json").stdout)
    assert {one["outcome"] for one in after} == {"done"}
    opened = read_project(project)
    left = {Path(one.path).stem for one in stale_aggregates(opened.catalog, opened.grid)}
    assert not left & {one["id"] for one in found}
    if AGGREGATED == "done":
        assert files(project) == before


def test_the_validation_is_made_again_once(project):
    assert json.loads(run(project, "validate", "--json").stdout)["outcome"] == VALIDATED
    before = files(project)
    assert json.loads(run(project, "validate", "--json").stdout)["outcome"] == "done"
    assert files(project) == before


# --- what is there means the same ----------------------------------------------------------------------------------


def test_every_item_is_found_with_its_fingerprint():
    catalog = open_catalog(FIXTURE / "project")
    found = {
        id: {item.id: item.properties["stac_sm:fingerprint"] for item in catalog.items(id)}
        for id in catalog.collections
    }
    assert {id: items for id, items in found.items() if items} == EXPECTED["fingerprints"]


def test_the_model_predicts_the_same_bits():
    model = Model.from_item(str(item_file(FIXTURE / "project", MODEL["id"])))
    assert (model.checksum, model.recipe.checksum) == (MODEL["checksum"], MODEL["recipe"])
    assert (model.intervals.checksum, model.applicability.checksum) == (MODEL["intervals"], MODEL["applicability"])
    assert [[member.weight, list(member.features)] for member in model.members] == MODEL["members"]
    columns = {name: floats(text) for name, text in MODEL["rows"].items()}
    predicted, half_width = model.predict_with_half_width(columns)
    for found, text in ((predicted, "predicted"), (half_width, "half_width"), (model.predict(columns), "predicted")):
        np.testing.assert_array_equal(found.view(np.uint32), floats(MODEL[text]).view(np.uint32), err_msg=text)
    outside = model.applicability.outside(columns)
    assert np.packbits(outside).tobytes().hex() == MODEL["outside"]
    assert 0 < outside.sum() < outside.size


def test_a_product_that_is_lost_is_made_again_with_the_same_pixels(project):
    """Nothing is taken from what was there: inputs are read, predicted and written again."""
    lost, plan = "SM1KM.A2019062.h01v01.v001", project.parent / "plan.parquet"
    before = item_file(project, lost).read_bytes()
    shutil.rmtree(item_file(project, lost).parent)
    assert planned(project)[0] == PLAN | {"new": 1, "stale": PLAN["stale"] - 1}
    run(project, "plan", "--out", plan)
    assert made(project, plan) == NOTHING | {"tasks": 3, "new": 1, "replaced": 2}  # profile 2
    item, old = json.loads(item_file(project, lost).read_text()), json.loads(before)
    parts = item["properties"]["stac_sm:parts"]
    assert parts | {"output": None} == EXPECTED["parts"][lost] | {"output": None}
    assert parts["output"] != EXPECTED["parts"][lost]["output"]
    for id in PRODUCTS:
        found = pixels(item_file(project, id))
        assert {key: found[key] for key in EXPECTED["pixels"][id]} == EXPECTED["pixels"][id]
    assert (item["links"], item["properties"]["stac_sm:pixels"]) == (old["links"], old["properties"]["stac_sm:pixels"])
    assert planned(project) == (PLAN | {"done": 3, "stale": 0}, [])


GRANULES = FIXTURE / "granules"
MAKERS = {
    "ismn-stations": ["ingest", "ismn", GRANULES / "ismn"],
    **{name: ["ingest", name, GRANULES / name] for name in EXPECTED["ingest"] if name != "ismn"},
    "climatology": ["climatology"],
    "matchups": ["matchup"],
    "sm-1km-monthly": COMMANDS["month"],
    "sm-1km-annual": COMMANDS["year"],
    "sm-1km-daily-global": COMMANDS["mosaic"],
    "validation": ["validate"],
}
"""What makes the items of a collection; models are left out, since another version of XGBoost may train another."""


@pytest.mark.parametrize("collection", MAKERS)
def test_what_is_lost_is_made_again_with_the_same_values(project, collection):
    """A change of values without a change of fingerprints shows here."""
    before = held(project, collection)
    for file in items(project, collection):
        shutil.rmtree(project / file.parent)
    run(project, *MAKERS[collection])
    after = held(project, collection)
    assert before.keys() == after.keys() == EXPECTED["fingerprints"][collection].keys()
    for id in before:
        if collection == "validation":  # another version: see VALIDATED
            assert after[id][0] != before[id][0]
            kept = {key: after[id][1][key] for key in before[id][1]}
            old = before[id][1]
            old["metrics"].pop("notes")  # since version 4 they name products as readers do
            kept["metrics"] = {key: kept["metrics"][key] for key in old["metrics"]}  # others are new
            assert kept == old
        elif AGGREGATED != "done" and collection in ("sm-1km-monthly", "sm-1km-annual", "sm-1km-daily-global"):
            assert after[id][0] != before[id][0]
            assert {key: after[id][1][key] for key in before[id][1]} == before[id][1]
        else:
            assert after[id] == before[id], id


@pytest.mark.parametrize("id", PRODUCTS)
def test_products_decode_to_the_same_pixels(id):
    assert pixels(item_file(FIXTURE / "project", id)) == EXPECTED["pixels"][id]


# --- and it is noticed when something changes ----------------------------------------------------------------------


def test_a_changed_input_makes_the_products_stale(project):
    file = item_file(project, "GLASS06A01.V01.A2019062.h18v06")
    item = json.loads(file.read_text())
    item["assets"]["lst"]["bands"][0]["raster:scale"] = 0.02
    file.write_text(json.dumps(item))
    counts, told = planned(project)
    assert counts == PLAN | {"done": 0, "stale": 3}
    assert "stale: 3 tile-days, changed: inputs" in told
    findings = json.loads(run(project, "audit", "--json", "--workers", 1, code=1).stdout)
    assert {finding["path"].split("/")[-2] for finding in findings if finding["kind"] == "stale"} >= set(PRODUCTS)
