"""The one colour map of soil moisture: even in lightness, and the same in thumbnails, figures and tiles."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from stac_sm.core.colours import SOIL_MOISTURE_COLOURS, SOIL_MOISTURE_RANGE, soil_moisture_picture
from stac_sm.raster.plots import _panel


def test_the_colours_of_soil_moisture_are_even_in_lightness():
    """Even steps, one way, also to eyes that see no red: what colour-blind-safe and perceptually uniform mean."""
    rgb = SOIL_MOISTURE_COLOURS[::8] / 255
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722])
    steps = np.diff(lightness)
    assert (steps < 0).all()
    assert steps.std() < 0.25 * abs(steps.mean())


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
