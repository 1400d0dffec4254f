"""Coast lines: where the land of the product ends, and drawn where a map in degrees shows them."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from stac_sm.raster.coast import coast_lines, draw_coast


def test_lines_are_on_the_earth_and_none_crosses_the_antimeridian_or_the_pole():
    lines = coast_lines()
    points = np.concatenate(lines)
    assert len(lines) > 1000
    assert np.abs(points[:, 0]).max() <= 180.01
    assert points[:, 1].min() > -89
    assert points[:, 1].max() < 84
    assert max(np.abs(np.diff(line[:, 0])).max() for line in lines) < 10


def test_capes_are_where_they_are():
    """Within 8 km of the places that atlases give, at 1:50 million."""
    points = np.concatenate(coast_lines())
    for lon, lat in ((18.473, -34.358), (-5.610, 36.001), (77.551, 8.078), (142.531, -10.687), (25.672, 71.186)):
        east, north = (points[:, 0] - lon) * np.cos(np.radians(lat)), points[:, 1] - lat
        assert np.hypot(east, north).min() * 111 < 8, (lon, lat)


def test_what_axes_show_is_drawn_and_their_limits_stay():
    axes = Figure().subplots()
    axes.set(xlim=(7, 10), ylim=(43, 45))
    draw_coast(axes)
    (drawn,) = axes.collections
    assert 1 <= len(drawn.get_paths()) < 40
    assert (axes.get_xlim(), axes.get_ylim()) == ((7, 10), (43, 45))
