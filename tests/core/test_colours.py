"""The one colour map of soil moisture: even in lightness, and the same in thumbnails, figures and tiles."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from stac_sm.core.colours import SOIL_MOISTURE_COLOURS, SOIL_MOISTURE_RANGE, soil_moisture_picture
from stac_sm.raster.plots import _NO_VALUE, _panel


def test_the_colours_of_soil_moisture_are_even_in_lightness():
    """Even steps, one way: what perceptually uniform means."""
    rgb = SOIL_MOISTURE_COLOURS[::8] / 255
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722])
    steps = np.diff(lightness)
    assert (steps < 0).all()
    assert steps.std() < 0.25 * abs(steps.mean())


SEEN = {
    "all colours": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Linear red, green, blue as people see them: protanopia, deuteranopia, tritanopia by Machado, Oliveira & Fernandes
(2009), doi:10.1109/TVCG.2009.113, severity 1.0."""


def seen_in_lab(rgb, eye):
    """Colours as an eye sees them, in CIELAB: a distance of 2.3 is just noticeable."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    linear = np.clip(linear @ np.transpose(SEEN[eye]), 0, 1)
    xyz = linear @ np.transpose([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = xyz / [0.9505, 1.0, 1.089]
    x, y, z = np.moveaxis(np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@pytest.mark.parametrize("eye", SEEN)
def test_every_eye_tells_values_and_gaps_apart(eye):
    """Simulated colour vision deficiencies: lightness falls, steps are even, nothing looks like "no value"."""
    lab = seen_in_lab(SOIL_MOISTURE_COLOURS / 255, eye)
    assert (np.diff(lab[::8, 0]) < 0).all()
    steps = np.linalg.norm(np.diff(lab[::16], axis=0), axis=1)  # 0.025 m3 m-3 each
    assert steps.min() > 2.3
    assert steps.max() < 4 * steps.min()  # CIELAB stretches light yellows
    gap = seen_in_lab(np.array(to_rgb(_NO_VALUE)), eye)
    assert np.linalg.norm(lab - gap, axis=1).min() > 5 * 2.3


def test_red_and_green_of_another_map_would_not_pass():
    """The measure sees what it is for: a ramp from red to green is one colour to an eye without green."""
    ramp = colormaps["RdYlGn"](np.linspace(0, 1, 17))[:, :3]
    lab = {eye: seen_in_lab(ramp, eye) for eye in ("all colours", "no green")}
    apart = {eye: np.linalg.norm(one[2] - one[-3]) for eye, one in lab.items()}
    assert apart["all colours"] > 80
    assert apart["no green"] < 0.5 * apart["all colours"]


def test_figures_and_pictures_give_a_value_the_same_colour():
    low, high = SOIL_MOISTURE_RANGE
    values = np.tile(np.linspace(low - 0.1, high + 0.1, 700), (2, 1))
    figure, places = Figure(), {"y": [1.0, 0.0], "x": np.arange(700.0)}
    field = xr.DataArray(values, places, ("y", "x"), attrs={"units": "m3 m-3"}, name="sm")
    axes = figure.subplots()
    _panel(figure, axes, field, "")
    drawn = axes.images[0].to_rgba(values, bytes=True)
    picture = soil_moisture_picture(values)
    different = (drawn != picture).any(axis=2)
    assert different.sum() <= 8  # values that lie on the edge of two colours, by rounding
    assert np.abs(drawn.astype(int) - picture).max() <= 9


def test_no_value_is_transparent_and_ends_keep_their_colour():
    low, high = SOIL_MOISTURE_RANGE
    picture = soil_moisture_picture(np.array([[np.nan, low, -1.0, high, 9.0]], np.float32))
    assert picture[0, :, 3].tolist() == [0, 255, 255, 255, 255]
    assert picture[0, 1:, :3].tolist() == [SOIL_MOISTURE_COLOURS[i].tolist() for i in (0, 0, 255, 255)]
