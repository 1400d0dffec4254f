"""The encoder of COGs: what GDAL's COG driver writes, level by level, is the oracle."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rio_cogeo.cogeo import cog_validate

from stac_sm.raster import cog, cog_encoder
from stac_sm.raster.cog import CogProfile, CogText, verify_cog, write_cog
from stac_sm.raster.cog_encoder import can_encode, own_fields

TEXT = CogText("Soil moisture", "m3 m-3", {"long_name": "of the upper 5 cm"}, {"PRODUCT": "SM1KM"})


def geobox_of(shape):
    return GeoBox(shape, Affine(0.01, 0, 5.0, 0, -0.01, 50.0), "EPSG:4326")


@st.composite
def cases(draw):
    """Arrays as we write them: odd sizes, several blocks and levels, gaps, blocks without a value, all types."""
    block = draw(st.sampled_from([128, 256, 512]))
    height, width = (draw(st.integers(1, 700)) for _ in range(2))
    if draw(st.booleans()):  # sides that overviews halve exactly
        height, width = -(-height // 16) * 16, -(-width // 16) * 16
    dtype = np.dtype(draw(st.sampled_from(["float32", "uint8", "int16", "uint16", "int32", "int8"])))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    if dtype.kind == "f":
        values = random.normal(0.25, 0.2, (height, width)).astype(dtype)
        nodata, hole, step = -9999.0, np.nan, draw(st.sampled_from([None, 2.0**-13]))
    else:
        ends = (0, 120) if dtype.kind == "u" else (-90, 120)
        values = random.integers(*ends, (height, width)).astype(dtype)
        nodata, step = draw(st.sampled_from([None, 125])), None
        hole = 0 if nodata is None else nodata
    values[random.random(values.shape) < draw(st.sampled_from([0.0, 0.4, 1.0]))] = hole
    values[: height // 2, : width // 2] = hole
    overviews = draw(st.sampled_from(["average", "mode", "nearest"]))
    level = draw(st.sampled_from([1, 6]))
    return values, CogProfile(nodata=nodata, step=step, overviews=overviews, block=block, level=level)


def levels(file):
    """Return the decoded values of every level, with their nodata and blocks."""
    with rasterio.open(file) as opened:
        found, count = [(opened.read(1), opened.nodata, opened.block_shapes)], len(opened.overviews(1))
    for i in range(count):
        with rasterio.open(file, overview_level=i) as opened:
            found.append((opened.read(1), opened.nodata, opened.block_shapes))
    return found


def head(file):
    with rasterio.open(file) as opened:
        tags = {space: opened.tags(ns=space) for space in ("", "IMAGE_STRUCTURE")}
        tags["IMAGE_STRUCTURE"].pop("OVERVIEW_RESAMPLING", None)  # GDAL 3.12 notes it for itself
        place = (opened.crs.to_wkt(), opened.transform, opened.dtypes, opened.scales, opened.offsets)
        return tags, opened.tags(1), opened.descriptions, opened.units, place


@given(cases())
def test_files_are_those_of_gdal_but_for_the_compressed_bytes(case):
    values, profile = case
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        ours, theirs = Path(folder, "ours.tif"), Path(folder, "theirs.tif")
        write_cog(values, ours, geobox=geobox_of(values.shape), profile=profile, text=TEXT)
        patch.setattr(cog, "can_encode", lambda *_, **__: False)
        write_cog(values, theirs, geobox=geobox_of(values.shape), profile=profile, text=TEXT)
        for (own, *rest), (other, *others) in zip(levels(ours), levels(theirs), strict=True):
            assert rest == others
            np.testing.assert_array_equal(own, other)
        assert head(ours) == head(theirs)
        assert cog_validate(ours, strict=True) == cog_validate(theirs, strict=True)  # of one column it finds faults
        verify_cog(values, ours, profile=profile)


def test_the_same_values_give_the_same_bytes(tmp_path):
    values = np.random.default_rng(0).normal(0.2, 0.1, (600, 512)).astype(np.float32)
    for name in ("one", "two"):
        write_cog(values, tmp_path / name, geobox=geobox_of(values.shape), profile=CogProfile(block=256), text=TEXT)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("kind", ["float32", "int16"])
def test_blocks_of_one_value_are_compressed_once(tmp_path, monkeypatch, kind):
    """Of 16 + 4 + 1 blocks, most are nodata; 0.0 is not -0.0, though the two are equal."""
    values, compressed, compress = np.full((512, 512), -99, kind), [], cog_encoder.deflate.zlib_compress
    values[3, 5], values[128:256, :128] = 7, 0
    if kind == "float32":
        values[128, :128] = -0.0
    monkeypatch.setattr(cog_encoder.deflate, "zlib_compress", lambda *given: compressed.append(1) or compress(*given))
    profile = CogProfile(nodata=-99, block=128)
    write_cog(values, tmp_path / "once", geobox=geobox_of(values.shape), profile=profile)
    assert len(compressed) == 3 + 2 + 1  # a hill, flat ground, nodata; both together, nodata; all of it
    monkeypatch.setattr(cog_encoder, "_same_bits", lambda values: False)
    write_cog(values, tmp_path / "each", geobox=geobox_of(values.shape), profile=profile)
    assert len(compressed) == 6 + 21
    assert (tmp_path / "once").read_bytes() == (tmp_path / "each").read_bytes()


def test_days_of_a_series_ask_gdal_once_for_their_fields(tmp_path, monkeypatch):
    made, fill = [], cog._fill
    monkeypatch.setattr(cog, "_fill", lambda *given: made.append(1) or fill(*given))
    cog._fields_of.cache_clear()
    for day in range(3):
        write_cog(np.full((30, 20), day, np.float32), tmp_path / f"{day}", geobox=geobox_of((30, 20)), text=TEXT)
    other = CogText(TEXT.band, TEXT.unit, TEXT.of_band, {**TEXT.of_file, "TIME_START": "2018-01-02"})
    write_cog(np.zeros((30, 20), np.float32), tmp_path / "other", geobox=geobox_of((30, 20)), text=other)
    assert len(made) == 2
    assert head(tmp_path / "0") == head(tmp_path / "2") != head(tmp_path / "other")


@pytest.mark.parametrize(
    ("shape", "dtype", "nodata", "overviews", "expected"),
    [
        ((1200, 1200), "float32", -9999.0, "average", True),
        ((1200, 1200), "uint8", None, "mode", True),
        ((1200, 1201), "uint8", None, "mode", False),  # GDAL weighs the pixels at the end of a row
        ((512, 511), "uint8", None, "mode", True),  # no overview
        ((1200, 1200), "float64", -9999.0, "average", False),
        ((1200, 1200), "float32", None, "average", False),
        ((1200, 1200), "float32", float("nan"), "average", False),
        ((1200, 1200), "uint8", None, "cubic", False),
    ],
)
def test_what_is_left_to_gdal(shape, dtype, nodata, overviews, expected):
    assert can_encode(np.zeros(shape, dtype), nodata=nodata, overviews=overviews, block=512) is expected


def test_fields_of_a_small_file_are_read(tmp_path):
    """Values behind the directory and values inside of it; the layout of its own pixel is left out."""
    write_cog(np.zeros((3, 3), np.float32), tmp_path / "a.tif", geobox=geobox_of((3, 3)), text=TEXT)
    found = own_fields((tmp_path / "a.tif").read_bytes())
    assert b"SM1KM" in found[42112][2]
    assert found[42113][2].startswith(b"-9999")
    assert not {256, 273, 322, 324, 339} & found.keys()
