"""Define the colours of soil moisture: one colour map and one range for every picture.

Thumbnails and pictures of the product, figures (`raster.plots`), served tiles and the pictures of the README use this
table, so a colour means the same value in all of them.
"""

from __future__ import annotations

import numpy as np

SOIL_MOISTURE_RANGE = (0.05, 0.45)
"""Soil moisture at the first and the last colour, m3 m-3. Values outside have the colour of the nearer end."""

_ANCHORS = (
    "fee838", "efd748", "ddc858", "ccba64", "bbad6d", "aaa073", "9a9376", "8b8778", "7c7c78", "6f7073", "61656f",
    "535a6d", "434e6c", "32436d", "1a386f", "002e6a", "00224e",
)  # fmt: skip


def _table() -> np.ndarray:
    anchors = np.array([list(bytes.fromhex(colour)) for colour in _ANCHORS], float)
    at = np.linspace(0, len(anchors) - 1, 256)
    bands = [np.interp(at, np.arange(len(anchors)), anchors[:, band]) for band in range(3)]
    table = np.stack(bands, axis=1).round().astype(np.uint8)
    table.flags.writeable = False
    return table


SOIL_MOISTURE_COLOURS = _table()
"""(256, 3) uint8, red, green, blue: from dry (light yellow) to wet (dark blue).

Sampled from cividis, reversed (Nuñez, Anderton & Renslow 2018, doi:10.1371/journal.pone.0199239): even in lightness,
and the same to people with and without a colour vision deficiency.
"""


def soil_moisture_picture(sm: np.ndarray) -> np.ndarray:
    """Return the colours of soil moisture.

    Parameters
    ----------
    sm
        (y, x) float, m3 m-3, NaN where there is no value.

    Returns
    -------
    numpy.ndarray
        (y, x, 4) uint8, red, green, blue, alpha; transparent where NaN.
    """
    low, high = SOIL_MOISTURE_RANGE
    known = ~np.isnan(sm)
    at = np.clip((np.where(known, sm, low) - low) * (256 / (high - low)), 0, 255).astype(np.uint8)
    return np.dstack([SOIL_MOISTURE_COLOURS[at], np.where(known, np.uint8(255), np.uint8(0))])
