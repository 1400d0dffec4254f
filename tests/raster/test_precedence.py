"""Which of several items counts: the finer one, then the newer version, whatever they are called."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stac_sm.core.projections import SINUSOIDAL
from stac_sm.raster.precedence import Precedence, in_precedence, precedence_levels, precedence_of
from stac_sm.raster.resample import TargetPixels, pixel_lookup, regrid, source_window
from tests.support.examples import examples
from tests.support.fields import box


@dataclass(frozen=True)
class Item:
    item_id: str
    precedence: Precedence


def pixels(size, crs="EPSG:4326", height=None):
    return box(crs, 0, 0, size, (4, 5), height)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((pixels(0.1), ""), (pixels(0.25), "")),  # ERA5-Land before ERA5
        ((pixels(9008.055, "EPSG:6933"), "18290"), (pixels(36032.22, "EPSG:6933"), "19240")),  # SMAP: 9 km before 36 km
        ((pixels(463.3127, SINUSOIDAL), "50"), (pixels(926.6254, SINUSOIDAL), "60")),
        ((pixels(0.1), ""), (pixels(36032.22, "EPSG:6933"), "")),  # degrees and metres
        ((pixels(926.6254, SINUSOIDAL), "60"), (pixels(926.6254, SINUSOIDAL), "50")),  # GLASS
        ((pixels(0.25), "08.1"), (pixels(0.25), "07.1")),
        ((pixels(0.25), "8.10"), (pixels(0.25), "8.9")),
        ((pixels(0.25), "60.1"), (pixels(0.25), "60")),
        ((pixels(0.25), "1"), (pixels(0.25), "")),
    ],
)
def test_the_finer_one_counts_first_then_the_newer_version(first, second):
    one, two = (precedence_of(*item) for item in (first, second))
    assert one < two
    for ids in ("AB", "BA"):
        found = in_precedence([Item(ids[0], two), Item(ids[1], one)])
        assert [item.precedence for item in found] == [one, two]
        assert precedence_levels(found) == [0, 1]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ((pixels(1 / 1200, height=1 / 1200), ""), (pixels(1 / 600, height=1 / 1200), "")),  # Copernicus, 40 N and 60 N
        ((pixels(926.625433, SINUSOIDAL), "06"), (pixels(926.6254331387267, SINUSOIDAL), "6")),
    ],
)
def test_tiles_of_one_product_are_equal(one, two):
    assert precedence_of(*one) == precedence_of(*two)
    found = in_precedence([Item("B", precedence_of(*one)), Item("A", precedence_of(*two))])
    assert [item.item_id for item in found] == ["A", "B"]
    assert precedence_levels(found) == [0, 0]


@settings(max_examples=examples(60), deadline=None)
@given(
    resampling=st.sampled_from(["nearest", "bilinear", "average"]),
    levels=st.lists(st.integers(0, 3), min_size=1, max_size=5).map(sorted),
    seed=st.integers(0, 99),
)
def test_a_level_fills_only_what_those_before_left(resampling, levels, seed):
    """The oracle regrids each level by itself, and takes the first one that has a value."""
    rng, target = np.random.default_rng(seed), TargetPixels(box("EPSG:4326", 0, 0, 1, (6, 7)))
    sources = [box("EPSG:4326", *rng.integers(-2, 3, 2), rng.choice([0.5, 1, 2]), (9, 9)) for _ in levels]
    windows, lookups, kept = [], [], []
    for level, source in zip(levels, sources, strict=True):
        if (window := source_window(source, target)) is not None:
            values = rng.uniform(0, 1, (9, 9)).astype(np.float32)
            values[rng.uniform(size=values.shape) < 0.4] = np.nan
            windows.append(values[window])
            lookups.append(pixel_lookup(source, window, target, resampling))
            kept.append(level)
    wanted = np.full(target.shape, np.nan, np.float32)
    for level in sorted(set(kept)):
        of_level = [at for at, one in enumerate(kept) if one == level]
        alone = regrid(target.shape, [windows[at] for at in of_level], [lookups[at] for at in of_level], resampling)
        wanted = np.where(np.isnan(wanted), alone, wanted)
    np.testing.assert_array_equal(regrid(target.shape, windows, lookups, resampling, kept), wanted)
