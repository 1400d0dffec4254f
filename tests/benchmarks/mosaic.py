"""Time and memory of a global day: 43,200 x 21,600 pixels from tiles that all hold one field.

python tests/benchmarks/mosaic.py --tiles 300
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.land import land_tiles
from stac_sm.product.item import SM_PROFILE
from stac_sm.raster.cog import rounded
from stac_sm.raster.mosaic_cog import degree_mean_overview, write_mosaic_cog


def field() -> np.ndarray:
    """A tile that compresses like soil moisture: smooth, with noise of 0.002 m3 m-3, a third of it sea."""
    rows, columns = np.mgrid[:1200, :1200]
    smooth = (
        0.25 + 0.1 * np.sin(rows / 90) * np.cos(columns / 130) + np.random.default_rng(0).normal(0, 0.002, (1200, 1200))
    )
    return rounded(np.where(rows + columns < 800, np.nan, smooth).astype(np.float32), SM_PROFILE.step or 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=300)
    wanted = land_tiles(MODIS_SINUSOIDAL_1KM)[: parser.parse_args().tiles]
    values, before, started = field(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="stac-sm-") as folder:
        file = Path(folder, "sm.tif")
        arrays = {tile: lambda: values for tile in wanted}
        valid = write_mosaic_cog(arrays, MODIS_SINUSOIDAL_1KM, file, SM_PROFILE, "float32", progress=lambda: None)
        written = time.monotonic() - started
        coarse, _ = degree_mean_overview(file, MODIS_SINUSOIDAL_1KM)
        size = file.stat().st_size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures = {
        "tiles": len(wanted),
        "pixels with a value": valid,
        "cells of the overview": int((~np.isnan(coarse)).sum()),
        "GB": round(size / 1e9, 3),
        "seconds of the COG, proven": round(written, 1),
        "seconds of the overview": round(time.monotonic() - started - written, 1),
        "peak MiB": peak >> 10,
        "MiB before": before >> 10,
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
