"""Readers: stored values as rasterio reads them, by stackstac and odc-stac alike; a failed read is never nodata."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dask
import numpy as np
import pyproj
import pystac
import pytest
import rasterio
from odc.geo.geobox import GeoBox

from stac_sm.core.errors import CatalogError, InputError, ReadError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import Period
from stac_sm.core.projections import SINUSOIDAL, SINUSOIDAL_NAME, _crs_fields, crs_wkt, projection_properties
from stac_sm.features.cube import feature_cube
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.raster.cog import CogProfile, write_cog
from stac_sm.raster.readers import READERS, _url, get_reader
from stac_sm.raster.source import complete_from_header, raster_source
from stac_sm.stac.catalogs.catalog import open_catalog
from tests.support.fields import EASE, PIXEL, SMALL, TILE, UTM, box, edit, image, new_catalog, put

GRIDS = {
    "sinusoidal": SMALL.geobox(TILE),
    "sinusoidal, partly off the Earth": MODIS_SINUSOIDAL_1KM.geobox("h11v02").zoom_out(20),
    "global degrees": box("EPSG:4326", -180, 90, 1, (180, 360)),
    "global degrees, centres on whole degrees": box("EPSG:4326", -180.5, 90.5, 1, (181, 360)),
    "UTM": UTM.geobox(TILE),
    "EASE-2": EASE.geobox(TILE),
}
TYPES = ("int16", "uint8", "uint16", "float32")


def stored(dtype: str, shape: tuple[int, int]) -> np.ndarray:
    """Every pixel another than its neighbours."""
    rows, columns = np.indices(shape)
    values = (rows * 7 + columns * 3) % 251
    return values.astype(dtype) if dtype != "float32" else (values / 7).astype(dtype)


def written(folder: Path, geobox: GeoBox, values: np.ndarray, **profile) -> Path:
    file = folder / "field.tif"
    write_cog(values, file, geobox=geobox, profile=CogProfile(block=128, overviews="nearest", **profile))
    return file


def an_item(file: Path, geobox: GeoBox, dtype: str, *, band=None, **fields) -> pystac.Item:
    """An item as others may write it: the band and the asset's fields are given."""
    item = pystac.Item("it", None, None, datetime(2018, 7, 1, tzinfo=UTC), {})
    fields = {**projection_properties(geobox), "bands": [{"data_type": dtype} | (band or {})]} | fields
    fields = {name: value for name, value in fields.items() if value is not None}
    item.add_asset("a", pystac.Asset(str(file), extra_fields=fields))
    return item


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("grid", GRIDS)
def test_both_readers_give_what_rasterio_gives(tmp_path, grid, dtype):
    geobox, nodata = GRIDS[grid], 250 if dtype == "uint8" else -9999 if dtype != "uint16" else 65535
    values = stored(dtype, geobox.shape)
    values[4:7, 9:12] = nodata
    file = written(tmp_path, geobox, values, nodata=nodata)
    source = raster_source(an_item(file, geobox, dtype, band={"nodata": nodata}), "a")
    height, width = geobox.shape
    windows = [(0, height, 0, width), (3, 11, 5, 17), (0, 1, 0, 1), (height - 6, height, width - 3, width)]
    with rasterio.open(file) as opened:
        native = opened.read(1)
    np.testing.assert_array_equal(native, values)
    for top, bottom, left, right in windows:
        window = (slice(top, bottom), slice(left, right))
        for name in READERS:
            read = get_reader(name)(source, window)
            assert read.dtype == values.dtype, name
            np.testing.assert_array_equal(read, values[window], err_msg=f"{name} {window}")


def test_stackstac_reads_a_window_at_once_without_a_graph(tmp_path, monkeypatch):
    """A graph for each of the thousands of windows of match-ups took most of the time of `screen`."""
    geobox = GRIDS["sinusoidal"]
    values = stored("int16", geobox.shape)
    source = raster_source(an_item(written(tmp_path, geobox, values, nodata=-9999), geobox, "int16"), "a")
    monkeypatch.setattr(dask.base, "collections_to_expr", None)  # what every compute of dask calls first
    read = get_reader("stackstac")(source, (slice(3, 11), slice(5, 17)))
    assert type(read) is np.ndarray
    np.testing.assert_array_equal(read, values[3:11, 5:17])


def test_the_code_of_a_crs_that_has_none_is_searched_for_once(tmp_path, monkeypatch):
    """A search takes 40 to 70 ms where a CRS has a name: stackstac, which searches in each read, gets no name."""
    geobox = GRIDS["sinusoidal"]
    file = written(tmp_path, geobox, stored("int16", geobox.shape), nodata=-9999)
    with rasterio.open(file) as opened:
        assert SINUSOIDAL_NAME in opened.crs.to_wkt()
    searched = []
    monkeypatch.setattr(pyproj.CRS, "to_authority", lambda crs, **_: searched.append(crs.name))
    _crs_fields.cache_clear()
    item = an_item(file, geobox, "int16", band={"nodata": -9999})
    assert projection_properties(geobox) == projection_properties(geobox.zoom_out(2)) | {
        "proj:shape": list(geobox.shape), "proj:transform": list(geobox.affine[:6])
    }  # fmt: skip
    assert searched == ["unknown"]
    with rasterio.open(_url(raster_source(item, "a"))) as opened:
        assert opened.crs.to_wkt().startswith('PROJCS["unknown"')


def test_stackstac_reads_a_file_with_nodata_without_masking_it(tmp_path):
    """To mask and to fill in again takes a third of decoding: the file is shown without nodata, values are equal."""
    geobox = GRIDS["sinusoidal"]
    values = stored("int16", geobox.shape)
    values[3, 4] = -9999
    file = written(tmp_path, geobox, values, nodata=-9999)
    source = raster_source(an_item(file, geobox, "int16", band={"nodata": -9999}), "a")
    with rasterio.open(_url(source)) as opened:
        assert opened.nodata is None
        assert opened.read(1)[3, 4] == -9999


def test_a_caller_may_change_the_fields_of_a_grid():
    fields = projection_properties(GRIDS["sinusoidal"])
    fields["proj:projjson"]["name"] = "another"
    assert projection_properties(GRIDS["sinusoidal"])["proj:projjson"]["name"] == SINUSOIDAL_NAME


@pytest.mark.parametrize("band", [{"nodata": "nan"}, {"nodata": -9999.0}, {}])
def test_no_data_is_nan_whoever_states_it(tmp_path, band):
    """In the item, in the header, or in both."""
    geobox = GRIDS["sinusoidal"]
    values = stored("float32", geobox.shape)
    values[2, 3] = np.nan
    file = written(tmp_path, geobox, values, nodata=float(band["nodata"]) if band else -9999.0)
    source = complete_from_header(raster_source(an_item(file, geobox, "float32", band=band), "a"))
    for name in READERS:
        read = get_reader(name)(source, (slice(0, 9), slice(0, 9)))
        np.testing.assert_array_equal(source.physical(read), values[:9, :9])


METADATA = {
    "STAC 1.1 bands": {"bands": [{"data_type": "int16", "nodata": -1, "raster:scale": 0.5, "raster:offset": 3}]},
    "STAC 1.0 raster:bands": {
        "bands": None,
        "raster:bands": [{"data_type": "int16", "nodata": -1, "scale": 0.5, "offset": 3}],
    },
    "the asset itself": {"bands": None, "data_type": "int16", "nodata": -1, "raster:scale": 0.5, "raster:offset": 3},
    "names in bands, the rest in raster:bands": {
        "bands": [{"name": "x"}],
        "raster:bands": [{"data_type": "int16", "nodata": -1, "scale": 0.5, "offset": 3}],
    },
}  # fmt: skip


@pytest.mark.parametrize("fields", METADATA.values(), ids=METADATA)
def test_scale_offset_and_nodata_of_all_versions_of_metadata(tmp_path, fields):
    item = an_item(tmp_path / "x.tif", GRIDS["sinusoidal"], "int16", **fields)
    source = raster_source(pystac.Item.from_dict(item.to_dict(include_self_link=False)), "a")
    assert (source.dtype, source.nodata, source.scale, source.offset) == ("int16", -1, 0.5, 3)
    np.testing.assert_array_equal(
        source.physical(np.array([[-1, 0, 7]], np.int16)), np.array([[np.nan, 3, 6.5]], np.float32)
    )


def test_a_data_type_that_the_item_does_not_state_is_that_of_the_file(tmp_path):
    geobox = GRIDS["UTM"]
    values = stored("int16", geobox.shape)
    item = an_item(written(tmp_path, geobox, values, nodata=-9999), geobox, "int16", bands=[{"name": "x"}])
    source = complete_from_header(raster_source(item, "a"))
    assert (source.dtype, source.nodata) == ("int16", -9999)
    for name in READERS:
        read = get_reader(name)(source, (slice(0, 9), slice(0, 9)))
        assert read.dtype == np.int16
        np.testing.assert_array_equal(read, values[:9, :9])


def test_scale_and_offset_of_the_header_count_where_the_item_says_nothing(tmp_path):
    geobox = GRIDS["sinusoidal"]
    file = written(tmp_path, geobox, stored("int16", geobox.shape), nodata=-9999, scale=0.1, offset=2.0)
    bare, full = ({}, {"raster:scale": 0.2, "raster:offset": 0.0})
    assert (lambda s: (s.scale, s.offset))(
        complete_from_header(raster_source(an_item(file, geobox, "int16", band=bare), "a"))
    ) == (0.1, 2)
    assert (lambda s: (s.scale, s.offset))(
        complete_from_header(raster_source(an_item(file, geobox, "int16", band=full), "a"))
    ) == (0.2, 0)


def many(folder: Path, geobox: GeoBox, count: int = 3) -> tuple[Path, list[np.ndarray]]:
    """A file of several bands, each with a scale of its own."""
    file, images = folder / "many.tif", [stored("int16", geobox.shape) + 300 * n for n in range(count)]
    profile = {"driver": "GTiff", "count": count, "dtype": "int16", "crs": crs_wkt(str(geobox.crs)), "nodata": -9999}
    height, width = geobox.shape
    with rasterio.open(file, "w", transform=geobox.affine, height=height, width=width, **profile) as opened:
        opened.write(np.stack(images))
        opened.scales = [1.0 + n for n in range(count)]
    return file, images


BANDS = {
    "STAC 1.1 bands": {"bands": [{"name": name, "data_type": "int16"} for name in ("red", "nir", "swir")]},
    "STAC 1.0 eo:bands and raster:bands": {
        "bands": None,
        "eo:bands": [{"name": name} for name in ("red", "nir", "swir")],
        "raster:bands": [{"data_type": "int16"}] * 3,
    },
}


@pytest.mark.parametrize("fields", BANDS.values(), ids=BANDS)
@pytest.mark.parametrize("grid", ["UTM", "sinusoidal"])
def test_one_band_of_an_asset_with_several(tmp_path, grid, fields):
    geobox = GRIDS[grid]
    file, images = many(tmp_path, geobox)
    item = an_item(file, geobox, "int16", **fields)
    for wanted, number in [("red", 1), ("nir", 2), ("swir", 3), ("2", 2)]:
        source = complete_from_header(raster_source(item, "a", wanted))
        assert (source.band, source.scale) == (number, number)
        for name in READERS:
            read = get_reader(name)(source, (slice(3, 11), slice(5, 17)))
            np.testing.assert_array_equal(read, images[number - 1][3:11, 5:17], err_msg=f"{name} {wanted}")
    proofs = {raster_source(item, "a", wanted).provenance_digest for wanted in ("red", "nir", "2")}
    assert len(proofs) == 2
    with pytest.raises(CatalogError, match="bands red, nir, swir found, 'blue' required"):
        raster_source(item, "a", "blue")
    with pytest.raises(CatalogError, match="name the required one: band"):
        raster_source(item, "a")


def test_a_feature_of_a_band_is_a_cube(tmp_path):
    geobox, day = SMALL.geobox(TILE), Period.parse("2018-07-01")
    catalog = new_catalog(tmp_path / "catalog")
    put(catalog, "glass-lst", "LST", geobox, {"lst": stored("int16", geobox.shape)}, day.start)
    file, images = many(tmp_path, geobox)

    def change(item):
        bands = [{"name": name, "data_type": "int16"} for name in ("red", "nir", "swir")]
        item["assets"]["lst"] |= {"href": str(file), "bands": bands}
        item["assets"]["lst"].pop("file:checksum")
        item["assets"]["lst"].pop("file:size")

    edit(catalog, "glass-lst", "LST", change)
    recipe = Recipe((Feature("nir", "glass-lst", "lst", band="nir"),))
    for name in READERS:
        cube = feature_cube(open_catalog(catalog.root), recipe, TILE, day, grid=SMALL, reader=name)
        np.testing.assert_array_equal(cube.nir[0], 2 * images[1])


CRS = {
    "proj:epsg": ("EPSG:32632", {"proj:epsg": 32632}),
    "proj:code": ("EPSG:32632", {"proj:code": "EPSG:32632"}),
    "proj:wkt2": (SINUSOIDAL, {"proj:wkt2": crs_wkt(SINUSOIDAL)}),
    "proj:projjson": (SINUSOIDAL, {"proj:projjson": pyproj.CRS.from_user_input(SINUSOIDAL).to_json_dict()}),
    "proj:code null, proj:wkt2": (SINUSOIDAL, {"proj:code": "null", "proj:wkt2": crs_wkt(SINUSOIDAL)}),
}


@pytest.mark.parametrize(("crs", "fields"), CRS.values(), ids=CRS)
@pytest.mark.parametrize("where", ["item", "asset"])
def test_the_crs_in_each_of_its_spellings(tmp_path, crs, fields, where):
    item = an_item(tmp_path / "x.tif", GRIDS["UTM"], "int16")
    asset = item.assets["a"]
    for name in ("proj:code", "proj:wkt2", "proj:projjson"):
        asset.extra_fields.pop(name, None)
    (item.properties if where == "item" else asset.extra_fields).update(
        {name: None if value == "null" else value for name, value in fields.items()}
    )
    assert pyproj.CRS(str(raster_source(item, "a").geobox.crs)).equals(pyproj.CRS.from_user_input(crs))


def test_the_crs_of_an_asset_counts_more_than_that_of_its_item(tmp_path):
    item = an_item(tmp_path / "x.tif", GRIDS["sinusoidal"], "int16")
    item.properties["proj:code"] = "EPSG:32632"
    assert raster_source(item, "a").geobox.crs == GRIDS["sinusoidal"].crs


WRONG = {
    "asset": ({}, "b", "no asset 'b'"),
    "shape": ({"proj:shape": None}, "a", "proj:shape"),
    "transform": ({"proj:transform": None}, "a", "proj:transform"),
    "crs": ({"proj:code": None, "proj:wkt2": None, "proj:projjson": None}, "a", "proj:code"),
    "odd data type": ({"bands": [{"data_type": "cint16"}]}, "a", "'cint16' found"),
    "two bands": ({"bands": [{}, {}]}, "a", "bands 1, 2 found, name the required one"),
    "nodata that cannot be": ({"bands": [{"data_type": "uint8", "nodata": -9999}]}, "a", "nodata -9999 found"),
    "half a nodata": ({"bands": [{"data_type": "uint8", "nodata": 0.5}]}, "a", "nodata 0.5 found"),
    "nan in integers": ({"bands": [{"data_type": "uint8", "nodata": "nan"}]}, "a", "nodata nan found"),
    "south up": ({"proj:transform": [1, 0, 0, 0, 1, 0]}, "a", "proj:transform"),
    "rotated": ({"proj:transform": [1, 0.1, 0, 0, -1, 0]}, "a", "proj:transform"),
}


@pytest.mark.parametrize(("fields", "key", "told"), WRONG.values(), ids=WRONG)
def test_metadata_that_will_not_do(tmp_path, fields, key, told):
    with pytest.raises(CatalogError) as failure:
        raster_source(an_item(tmp_path / "x.tif", GRIDS["UTM"], "int16", **fields), key)
    assert "'it'" in str(failure.value)
    assert f"'{key}'" in str(failure.value)
    assert told in str(failure.value)


SHIFTED = GRIDS["UTM"].affine * GRIDS["UTM"].affine.translation(0.5, 0)
DISAGREEMENTS = {
    "nodata": ({"band": {"nodata": -1}}, "nodata -1.0 in the item, -9999.0 in"),
    "data type": ({"band": {"data_type": "uint16"}}, "data type uint16 in the item, int16 in"),
    "shape": ({"proj:shape": [40, 49]}, "shape (40, 49) in the item, (40, 50) in"),
    "transform": ({"proj:transform": list(SHIFTED)[:6]}, "transform"),
    "CRS": ({"proj:code": "EPSG:32633"}, "EPSG code 32633 in the item, 32632 in"),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "told"), DISAGREEMENTS.values(), ids=DISAGREEMENTS)
def test_item_and_file_that_disagree_are_an_error_that_names_both(tmp_path, fields, told):
    """A reader would warp or cast in silence."""
    geobox = GRIDS["UTM"]
    file = written(tmp_path, geobox, stored("int16", geobox.shape), nodata=-9999)
    fields = {"band": {"nodata": -9999}} | fields
    with pytest.raises(CatalogError) as failure:
        complete_from_header(raster_source(an_item(file, geobox, "int16", **fields), "a"))
    for part in ("'it'", "'a'", str(file), told):
        assert part in str(failure.value)


def test_a_mask_beside_the_pixels_is_refused(tmp_path):
    """stackstac would fill what it masks, odc-stac would not."""
    geobox, file = GRIDS["UTM"], tmp_path / "masked.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(
        file, "w", driver="GTiff", dtype="int16", count=1, height=40, width=50, crs=32632, transform=geobox.affine
    ) as opened:  # fmt: skip
        opened.write(stored("int16", geobox.shape), 1)
        opened.write_mask(np.ones(geobox.shape, bool))
    with pytest.raises(CatalogError, match="mask band"):
        complete_from_header(raster_source(an_item(file, geobox, "int16"), "a"))


def _missing(file: Path) -> None:
    file.unlink()


def _truncated(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 6 // 10])


def _other_bytes(file: Path) -> None:
    file.write_bytes(b"<Error><Code>SlowDown</Code></Error>" * 100)


def _scrambled(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    file.write_bytes(content)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("harm", [_missing, _truncated, _other_bytes, _scrambled], ids=lambda harm: harm.__name__[1:])
def test_a_failed_read_names_item_asset_and_file(tmp_path, name, harm):
    catalog = new_catalog(tmp_path)
    geobox, period = SMALL.geobox(TILE), Period.parse("2018-07-01")
    noise = np.random.default_rng(1).uniform(270, 300, geobox.shape).astype(np.float32)  # does not compress
    put(catalog, "glass-lst", "IT", geobox, {"lst": noise}, period.start)
    href = catalog.item("glass-lst", "IT").assets["lst"].get_absolute_href()
    harm(Path(href))
    cube = feature_cube(catalog, Recipe((Feature("t", "glass-lst", "lst"),)), TILE, period, grid=SMALL, reader=name)
    with pytest.raises(ReadError) as failure:
        cube.compute(scheduler="synchronous")
    for part in ("'IT'", "'lst'", href):
        assert part in str(failure.value)


@pytest.mark.parametrize("name", READERS)
def test_a_disagreement_comes_through_the_cube(tmp_path, name):
    catalog, geobox, period = new_catalog(tmp_path), SMALL.geobox(TILE), Period.parse("2018-07-01")
    put(catalog, "glass-lst", "IT", geobox, {"lst": image(geobox)}, period.start)
    edit(catalog, "glass-lst", "IT", lambda item: item["assets"]["lst"]["bands"][0].update(data_type="float64"))
    cube = feature_cube(
        new_catalog(tmp_path), Recipe((Feature("t", "glass-lst", "lst"),)), TILE, period, grid=SMALL, reader=name
    )
    with pytest.raises(CatalogError, match="item 'IT', asset 'lst': data type float64 in the item, float32 in"):
        cube.compute(scheduler="synchronous")


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("tile", ["h02v09", "h18v04", "h35v09"])
def test_a_global_field_in_degrees_reaches_every_sinusoidal_tile(tmp_path, name, tile):
    """odc.stac.load gives 100 % nodata here, without an error, when it is asked for the sinusoidal grid itself."""
    catalog, period = new_catalog(tmp_path), Period.parse("2018-07-01")
    globe = box("EPSG:4326", -180, 90, 1, (180, 360))
    put(catalog, "era5-land", "GLOBE", globe, {"swvl1": image(globe, 0.1, 0.5)}, period.start)
    target = MODIS_SINUSOIDAL_1KM.geobox(tile).zoom_out(30)
    recipe = Recipe((Feature("near", "era5-land", "swvl1"), Feature("between", "era5-land", "swvl1", "bilinear")))
    cube = feature_cube(catalog, recipe, target, period, reader=name).compute(scheduler="synchronous")
    rows, columns = target.shape
    x, y = target.affine * (np.arange(columns) + 0.5, 0), target.affine * (0, np.arange(rows) + 0.5)
    on_earth = np.abs(x[0])[None] < np.pi * 6371007.181 * np.cos(y[1] / 6371007.181)[:, None]
    for feature in ("near", "between"):
        np.testing.assert_array_equal(~np.isnan(cube[feature].values[0]), on_earth)
    assert on_earth.mean() > 0.5
    assert float(abs(cube.near - cube.between).max()) < 0.002


def test_an_unknown_reader(tmp_path):
    with pytest.raises(InputError, match="reader 'rio' is unknown: known are stackstac, odc"):
        get_reader("rio")


def test_a_proof_changes_with_all_that_gives_values_a_meaning(tmp_path):
    base = {"band": {"nodata": -1, "raster:scale": 0.5}}
    others = [
        {"band": {"nodata": -2, "raster:scale": 0.5}}, {"band": {"nodata": -1, "raster:scale": 0.25}},
        {"band": {"nodata": -1, "raster:scale": 0.5, "raster:offset": 1}}, {"file:checksum": "1220ab"},
        {"band": {"nodata": -1, "raster:scale": 0.5, "data_type": "int32"}},
        {"proj:transform": [PIXEL, 0, 1, 0, -PIXEL, 0]},
    ]  # fmt: skip
    geobox = GRIDS["UTM"]
    proofs = [
        raster_source(an_item(tmp_path / "x", geobox, "int16", **base | one), "a").provenance_digest
        for one in [{}, *others]
    ]
    assert len(set(proofs)) == len(proofs)
    assert raster_source(an_item(tmp_path / "elsewhere", geobox, "int16", **base), "a").provenance_digest == proofs[0]
