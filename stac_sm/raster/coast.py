"""Draw coast lines on maps: Natural Earth, 1:50m, shipped with the package.

Maps of the product, of stations and of other products call `draw_coast`. `tests/tools/coast_lines.py` makes the data.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files
from typing import Any

import numpy as np

from stac_sm.core.arrays import Float64Array

_STYLE = {"colors": "#333333", "linewidths": 0.6}


@cache
def coast_lines() -> tuple[Float64Array, ...]:
    """Return the coast lines of the Earth.

    Returns
    -------
    tuple of numpy.ndarray
        Lines, each of shape (point, 2): degrees east and north. None crosses the antimeridian. They are exact to
        0.004 degrees, at a scale of 1:50 million.
    """
    with as_file(files("stac_sm.raster").joinpath("coast_lines.npz")) as path, np.load(path) as packed:
        points = np.cumsum(packed["differences"].T, axis=0) * float(packed["step"])
        ends = np.cumsum(packed["lengths"])[:-1]
    return tuple(np.split(points, ends))


def draw_coast(axes: Any) -> None:
    """Draw the coast lines that axes in degrees show; their limits stay.

    Parameters
    ----------
    axes
        Axes of matplotlib: x is degrees east, y is degrees north.
    """
    from matplotlib.collections import LineCollection

    (west, east), (south, north) = axes.get_xlim(), axes.get_ylim()
    shown = [
        line
        for line in coast_lines()
        if (line[:, 0].max() >= west and line[:, 0].min() <= east)
        and (line[:, 1].max() >= min(south, north) and line[:, 1].min() <= max(south, north))
    ]
    axes.add_collection(LineCollection(shown, zorder=1.5, **_STYLE), autolim=False)
    axes.set(xlim=(west, east), ylim=(south, north))
