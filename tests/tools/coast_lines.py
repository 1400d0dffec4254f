"""Convert the land of Natural Earth 1:50m into the coast lines that maps draw.

Run: ``npm pack world-atlas`` in a folder, unpack it there, then ``python tests/tools/coast_lines.py FOLDER/package``.
It writes ``coast_lines.npz`` beside `stac_sm/raster/coast.py`: pieces of the coast, as differences of whole steps of
longitude and latitude. Edges that are no coast, along the antimeridian and at the South Pole, are left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parents[2] / "stac_sm" / "raster" / "coast_lines.npz"
STEP = 0.004
"""Degrees: some 400 m, finer than the scale of the data."""


def pieces(topology: dict) -> list[np.ndarray]:
    """Polylines in degrees, shape (point, 2), without edges that are no coast."""
    scale, offset = np.array(topology["transform"]["scale"]), np.array(topology["transform"]["translate"])
    found = []
    for arc in topology["arcs"]:
        line = np.cumsum(np.array(arc, dtype=float), axis=0) * scale + offset
        along_edge = (np.abs(line[:, 0]) > 179.99) | (line[:, 1] < -89.9)
        across = np.abs(np.diff(line[:, 0])) > 180
        cut = np.flatnonzero((along_edge[:-1] & along_edge[1:]) | across) + 1
        found += [part for part in np.split(line, cut) if len(part) > 1]
    return found


def packed(lines: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Lengths of the lines, and differences of whole steps between their points; points that fall together are one."""
    steps = [np.round(line / STEP).astype(np.int32) for line in lines]
    steps = [one[np.r_[True, (np.diff(one, axis=0) != 0).any(axis=1)]] for one in steps]
    steps = sorted((one for one in steps if len(one) > 1), key=lambda one: tuple(one[0]))
    points = np.concatenate(steps)
    return {
        "step": np.array(STEP),
        "lengths": np.array([len(one) for one in steps], dtype=np.int32),
        "differences": np.diff(points, axis=0, prepend=np.zeros((1, 2), np.int32)).T.astype(np.int32),
    }


if __name__ == "__main__":
    content = packed(pieces(json.loads(Path(sys.argv[1], "land-50m.json").read_text())))
    np.savez_compressed(TARGET, allow_pickle=False, **content)
    print(f"{TARGET}: {TARGET.stat().st_size} bytes, {len(content['lengths'])} lines")
