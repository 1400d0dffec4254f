"""How long it takes to encode the rasters of a tile-day as COG: our encoder beside GDAL's COG driver.

python tests/benchmarks/encoder.py --json

Both write the same arrays of 1200 x 1200 pixels, soil moisture (float32) and flags (uint8), of several roughnesses and
shares of gaps, in turn; then every level of both files is compared, and rio-cogeo validates ours strictly. CPU seconds
of the process, medians."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import rasterio
from rio_cogeo import cog_validate
from scipy.ndimage import gaussian_filter

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.product.item import QA_PROFILE, SM_PROFILE
from stac_sm.raster import cog
from stac_sm.raster.cog import CogProfile, write_cog
from stac_sm.stac.items import software_of_items

GEOBOX = MODIS_SINUSOIDAL_1KM.geobox("h18v04")
CASES = {"smooth, no gaps": (20.0, 0.0), "28 % gaps": (12.0, 0.28), "rough, 60 % gaps": (2.0, 0.6)}


def arrays(blur: float, gaps: float) -> list[tuple[np.ndarray, CogProfile]]:
    """Return soil moisture and flags of a tile."""
    random = np.random.default_rng(1)
    field, holes = (gaussian_filter(random.standard_normal(GEOBOX.shape), width) for width in (blur, 30))
    sm = np.clip(0.25 + 0.08 * field / field.std() + 0.01 * random.standard_normal(GEOBOX.shape), 0, 0.6)
    sm = np.where(holes < np.quantile(holes, gaps), np.nan, sm).astype(np.float32)
    qa = np.where(np.isnan(sm), np.uint8(4), np.where(sm > 0.35, np.uint8(8), np.uint8(0)))
    return [(sm, SM_PROFILE), (qa, QA_PROFILE)]


def seconds(rasters: list[tuple[np.ndarray, CogProfile]], folder: Path, name: str) -> float:
    """Write the rasters of a tile-day; return CPU seconds."""
    start = time.process_time()
    for i, (values, profile) in enumerate(rasters):
        write_cog(values, folder / f"{name}{i}.tif", geobox=GEOBOX, profile=profile)
    return time.process_time() - start


def levels(file: Path) -> list[np.ndarray]:
    """Return the decoded values of all levels."""
    with rasterio.open(file) as opened:
        found, count = [opened.read(1)], len(opened.overviews(1))
    for i in range(count):
        with rasterio.open(file, overview_level=i) as opened:
            found.append(opened.read(1))
    return found


def compared(blur: float, gaps: float, repeats: int) -> dict[str, object]:
    """Return medians of both, their ratio, sizes, and whether all levels are equal."""
    rasters, times = arrays(blur, gaps), {"ours": [0.0], "gdal": [0.0]}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for _ in range(repeats + 1):  # the first is not counted
            for name in times:
                with mock.patch.object(cog, "can_encode", cog.can_encode if name == "ours" else lambda *_, **__: False):
                    times[name].append(seconds(rasters, folder, name))
        same = all(
            np.array_equal(ours, theirs)
            for i in range(len(rasters))
            for ours, theirs in zip(levels(folder / f"ours{i}.tif"), levels(folder / f"gdal{i}.tif"), strict=True)
        )
        strict = all(cog_validate(folder / f"ours{i}.tif", strict=True)[0] for i in range(len(rasters)))
        sizes = {name: sum(file.stat().st_size for file in folder.glob(f"{name}*.tif")) for name in times}
    ours, gdal = (statistics.median(times[name][2:]) for name in ("ours", "gdal"))
    checked = {"same_values": same, "strict_cog": strict}
    figures = {"ours_cpu_s": round(ours, 4), "gdal_cpu_s": round(gdal, 4), "saved": round(1 - ours / gdal, 3)}
    return figures | {"ours_bytes": sizes["ours"], "gdal_bytes": sizes["gdal"]} | checked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = {name: compared(*settings, asked.repeats) for name, settings in CASES.items()}
    if asked.json:
        print(json.dumps({"software": dict(software_of_items()), "cases": found}, indent=2))
        return
    for name, figures in found.items():
        print(name, *(f"{key} {value}" for key, value in figures.items()), sep="  ")


if __name__ == "__main__":
    main()
