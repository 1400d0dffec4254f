"""GLASS: stored integers, scale, fill and place of real HDF4-EOS arrive unchanged, and wrong files are named.

No GLASS file could be had here: files under its names are made from a real MOD11A1 (see ``hdf_files``) or from scratch.
"""

from __future__ import annotations

import re
from datetime import date

import numpy as np
import pytest
import rasterio

from stac_sm.core.errors import GranuleError, InputError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.ingest.pipeline import ingest
from stac_sm.ingest.providers.glass import GlassAlbedo, GlassLai, GlassLst
from stac_sm.simulate.truth import true_soil_moisture
from tests.support.hdf_files import ALBEDO, TILE, albedo_fields, albedo_values, stored, structure_of, write_fields
from tests.support.source_files import (
    MOD11A1,
    asset_href,
    content,
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
    first, second = ingest(catalog, "glass-lst", [tmp_path])
    assert (first.file, first.status, first.notes) == (
        str(old), "done", (f"1 item(s) left to {new}: newer production (2022330, not 2022021): {old.stem[:30]}",)
    )  # fmt: skip
    assert (second.file, second.status) == (str(new), "new")
    for paths in ([old], [new, old]):
        assert {result.status for result in ingest(catalog, "glass-lst", paths)} == {"done"}
    (item,) = ingested(catalog, "glass-lst")
    assert item.properties["stac_sm:rank"] == {"produced": "2022330"}
    assert item.properties["stac_sm:source"] == new.name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"add_offset": 3.0}, "add_offset 3.0, expected 0"),
        ({"fill": None}, "expected a number _FillValue"),
        ({"scale": None}, "expected a number scale_factor"),
    ],
)
def test_what_a_field_leaves_open_is_named(tmp_path, change, message):
    with pytest.raises(GranuleError, match=message):
        GlassLst().scan(write_lst(tmp_path, **change))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            structure("h19v04", "LST", (1200, 1200)),
            r"tile h18v04 \(west 0.00, south 40.00, east 15.56, north 50.00\) of its name is",
        ),
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
    with pytest.raises(GranuleError, match="found the fields ABD_BSA_VIS, expected LST"):
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


# --- albedo --------------------------------------------------------------------------------------------------------

A06 = f"GLASS02A06.V40.A2018361.{TILE}.2019021.hdf"
E01 = f"GLASS02E01.V50.A2019001.{TILE}.2020165.hdf"
KEYS = ["bsa_vis", "bsa_nir", "bsa_shortwave", "wsa_vis", "wsa_nir", "wsa_shortwave"]


def some_quality(side):
    """Every overall quality, with the other bits in use, and fill."""
    rows, columns = np.indices((side, side))
    quality = (rows + columns) % 4 + (rows % 101 << 2) + (columns % 101 << 9)
    quality[:5] = 65535
    return quality.astype(np.uint16)


@real_data
def test_albedo_keeps_its_integers_and_has_one_nodata(tmp_path, validate):
    path = write_fields(tmp_path / A06, albedo_fields())
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "glass-albedo", [path])
    assert (result.status, result.items) == ("new", {"new": 1})
    (item,) = ingested(catalog, "glass-albedo")
    validate(item)
    assert item.id == f"GLASS02A06.V40.A2018361.{TILE}"
    assert item.properties["end_datetime"] == "2018-12-31T23:59:59Z"
    assert list(item.assets) == KEYS
    described = catalog.collection("glass-albedo")["item_assets"]
    validate(catalog.collection("glass-albedo"))
    for key, field in zip(KEYS, ALBEDO, strict=True):
        raw = stored(path, field)
        said = item.assets[key].to_dict()
        described[key].pop("stac_sm:visibility")  # of the collection: items do not repeat it
        assert {name: said[name] for name in described[key]} == described[key]
        with rasterio.open(asset_href(item, key)) as cog:
            assert np.array_equal(cog.read(1), np.where((raw < 0) | (raw > 10000), -1, raw))
            assert (cog.nodata, cog.scales, cog.dtypes) == (-1, (0.0001,), ("int16",))
            albedo = cog.read(1, masked=True) * cog.scales[0]
        assert albedo.mask[3, 5:9].all()
        assert albedo.mask[4, 5:9].tolist() == [True, True, False, False]
        assert albedo[4, 7:9].tolist() == [0, 1]
        assert 0 <= albedo.min() <= albedo.max() <= 1


@real_data
def test_quality_is_kept_and_masks_nothing(tmp_path, validate):
    quality = some_quality(2400)
    path = write_fields(tmp_path / E01, albedo_fields(2400, quality))
    catalog = new_catalog(tmp_path / "catalog")
    ingest(catalog, "glass-albedo", [path])
    (item,) = ingested(catalog, "glass-albedo")
    validate(item)
    assert list(item.assets) == [*KEYS, "qa_shortwave"]
    with rasterio.open(asset_href(item, "qa_shortwave")) as cog:
        assert np.array_equal(cog.read(1), quality)
        assert (cog.nodata, cog.dtypes, item.assets["qa_shortwave"].roles) == (65535, ("uint16",), ["quality"])
    fields = {f["name"]: f for f in item.assets["qa_shortwave"].extra_fields["classification:bitfields"]}
    parts = {name: quality[7:, 3] >> f["offset"] & (2 ** f["length"] - 1) for name, f in fields.items()}
    rows = np.arange(7, 2400)
    assert {name: list(part) for name, part in parts.items()} == {
        "overall": list((rows + 3) % 4), "land": list(rows % 101), "good": [3] * rows.size,
    }  # fmt: skip
    with rasterio.open(asset_href(item, "bsa_shortwave")) as cog:
        raw = stored(path, "ABD_BSA_shortwave")
        assert np.array_equal(cog.read(1), np.where((raw < 0) | (raw > 10000), -1, raw))


@real_data
def test_a_project_may_leave_out_bad_quality(tmp_path):
    quality = some_quality(1200)
    path = write_fields(tmp_path / E01, albedo_fields(1200, quality))
    raw = albedo_values(1200)
    layers = only(GlassAlbedo(worst_quality=1), path).layers
    kept = (quality & 3 <= 1) & (raw >= 0) & (raw <= 10000)
    assert np.array_equal(layers["bsa_vis"].values(), np.where(kept, raw, -1))
    assert np.array_equal(layers["qa_shortwave"].values(), quality)
    catalog = new_catalog(tmp_path / "catalog")
    settings = [None, {"worst_quality": 1}, {"worst_quality": 1}]
    assert [ingest(catalog, "glass-albedo", [path], settings=s)[0].status for s in settings] == [
        "new", "replaced", "done",
    ]  # fmt: skip
    with pytest.raises(InputError, match="worst_quality 4 found, expected 0, 1, 2 or 3"):
        GlassAlbedo(worst_quality=4)


UNSIGNED = np.ones((1200, 1200), np.uint16)


def changed_albedo(name=ALBEDO[2], values=None, **attributes):
    def make(path):
        fields = albedo_fields()
        old, kept = fields[name]
        kept = {key: value for key, value in {**kept, **attributes}.items() if value is not None}
        write_fields(path, {**fields, name: (old if values is None else values, kept)}, structure_of(fields))

    return make


def with_quality(quality):
    return lambda path: write_fields(path, albedo_fields(1200, quality), structure_of([*ALBEDO, "ABD_QA_shortwave"]))


BAD = {
    "all fill": (A06, changed_albedo(values=np.full((1200, 1200), -1, np.int16)), "no pixel with a value"),
    "all out of range": (A06, changed_albedo(values=np.full((1200, 1200), 32767, np.int16)), "no pixel with a value"),
    "unsigned": (A06, changed_albedo(values=UNSIGNED, _FillValue=None), "is uint16, expected int16"),
    "fractions": (A06, changed_albedo(values=np.ones((1200, 1200), np.float32)), "is float32, expected int16"),
    "half": (A06, changed_albedo(values=np.ones((600, 1200), np.int16)), r"has shape \[600, 1200\]"),
    "band missing": (A06, lambda path: write_fields(path, dict(list(albedo_fields().items())[1:])), "expected ABD_BSA"),
    "quality missing": (E01, lambda path: write_fields(path, albedo_fields()), "expected ABD_QA_shortwave"),
    "coarse quality": (E01, with_quality(UNSIGNED[:600, :600]), r"ABD_QA_shortwave has shape \[600, 600\]"),
    "quality in bytes": (E01, with_quality(np.ones((1200, 1200), np.uint8)), "is uint8, expected uint16"),
    "another tile": (A06.replace(TILE, "h08v05"), changed_albedo(), r"tile h08v05 \(west -130.54.*\) of its name is"),
    "0.05 degrees": ("GLASS02B06.V40.A2018361.2019021.hdf", changed_albedo(), "expected one like GLASS02A06"),
    "day 366": (A06.replace("2018361", "2018366"), changed_albedo(), "day 2018366, which does not exist"),
}  # fmt: skip


@real_data
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_albedo_is_named_with_its_reason_and_leaves_no_trace(tmp_path, kind):
    name, make, reason = BAD[kind]
    make(tmp_path / name)
    catalog = new_catalog(tmp_path / "catalog")
    before = content(tmp_path / "catalog")
    (result,) = ingest(catalog, "glass-albedo", [tmp_path / name])
    assert result.status == "failed"
    assert str(tmp_path / name) in result.error
    assert re.search(reason, result.error), result.error
    assert content(tmp_path / "catalog") == before


@real_data
def test_a_bad_scale_costs_one_band_of_albedo(tmp_path):
    changed_albedo(scale_factor=None)(tmp_path / A06)
    catalog = new_catalog(tmp_path / "catalog")
    (result,) = ingest(catalog, "glass-albedo", [tmp_path / A06])
    (item,) = ingested(catalog, "glass-albedo")
    assert len(item.assets) == 5
    ((name, why),) = item.properties["stac_sm:left_out"].items()
    assert name not in item.assets
    assert "expected a number scale_factor" in why
    assert f"without its asset {name}: {why}" in result.error


@pytest.mark.parametrize("source", ["glass-lst", "glass-lai"])
def test_a_granule_without_any_value_is_named(tmp_path, source):
    shape, nothing = (1200, 1200), np.zeros((1200, 1200), np.uint16)
    if source == "glass-lst":
        path = tmp_path / "GLASS06A01.V01.A2018001.h18v04.2022021.hdf"
        write_hdf(path, "LST", nothing, structure("h18v04", "LST", shape))
    else:
        path = tmp_path / "GLASS01E01.V60.A2018001.h18v04.2022021.hdf"
        write_hdf(path, "LAI", nothing.astype(np.uint8) + np.uint8(255), structure("h18v04", "LAI", shape), fill=255)
    (result,) = ingest(new_catalog(tmp_path / "catalog"), source, [path])
    assert result.status == "failed"
    assert "no pixel with a value" in result.error


def test_structural_metadata_may_come_in_parts(tmp_path):
    """HDF-EOS cuts it at 32000 characters, wherever that is."""
    from pyhdf.SD import SD, SDC

    text = structure("h18v04", "LST", (1200, 1200))
    path = tmp_path / "GLASS06A01.V01.A2018001.h18v04.2022021.hdf"
    write_hdf(path, "LST", placed((1200, 1200), np.uint16), text[:70])
    file = SD(str(path), SDC.WRITE)
    file.attr("StructMetadata.1").set(SDC.CHAR, text[70:])
    file.end()
    assert only(GlassLst(), path).layers["lst"].geobox == MODIS_SINUSOIDAL_1KM.geobox("h18v04")


@pytest.mark.parametrize("reader", ["stackstac", "odc"])
def test_simulated_albedo_becomes_a_feature(tmp_path, reader):
    from stac_sm.core.period import Period
    from stac_sm.features.cube import feature_cube
    from stac_sm.features.recipe import Recipe
    from stac_sm.simulate.earth import Earth
    from stac_sm.simulate.glass import write_albedo

    earth = Earth(radius=0.5, period=Period.parse("2018-01"))
    path = tmp_path / "GLASS02A06.V40.A2018009.h18v04.2019021.hdf"
    write_albedo(earth, path, date(2018, 1, 9))
    catalog = new_catalog(tmp_path / "catalog")
    assert ingest(catalog, "glass-albedo", [path])[0].status == "new"
    features = [{"name": key, "collection": "glass-albedo", "asset": key, "time": "composite"} for key in KEYS]
    cube = feature_cube(
        catalog, Recipe.from_dict({"features": features}), "h18v04", Period.parse("2018-01-12"), reader=reader
    )
    cube = cube.compute(scheduler="synchronous")
    land = np.isfinite(true_soil_moisture(earth, date(2018, 1, 9)))
    for key, field in zip(KEYS, ALBEDO, strict=True):
        raw = stored(path, field)
        np.testing.assert_allclose(cube[key][0], np.where(raw < 0, np.nan, raw * 0.0001), rtol=1e-6)
        assert np.array_equal(raw >= 0, land)
    vis, nir = cube.bsa_vis.values[0][land], cube.bsa_nir.values[0][land]
    assert 0.02 < vis.min() < vis.max() < nir.max() < 0.5
    assert (nir > vis).mean() > 0.99
