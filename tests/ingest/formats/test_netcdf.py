"""Errors of files and errors of programs: only what a library raises says that a file is damaged."""

from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from stac_sm.core.errors import GranuleError, InputError
from stac_sm.ingest.formats import hdf4eos
from stac_sm.ingest.formats.netcdf import open_netcdf
from stac_sm.ingest.providers import era5_zarr
from tests.support.source_files import structure, write_cci, write_hdf

CUT = {"lat": np.arange(46.875, 44, -0.25), "lon": np.arange(3.125, 9, 0.25)}


@pytest.mark.parametrize("kind", [ValueError, TypeError, RuntimeError, OSError, IndexError, InputError])
def test_an_error_of_the_code_inside_passes(tmp_path, kind):
    path, *_ = write_cci(tmp_path, **CUT)
    with pytest.raises(kind, match="^a mistake in a provider$"), open_netcdf(path):
        raise kind("a mistake in a provider")


def damaged(path):
    """A file whose header is whole, and whose compressed values are not."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = bytes(2000)
    path.write_bytes(content)
    return path


def test_what_the_library_raises_while_it_decodes_is_an_error_of_the_file(tmp_path):
    path, *_ = write_cci(tmp_path)
    with (
        pytest.raises(GranuleError, match=r"bytes found that are no readable NetCDF \(NetCDF: HDF error\): fetch it"),
        open_netcdf(damaged(path)) as data,
    ):
        assert [data[name][...] for name in ("sm", "flag")]


def test_attributes_that_the_library_trusts_are_an_error_of_the_file(tmp_path):
    path, *_ = write_cci(tmp_path, **CUT)
    with netCDF4.Dataset(path, "a") as file:
        file["lat"].valid_min = [1.0, 2.0, 3.0]
    with pytest.raises(GranuleError, match="no readable NetCDF"), open_netcdf(path) as data:
        assert data["lat"][0]


def test_a_header_that_points_nowhere_is_an_error_of_the_file(tmp_path):
    """The number of a dimension is the last one of a variable's shape; dimension 9 does not exist."""
    path = tmp_path / "a.nc"
    with netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC") as file:
        file.createDimension("x", 2)
        file.createVariable("v", "f8", ("x",))[:] = 1
    content, one = path.read_bytes(), b"v\0\0\0" + (1).to_bytes(4, "big")
    assert content.count(one + bytes(4)) == 1
    path.write_bytes(content.replace(one + bytes(4), one + (9).to_bytes(4, "big")))
    with pytest.raises(GranuleError, match="no readable NetCDF"), open_netcdf(path):
        pass


def test_an_error_of_the_code_inside_passes_for_hdf4_and_zarr_too(tmp_path, monkeypatch):
    path = write_hdf(tmp_path / "a.hdf", "LST", np.ones((4, 4), np.uint16), structure("h18v04", "LST", (4, 4)))
    monkeypatch.setattr(hdf4eos, "_attribute", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        hdf4eos.describe_field(path, "LST")
    with pytest.raises(ZeroDivisionError), era5_zarr._errors_named(tmp_path):
        assert 1 / 0
