"""GLASS: stored integers, scale, fill and place of real HDF4-EOS arrive unchanged, and wrong files are named."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from source_files import (
    MOD11A1,
    asset_href,
    ingested,
    new_catalog,
    placed,
    positions,
    real_data,
    structure,
    write_hdf,
    write_lai,
    write_lst,
)

from stac_sm.errors import GranuleError
from stac_sm.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.ingest import ingest
from stac_sm.sources.glass import GlassLai, GlassLst


def stored(path, name):
    from pyhdf.SD import SD

    file = SD(str(path))
    values = file.select(name).get()
    file.end()
    return values


def only(source, path):
    (granule,) = source.scan(path).granules
    return granule


@real_data
def test_a_real_modis_tile_under_a_glass_name(tmp_path):
    """No GLASS file may be had here: MOD11A1 is real HDF4-EOS on the same grid; its LST at half its scale is LST."""
    from pyhdf.SD import SD

    file = SD(str(MOD11A1))
    text, values = file.attributes()["StructMetadata.0"], file.select("LST_Day_1km").get() * 2
    file.end()
    path = tmp_path / "GLASS06A01.V01.A2019305.h14v09.2022021.hdf"
    write_hdf(path, "LST", values, text.replace('"LST_Day_1km"', '"LST"'))
    catalog = new_catalog(tmp_path / "catalog")
    assert [result.status for result in ingest(catalog, "glass-lst", [path])] == ["new"]
    (item,) = ingested(catalog, "glass-lst")
    with rasterio.open(asset_href(item, "lst")) as cog:
        rows, columns = positions(values.shape)
        assert np.array_equal(cog.read(1)[rows, columns], stored(path, "LST")[rows, columns])
        assert (cog.nodata, cog.scales, cog.offsets) == (0, (0.01,), (0.0,))
        assert (cog.read(1) != 0).sum() == 333829
        assert cog.transform == MODIS_SINUSOIDAL_1KM.geobox("h14v09").affine
    assert item.id == "GLASS06A01.V01.A2019305.h14v09"
    assert item.properties["grid:code"] == "MSIN-1409"
    assert item.assets["lst"].extra_fields["bands"][0]["raster:scale"] == 0.01
    assert item.properties["start_datetime"] == "2019-11-01T00:00:00Z"
    assert item.properties["end_datetime"] == "2019-11-01T23:59:59Z"


def test_outside_readers_see_kelvin(tmp_path):
    import rioxarray

    catalog = new_catalog(tmp_path / "catalog")
    path = write_lst(tmp_path)
    ingest(catalog, "glass-lst", [path])
    (item,) = ingested(catalog, "glass-lst")
    with rioxarray.open_rasterio(asset_href(item, "lst"), mask_and_scale=True) as kelvin:
        raw = stored(path, "LST")
        wanted = np.where(raw == 0, np.nan, raw * 0.01)
        np.testing.assert_allclose(kelvin.squeeze().values, wanted, rtol=1e-6)


@pytest.mark.parametrize(("side", "product"), [(2400, "GLASS01E01"), (4800, "GLASS01D01")])
def test_fine_pixels_nest_in_those_of_1_km(tmp_path, side, product):
    path = write_lai(tmp_path, side=side, product=product)
    layer = only(GlassLai(), path).layers["lai"]
    whole, factor = MODIS_SINUSOIDAL_1KM.geobox("h18v04"), side // 1200
    corners = [(0, 0), (1, 1), (713, 245), (1200, 1200)]
    assert [layer.geobox.affine * (x * factor, y * factor) for x, y in corners] == [whole.affine * p for p in corners]
    assert layer.geobox.shape == (side, side)
    assert np.array_equal(layer.values(), placed((side, side), np.uint8))
    assert (layer.profile.scale, layer.profile.nodata) == (0.1, 255)


def test_the_last_composite_of_a_year_ends_with_it(tmp_path):
    period = {
        day: only(GlassLai(), write_lai(tmp_path, day=day)).item["properties"]["end_datetime"][:10]
        for day in ("2018009", "2018361", "2020361")
    }
    assert period == {"2018009": "2018-01-16", "2018361": "2018-12-31", "2020361": "2020-12-31"}


def test_a_scale_kept_as_float32_is_the_decimal_that_was_meant(tmp_path):
    assert only(GlassLst(), write_lst(tmp_path, scale_type="FLOAT32")).layers["lst"].profile.scale == 0.01


def test_a_newer_production_takes_the_place_of_the_older_one(tmp_path):
    old, new = write_lst(tmp_path), write_lst(tmp_path, made="2022330", seed=9)
    catalog = new_catalog(tmp_path / "catalog")
    for paths in ([tmp_path], [old], [new, old]):
        (result,) = ingest(catalog, "glass-lst", paths)
        assert result.file == str(new)
    assert result.status == "done"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"add_offset": 3.0}, "add_offset 3.0, wanted 0"),
        ({"fill": None}, "wanted a number _FillValue"),
        ({"scale": None}, "wanted a number scale_factor"),
    ],
)
def test_what_a_field_leaves_open_is_named(tmp_path, change, message):
    with pytest.raises(GranuleError, match=message):
        GlassLst().scan(write_lst(tmp_path, **change))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (structure("h19v04", "LST", (1200, 1200)), "tile h18v04 of its name is"),
        (structure("h18v04", "LST", (1200, 1200), shift=2.0), "one of the two is wrong"),
        (structure("h18v04", "LST", (1200, 2400)), "StructMetadata.0 says"),
        (structure("h18v04", "LAI", (1200, 1200)), "found 0 grids with field LST"),
        (structure("h18v04", "LST", (1200, 1200)).replace("XDim", "Xdim"), "no XDim"),
        (structure("h18v04", "LST", (1200, 1200)).replace("LowerRight", ""), "no LowerRightMtrs"),
        (None, "found 0 grids"),
    ],
)
def test_a_wrong_place_is_named(tmp_path, text, message):
    path = write_hdf(
        tmp_path / "GLASS06A01.V01.A2018001.h18v04.2022021.hdf", "LST", placed((1200, 1200), np.uint16), text
    )
    with pytest.raises(GranuleError, match=message):
        GlassLst().scan(path)


def test_a_wrong_number_of_pixels_is_named(tmp_path):
    path = tmp_path / "GLASS06A01.V01.A2018001.h18v04.2022021.hdf"
    write_hdf(path, "LST", placed((1000, 1000), np.uint16), structure("h18v04", "LST", (1000, 1000)))
    with pytest.raises(GranuleError, match=r"found \(1000, 1000\) pixels"):
        GlassLst().scan(path)


@pytest.mark.parametrize(
    "name",
    [
        "GLASS06A01.V01.A2018001.h18v04.2022021.hdf.xml",
        "GLASS01E01.V60.A2018001.h18v04.2022021.hdf",
        "GLASS06A01.V01.A2018400.h18v04.2022021.hdf",
        "GLASS06A01.V01.A2018001.h40v04.2022021.hdf",
        "MOD11A1.A2019305.h14v09.006.2019306084028.hdf",
    ],
)
def test_a_wrong_name_is_named(tmp_path, name):
    with pytest.raises(GranuleError, match="name"):
        GlassLst().scan(tmp_path / name)


def test_a_wrong_field_and_no_hdf_are_named(tmp_path):
    path = tmp_path / "GLASS06A01.V01.A2018001.h18v04.2022021.hdf"
    write_hdf(path, "ABD_BSA_VIS", placed((1200, 1200), np.uint16), structure("h18v04", "LST", (1200, 1200)))
    with pytest.raises(GranuleError, match="found the fields ABD_BSA_VIS, wanted LST"):
        GlassLst().scan(path)
    path.write_text("<html>404</html>")
    with pytest.raises(GranuleError, match="16 bytes found that are no readable HDF4"):
        GlassLst().scan(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_an_error_and_no_item(tmp_path, share):
    path = write_lst(tmp_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "glass-lst", [path])
    assert result.status == "failed"
    assert str(path) in result.error
    assert "fetch it again" in result.error
    assert ingested(catalog, "glass-lst") == []
