"""Print the versions that decide bytes, and digests of the bytes and of the decoded values of a tile-day made here.

python tests/tools/product_digests.py

The fields are arithmetic, and the model is that of the frozen project tests/support/project_4977fae, so that any
environment makes the same. `tests/integration/test_other_versions.py` runs it with other versions."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import rasterio

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.model.model import Model
from stac_sm.product.item import ProductDay, write_product_assets
from stac_sm.stac.items import software_of_items

FIXTURE = Path(__file__).parents[1] / "support/project_4977fae"
TILE = "h18v04"


def predicted() -> np.ndarray:
    """Return what the stored model predicts of the stored rows, m3 m-3, float32."""
    stored = json.loads((FIXTURE / "expected.json").read_text())["model"]
    (item,) = (FIXTURE / "project").rglob(f"{stored['id']}/{stored['id']}.json")
    columns = {name: np.frombuffer(bytes.fromhex(text), "<f4").copy() for name, text in stored["rows"].items()}
    return Model.from_item(str(item)).predict(columns)


def fields(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return soil moisture and flags of a tile: the predicted values, repeated along slanted lines, with a gap."""
    rows, columns = np.mgrid[0:1200, 0:1200]
    sm = values[(rows * 7 + columns // 3) % values.size].astype(np.float32)
    sm[200:500, 300:900] = np.nan
    return sm, np.where(np.isnan(sm), np.uint8(128), (rows // 100 % 2).astype(np.uint8))


def decoded(file: Path) -> list[np.ndarray]:
    """Return the values of all bands and levels."""
    with rasterio.open(file) as opened:
        found, count = [opened.read()], len(opened.overviews(1))
    for level in range(count):
        with rasterio.open(file, overview_level=level) as opened:
            found.append(opened.read())
    return found


def main() -> None:
    values = predicted()
    digests = {"predicted": hashlib.sha256(values.tobytes()).hexdigest()}
    content = {}
    with tempfile.TemporaryDirectory() as folder:
        made = ProductDay(TILE, date(2018, 7, 1), "001", "")
        sm, qa = fields(values)
        width = (np.float32(0.25) * sm).astype(np.float32)
        geobox = MODIS_SINUSOIDAL_1KM.geobox(TILE)
        for key, asset in write_product_assets(sm, qa, geobox, Path(folder), made=made, uncertainty=width).items():
            content[key] = hashlib.sha256(asset.file.read_bytes()).hexdigest()
            pixels = b"".join(np.ascontiguousarray(one).tobytes() for one in decoded(asset.file))
            digests[key] = hashlib.sha256(pixels).hexdigest()
    software = {"Python": sys.version.split()[0], **software_of_items()}
    print(json.dumps({"software": software, "decoded": digests, "bytes": content}))


if __name__ == "__main__":
    main()
