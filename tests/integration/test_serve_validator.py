"""stac-api-validator holds the API to every conformance class that it claims."""

from __future__ import annotations

import json
import subprocess
import sys

from stac_sm.serve.documents import CONFORMANCE
from stac_sm.stac.items import item_folder
from tests.support.checkout import ROOT
from tests.support.served import LAYOUTS, made_catalog, made_items, running

SCRIPT = ROOT / "tests/support/api_validator.py"
CLASSES = (
    "core", "collections", "features", "item-search", "filter", "item-search#fields", "item-search#sort",
    "item-search#query",
    "features#fields", "features#sort",
)  # fmt: skip
QUERY = {
    "comparison-field": "eo:cloud_cover", "eq-value": "5", "neq-value": "5", "lt-value": "50", "lte-value": "50",
    "gt-value": "50", "gte-value": "50", "substring-field": "platform", "starts-with-value": "Sent",
    "ends-with-value": "a", "contains-value": "qu", "in-field": "mission", "in-values": "a,b",
}  # fmt: skip
"""What the validator asks by the Query extension. It takes the value that `in` asks for as a set of letters."""
UNKNOWN = {
    "https://api.stacspec.org/v0.3.0/aggregation", "https://api.stacspec.org/v1.0.0-rc.1/collection-search",
    "https://api.stacspec.org/v1.0.0-rc.1/collection-search#free-text",
}  # fmt: skip
"""To the validator; tests/serve/test_app.py holds them against plain counts, and pystac-client."""


def test_filter_classes_have_the_names_of_the_standard():
    """OGC 21-065r2; each is held by tests/serve/test_search.py."""
    present = {
        "cql2-text", "cql2-json", "basic-cql2", "advanced-comparison-operators", "case-insensitive-comparison",
        "basic-spatial-functions", "basic-spatial-functions-plus", "spatial-functions", "temporal-functions",
    }  # fmt: skip
    names = {one.rpartition("/")[2] for one in CONFORMANCE if "/cql2/1.0/conf/" in one}
    assert names - {"basic-spatial-operators", "temporal-operators"} == present
    assert len(CONFORMANCE) == len(set(CONFORMANCE))


def test_no_class_of_stac_api_is_claimed_without_being_validated():
    claimed = {one.rpartition("/")[2] for one in CONFORMANCE if "api.stacspec.org" in one and one not in UNKNOWN}
    named = {one.replace("ogcapi-features", "features").replace("item-search#filter", "filter") for one in claimed}
    assert named == set(CLASSES)


def test_every_class_that_is_claimed(tmp_path):
    items, root = made_items(300), tmp_path / "catalog"
    for number, item in enumerate(items):  # what its filters ask for; a property that no item has would be refused
        item["properties"] |= {"eo:cloud_cover": number % 100, "mission": "abc"[number % 3]}
    made_catalog(root, items)
    for item in items:  # the validator opens them
        folder = root / item_folder(LAYOUTS[item["collection"]], item)
        (folder / item["assets"]["sm"]["href"]).write_bytes(b"pixels")
    world = {"type": "Polygon", "coordinates": [[[-179, -89], [179, -89], [179, 89], [-179, 89], [-179, -89]]]}
    with running(root) as address:
        command = [sys.executable, SCRIPT, "--root-url", address, "--collection", "daily"]
        command += ["--geometry", json.dumps(world), "--fields-nested-property", "properties.platform"]
        command += [part for name, value in QUERY.items() for part in (f"--query-{name}", value)]
        command += [part for name in CLASSES for part in ("--conformance", name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("INFO")]
    assert done.returncode == 0, "\n".join(report)[-3000:]
    assert "Errors: none" in report
