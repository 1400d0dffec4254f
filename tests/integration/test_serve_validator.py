"""stac-api-validator holds the API to every conformance class that it claims."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from served import LAYOUTS, made_catalog, made_items, running

from stac_sm.items import item_folder

SCRIPT = Path(__file__).with_name("api_validator.py")
CLASSES = (
    "core", "collections", "features", "item-search", "filter", "item-search#fields", "item-search#sort",
    "features#fields", "features#sort",
)  # fmt: skip


def test_every_class_that_is_claimed(shared, tmp_path):
    items, root = made_items(300), tmp_path / "catalog"
    made_catalog(root, items)
    for item in items:  # the validator opens them
        folder = root / item_folder(LAYOUTS[item["collection"]], item)
        (folder / item["assets"]["sm"]["href"]).write_bytes(b"pixels")
    world = {"type": "Polygon", "coordinates": [[[-179, -89], [179, -89], [179, 89], [-179, 89], [-179, -89]]]}
    with running(root) as address:
        command = [sys.executable, SCRIPT, shared / "schemas", "--root-url", address, "--collection", "daily"]
        command += ["--geometry", json.dumps(world), "--fields-nested-property", "properties.platform"]
        command += [part for name in CLASSES for part in ("--conformance", name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("INFO")]
    assert done.returncode == 0, "\n".join(report)[-3000:]
    assert "Errors: none" in report
