"""ESA CCI: only what no flag speaks against, on the right pixels, on the right day."""

from __future__ import annotations

import netCDF4
import numpy as np
import pytest
import rasterio
from source_files import asset_href, ingested, new_catalog, positions, write_cci

from stac_sm.errors import GranuleError
from stac_sm.ingest import ingest
from stac_sm.sources.esa_cci import EsaCci


def wanted(sm, flag):
    return np.where(flag == 0, sm, np.float32(-9999))


def test_a_global_day(tmp_path):
    path, sm, flag = write_cci(tmp_path)
    catalog = new_catalog(tmp_path / "catalog")
    assert [result.status for result in ingest(catalog, "esa-cci-sm", [tmp_path])] == ["new"]
    (item,) = ingested(catalog, "esa-cci-sm")
    assert item.id == "CCISM.A2018152.global"
    assert item.bbox == [-180, -90, 180, 90]
    assert item.properties["datetime"] == "2018-06-01T12:00:00Z"
    with rasterio.open(asset_href(item, "cci_sm")) as cog:
        values = cog.read(1)
        assert np.array_equal(values, wanted(sm, flag))
        assert (cog.nodata, cog.dtypes, cog.bounds[:]) == (-9999, ("float32",), (-180, -90, 180, 90))
        with netCDF4.Dataset(path) as raw:
            rows, columns = positions(values.shape)
            x, y = rasterio.transform.xy(cog.transform, rows, columns)
            raw_rows = np.searchsorted(-raw["lat"][:], -np.array(y) - 1e-6)
            raw_columns = np.searchsorted(raw["lon"][:], np.array(x) - 1e-6)
            plain = np.ma.where(raw["flag"][0] == 0, raw["sm"][0], np.ma.masked).filled(-9999)
            assert np.array_equal(values[rows, columns], plain[raw_rows, raw_columns])


@pytest.mark.parametrize("south_up", [False, True])
def test_a_cut_out_in_any_order(tmp_path, south_up):
    lat = np.arange(46.875, 42, -0.25)[:: -1 if south_up else 1]
    path, sm, flag = write_cci(tmp_path, lat=lat, lon=np.arange(3.125, 9, 0.25))
    (granule,) = EsaCci().scan(path).granules
    values = granule.layers["cci_sm"].values()
    assert granule.item["id"] == "CCISM.A2018152.e3.00n47.00-24x20"
    ordered = wanted(sm, flag)[:: -1 if south_up else 1]
    assert np.array_equal(np.nan_to_num(values, nan=-9999), ordered)
    assert granule.layers["cci_sm"].geobox.boundingbox.bbox == (3, 42, 9, 47)


def test_the_day_of_the_name_and_of_the_file_must_agree(tmp_path):
    path, *_ = write_cci(tmp_path, time="2018-06-02")
    with pytest.raises(GranuleError, match="found the days 2018-06-02 inside, wanted 2018-06-01"):
        EsaCci().scan(path)


def test_other_files_are_named(tmp_path):
    path, *_ = write_cci(tmp_path, lat=np.arange(3.0), lon=np.arange(3.0))
    with netCDF4.Dataset(path, "a") as file:
        file.renameVariable("flag", "flags")
    with pytest.raises(GranuleError, match=r"found the variables .*flags.*, wanted sm and flag"):
        EsaCci().scan(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(GranuleError, match="300 bytes found that are no readable NetCDF"):
        EsaCci().scan(path)
