"""Pictures of cubes: legible, true to their colours, the same bytes each time."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from stac_sm.errors import InputError
from stac_sm.plots import SUFFIXES, plot_cube


def cube_of(**fields):
    """A day of variables on a small grid, 10 km pixels."""
    y, x = np.arange(30) * -1e4, np.arange(40) * 1e4
    day = np.array(["2018-07-01"], dtype="datetime64[ns]")
    variables = {
        name: (("time", "y", "x"), np.broadcast_to(values, (1, 30, 40)), {"units": unit, "long_name": f"The {name}"})
        for name, (values, unit) in fields.items()
    }
    return xr.Dataset(variables, {"time": day, "y": y, "x": x})


RAMP = np.linspace(0.05, 0.45, 40)[None, None, :]
CUBE = cube_of(sm=(RAMP, "m3 m-3"), lst=(250 + 100 * RAMP, "K"), land=(RAMP > 0.1, "1"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_picture_is_written(tmp_path, suffix):
    file = tmp_path / f"cube{suffix}"
    plot_cube(CUBE, file, title="h18v04")
    assert file.read_bytes()[:4] in (b"\x89PNG", b"%PDF", b"<?xm")


def test_a_png_is_the_same_bytes_each_time(tmp_path):
    for name in ("a.png", "b.png"):
        plot_cube(CUBE, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_wet_is_dark_and_no_value_is_grey(tmp_path):
    values = np.where(np.arange(40)[None, None, :] < 20, 0.1, 0.4) + np.zeros((1, 30, 40))
    values[:, :5, :] = np.nan
    plot_cube(cube_of(sm=(values, "m3 m-3")), tmp_path / "sm.png")
    pixels = np.asarray(Image.open(tmp_path / "sm.png").convert("RGB")).astype(int)
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    most = colours[np.argsort(counts)][::-1][:4].tolist()
    assert [217, 217, 217] in most
    height, width = pixels.shape[:2]
    row = pixels[int(0.55 * height)]
    left, right = row[int(0.25 * width)], row[int(0.55 * width)]
    assert left.sum() > right.sum()


def test_a_variable_without_a_value_says_so(tmp_path):
    plot_cube(cube_of(sm=(np.nan, "m3 m-3")), tmp_path / "none.svg")
    assert (tmp_path / "none.svg").stat().st_size > 1000


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cube\.gif: a name that ends with \.png, \.pdf, \.svg wanted"):
        plot_cube(CUBE, tmp_path / "cube.gif")
