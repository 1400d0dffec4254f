"""Exports: the very pixels that were published, as climate and GIS tools read them; days are added without a loss."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import cf_xarray  # noqa: F401
import numpy as np
import pystac
import pytest
import rasterio
import rioxarray  # noqa: F401
import xarray as xr
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.errors import InputError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.core.projections import transformer_to_lonlat
from stac_sm.product.export import export, files
from stac_sm.product.export.cf import empty_map
from stac_sm.product.export.export import ExportRequest, export_product
from stac_sm.product.export.files import FORMATS
from stac_sm.product.read import open_product, open_product_on, point_series
from stac_sm.stac.catalogs.catalog import open_catalog
from tests.support.antimeridian import BOX, GRIDS, HALVES, product, true_value
from tests.support.faulty_server import FaultyServer
from tests.support.fields import SMALL
from tests.support.product_days import FIRST, new_project, put_days
from tests.support.served import running

SUFFIX = {"netcdf": ".nc", "zarr": ".zarr", "icechunk": ".ice"}
NAMES = ("sm", "uncertainty", "qa")


def days(count, first=0):
    return Period(FIRST + first * ONE_DAY, FIRST + (first + count) * ONE_DAY)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """Two neighbouring tiles on three days; of the fourth there is nothing."""
    project = new_project(tmp_path_factory.mktemp("product"))
    put_days(project.catalog, tiles=("h00v01", "h01v01"), uncertainty=True)
    return open_catalog(project.catalog.root)


@pytest.fixture(scope="module")
def bbox():
    """Across the border of the two tiles."""
    left, top = SMALL.origin
    height, width = SMALL.tile_shape
    at = [
        (left + (width + dx) * SMALL.pixel[0], top - (height + dy) * SMALL.pixel[1]) for dx, dy in ((-20, 30), (20, 4))
    ]
    (west, south), (east, north) = (transformer_to_lonlat(SMALL.crs).transform(*one) for one in at)
    return west, south, east, north


def opened(path, kind):
    if kind == "netcdf":
        return xr.open_dataset(path)
    if kind == "zarr":
        return xr.open_zarr(path, consolidated=False)
    import icechunk

    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(path)))
    return xr.open_zarr(repository.readonly_session("main").store, consolidated=False)


def same_values(made, expected):
    for name in NAMES:
        np.testing.assert_array_equal(made[name].values, expected[name].values, err_msg=name)
        assert made[name].dtype == expected[name].dtype


@pytest.mark.parametrize("kind", FORMATS)
def test_days_added_one_after_another_are_the_pixels_that_were_published(catalog, bbox, tmp_path, kind):
    to = tmp_path / f"piece{SUFFIX[kind]}"
    first = export_product(catalog, ExportRequest(days(2), to, bbox=bbox, format=kind))
    assert (first.days, first.with_product) == (2, 2)
    more = export_product(catalog, ExportRequest(days(4), to, bbox=bbox, format=kind, append=True))
    assert (more.days, more.with_product, more.period) == (2, 1, days(4))
    expected = open_product(catalog, bbox, days(4)).compute()
    with opened(to, kind) as made:
        same_values(made, expected)
        assert [str(one)[:10] for one in made.time.values] == [str(day) for day in days(4).days]
        np.testing.assert_allclose(made.x, expected.x)
        np.testing.assert_allclose(made.y, expected.y)
        assert len(made.attrs["history"].splitlines()) == 2
        assert made.attrs["time_coverage_end"] == str(FIRST + timedelta(3))
    assert np.isnan(expected.sm.values[3]).all()
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_a_point_is_a_time_series(catalog, tmp_path, kind):
    x, y = SMALL.geobox("h01v01").affine @ (7.5, 12.5)
    lon, lat = transformer_to_lonlat(SMALL.crs).transform(x, y)
    to = tmp_path / f"point{SUFFIX[kind]}"
    export_product(catalog, ExportRequest(days(1), to, at=(lon, lat), format=kind))
    export_product(catalog, ExportRequest(days(2, 1), to, at=(lon, lat), format=kind, append=True))
    with opened(to, kind) as made:
        same_values(made, point_series(catalog, lon, lat, days(3)).to_xarray())
        assert made.attrs["featureType"] == "timeSeries"
        assert float(made.lon) == pytest.approx(lon)


@pytest.mark.parametrize("step", [None, 0.01])
def test_zarr_is_opened_without_a_word_and_has_its_crs(catalog, bbox, tmp_path, step):
    """Warnings are errors in tests. The line in catalog/README.md is how xarray and rioxarray find the CRS."""
    to = tmp_path / "made.zarr"
    for first in (0, 2):
        export_product(catalog, ExportRequest(days(2, first), to, bbox=bbox, step=step, append=first > 0))
        with xr.open_zarr(to, decode_coords="all") as made:
            assert len(made.time) == 2 + first
            assert made.rio.crs == rasterio.crs.CRS.from_wkt(made.crs.attrs["crs_wkt"])
            assert made.sm.rio.crs is not None
            assert made.rio.reproject("EPSG:4326").sm.notnull().any()
    line = re.search(r"`(xarray\.open_zarr\([^`]*)`", Path("catalog/README.md").read_text())
    assert line is not None
    assert line[1].endswith(', decode_coords="all")')


def test_a_grid_in_degrees_takes_the_pixel_at_each_centre(catalog, bbox, tmp_path):
    to = tmp_path / "degrees.nc"
    export_product(catalog, ExportRequest(days(2), to, bbox=bbox, step=0.01))
    with rasterio.open(f"netcdf:{to}:sm") as by_gdal:
        assert by_gdal.crs.to_epsg() == 4326
        left, top = by_gdal.transform @ (0, 0)
        assert (round(left / 0.01, 6) % 1, round(top / 0.01, 6) % 1) in {(0.0, 0.0)}
        values = by_gdal.read(1)
    with xr.open_dataset(to) as made:
        expected = open_product_on(catalog, made.rio.write_crs(4326).odc.geobox, days(2)).compute()
        same_values(made, expected)
    np.testing.assert_array_equal(values, expected.sm.values[0])


def judged(file):
    """What the checker of CF 1.11 has against a file."""
    program = Path(sys.executable).with_name("compliance-checker")
    words = [program, "--test=cf:1.11", "--criteria=strict", "--format=json", f"--output={file}.json", file]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    report = json.loads(Path(f"{file}.json").read_text())["cf:1.11"]
    assert report["possible_points"] > 100, done.stderr
    failed = [group for group in report["all_priorities"] if group["value"][0] < group["value"][1]]
    return [message for group in failed for message in group["msgs"]]


KNOWN = re.compile("[a-z_] is a required attribute for grid mapping sinusoidal")
"""As of 6.1, the checker takes the attributes of a sinusoidal mapping for one of each letter."""


@pytest.mark.parametrize("step", [0.01, None])
def test_the_checker_of_the_conventions_finds_nothing(catalog, bbox, tmp_path, step):
    to = tmp_path / "judged.nc"
    export_product(catalog, ExportRequest(days(2), to, bbox=bbox, step=step))
    assert [message for message in judged(to) if step or not KNOWN.fullmatch(message)] == []


def test_the_checker_finds_nothing_in_a_time_series(catalog, tmp_path):
    to = tmp_path / "judged.nc"
    x, y = SMALL.geobox("h01v01").affine @ (7.5, 12.5)
    export_product(catalog, ExportRequest(days(2), to, at=transformer_to_lonlat(SMALL.crs).transform(x, y)))
    assert judged(to) == []


def test_other_tools_find_place_time_flags_and_what_belongs_together(catalog, bbox, tmp_path):
    to = tmp_path / "piece.nc"
    export_product(catalog, ExportRequest(days(2), to, bbox=bbox))
    with xr.open_dataset(to, decode_coords="all") as made:
        assert made.cf["volume_fraction_of_condensed_water_in_soil"].name == "sm"
        assert made.cf.axes == {"X": ["x"], "Y": ["y"], "T": ["time"], "Z": ["depth"]}
        assert set(made.cf[["volume_fraction_of_condensed_water_in_soil"]].coords) >= {
            "lat",
            "lon",
            "uncertainty",
            "qa",
        }
        assert "clipped" in made.qa.attrs["flag_meanings"].split()
        assert bool((made.cf["quality_flag"].cf == "clipped").any())
        assert made.rio.crs == rasterio.crs.CRS.from_user_input(SMALL.crs)
        cube = open_product(catalog, bbox, days(2))
        np.testing.assert_allclose(made.rio.transform(), cube.odc.geobox.affine)
        lon, lat = transformer_to_lonlat(SMALL.crs).transform(*np.meshgrid(made.x, made.y))
        np.testing.assert_allclose(made.lon, lon)
        np.testing.assert_allclose(made.lat, lat)
    with rasterio.open(f"netcdf:{to}:qa") as by_gdal:
        assert np.array_equal(by_gdal.read(1), cube.qa.values[0])
        np.testing.assert_allclose(by_gdal.transform, cube.odc.geobox.affine)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_stac_item_describes_the_file(catalog, bbox, tmp_path, validate, kind):
    to = tmp_path / f"piece of land{SUFFIX[kind]}"
    export_product(catalog, ExportRequest(days(1), to, bbox=bbox, format=kind))
    made = export_product(catalog, ExportRequest(days(3), to, bbox=bbox, format=kind, append=True))
    item = pystac.Item.from_file(str(made.item))
    validate(item)
    assert set(item.properties["cube:dimensions"]) == {"time", "x", "y"}
    assert set(item.properties["cube:variables"]) == set(NAMES)
    assert len(item.get_links("derived_from")) == 6
    assert Path(item.assets["data"].get_absolute_href()) == to


def test_days_that_leave_a_hole_other_pixels_and_other_files_are_refused(catalog, bbox, tmp_path):
    to = tmp_path / "piece.nc"
    first = ExportRequest(days(1), to, bbox=bbox)
    export_product(catalog, first)
    before = to.read_bytes()
    for request, words in (
        (first, "give --append"),
        (replace(first, append=True), "a period that ends later is required"),
        (replace(first, append=True, period=days(1, 2)), "a period from 2018-07-02 on is required"),
        (
            replace(first, append=True, period=days(2), mask=("snow",)),
            "the --mask of the first export",
        ),
        (replace(first, append=True, period=days(2), step=0.01), "other pixels or variables"),
        (replace(first, append=True, period=days(2), bbox=(10.8, 47.1, 11.0, 47.2)), "other pixels or variables"),
        (replace(first, to=tmp_path / "piece.tif"), ".nc or .zarr is required"),
        (replace(first, to=tmp_path / "other.nc", step=-1.0), "a size above 0"),
    ):
        with pytest.raises(InputError, match=words):
            export_product(catalog, request)
    assert to.read_bytes() == before
    assert {one.name for one in tmp_path.iterdir()} == {"piece.nc", "piece.json"}
    (tmp_path / "text.nc").write_text("no export")
    with pytest.raises(InputError, match="no export of stac-sm found there"):
        export_product(catalog, replace(first, to=tmp_path / "text.nc", append=True))


@pytest.mark.parametrize("kind", FORMATS)
def test_days_are_added_with_the_mask_of_the_first_ones_only(catalog, bbox, tmp_path, kind):
    first = ExportRequest(days(1), tmp_path / f"piece{SUFFIX[kind]}", bbox=bbox, format=kind, mask=("clipped", "snow"))
    export_product(catalog, first)
    with pytest.raises(InputError, match="clipped, snow in it, and days without those of no flag to be added"):
        export_product(catalog, replace(first, append=True, period=days(2), mask=()))
    export_product(catalog, replace(first, append=True, period=days(2), mask=("snow", "clipped")))


def test_nothing_of_others_is_written_over(catalog, bbox, tmp_path):
    """The item beside an export must not take the place of a catalogue, nor are days cut off another store."""
    (tmp_path / "catalog.json").write_text("{}")
    with pytest.raises(InputError, match=r"catalog\.json: found another file"):
        export_product(catalog, ExportRequest(days(1), tmp_path / "catalog.nc", bbox=bbox))
    assert (tmp_path / "catalog.json").read_text() == "{}"
    assert not (tmp_path / "catalog.nc").exists()
    (tmp_path / "empty.zarr").mkdir()
    days_of_two_lengths = {"sm": (("time", "y"), np.ones((3, 2)))}
    xr.Dataset(days_of_two_lengths).to_zarr(tmp_path / "other.zarr", zarr_format=3, consolidated=False)
    xr.Dataset({"time": ("when", np.arange(1))}).to_zarr(tmp_path / "other.zarr", mode="a", consolidated=False)
    before = {file: file.read_bytes() for file in (tmp_path / "other.zarr").rglob("*") if file.is_file()}
    for name in ("empty.zarr", "other.zarr"):
        with pytest.raises(InputError, match="no export of stac-sm found there"):
            export_product(catalog, ExportRequest(days(2), tmp_path / name, bbox=bbox, append=True))
    assert {file: file.read_bytes() for file in (tmp_path / "other.zarr").rglob("*") if file.is_file()} == before


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"it needs zarr: pip install 'stac_sm\[zarr\]'"):
        files.export_file(tmp_path / "a.zarr")
    assert files.export_file(tmp_path / "a.nc")


def test_the_item_names_the_versions_that_were_read(tmp_path):
    """Of a tile-day in two versions the highest counts, in the values and in what they are derived from."""
    project = new_project(tmp_path / "p")
    put_days(project.catalog, tiles=("h00v01",), days=range(1))
    put_days(project.catalog, tiles=("h00v01",), days=range(1), version="002", change=0.1)
    catalog = open_catalog(project.catalog.root)
    west, south, east, north = SMALL.geobox("h00v01").footprint("EPSG:4326").boundingbox.bbox
    made = export_product(catalog, ExportRequest(days(1), tmp_path / "a.nc", bbox=(west, south, east, north)))
    item = pystac.Item.from_file(str(made.item))
    assert [link.href.rpartition(".")[0][-4:] for link in item.get_links("derived_from")] == ["v002"]
    assert item.properties["version"] == "002"


def test_an_export_that_is_cut_short_loses_nothing(catalog, bbox, tmp_path):
    """A Zarr store that got values but not their times is made whole by the same command."""
    to = tmp_path / "piece.zarr"
    export_product(catalog, ExportRequest(days(1), to, bbox=bbox))
    import zarr

    group = zarr.open_group(to, mode="r+")
    group["sm"].resize((3, *group["sm"].shape[1:]))  # as left behind by a kill between values and times
    export_product(catalog, ExportRequest(days(2), to, bbox=bbox, append=True))
    with opened(to, "zarr") as made:
        same_values(made, open_product(catalog, bbox, days(2)).compute())


def test_the_command_prints_what_it_wrote(catalog, bbox, tmp_path):
    to = tmp_path / "piece.nc"
    words = ["export", "--bbox", ",".join(map(str, bbox)), "--period", "2018-07", "--to", str(to), "--json"]
    done = CliRunner().invoke(main, [*words, "--catalog", catalog.root])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["days"], told["days_with_product"]) == (31, 3)
    assert Path(told["path"]).is_file()
    assert Path(told["item"]).is_file()
    again = CliRunner().invoke(main, [*words, "--catalog", catalog.root])
    assert (again.exit_code, "give --append" in again.output) == (1, True)
    assert CliRunner().invoke(main, [*words, "--at", "11,47", "--catalog", catalog.root]).exit_code == 1


def test_the_command_repeats_the_place_in_words(catalog, bbox, tmp_path):
    """So that a swap of the two axes is seen; stdout holds nothing but the result."""
    words = ["export", "--period", "2018-07-01", "--catalog", catalog.root, "--json"]
    box = [*words, "--bbox", ",".join(map(str, bbox)), "--to", str(tmp_path / "a.nc")]
    done = CliRunner().invoke(main, box)
    assert done.stderr.splitlines()[0] == "box: west {:g}, south {:g}, east {:g}, north {:g}".format(*bbox)
    middle = (bbox[0] + bbox[2]) / 2, (bbox[1] + bbox[3]) / 2
    done = CliRunner().invoke(main, [*words, "--at", "{},{}".format(*middle), "--to", str(tmp_path / "b.nc")])
    assert done.stderr.splitlines()[0] == "point: longitude {:g}, latitude {:g}".format(*middle)
    assert json.loads(done.stdout)["days"] == 1


def test_icechunk_prints_no_line_of_its_own(catalog, bbox, tmp_path):
    """Its library logs to stdout, by a handle of its own: only another process sees it."""
    words = ["--bbox", ",".join(map(str, bbox)), "--period", "2018-07-01", "--catalog", catalog.root]
    command = [sys.executable, "-m", "stac_sm", "export", *words, "--to", tmp_path / "a", "--format", "icechunk"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["days_with_product"] == 1


HOLDER = """
import sys
from pathlib import Path
from stac_sm.storage.disk_lock import lock_file
with lock_file(Path(sys.argv[1]), remove=True):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("kind", FORMATS)
def test_two_exports_to_one_file_do_not_mix(catalog, bbox, tmp_path, kind):
    """The second is refused while the first is at work, whether the file is there already or not; nothing is left."""
    to = tmp_path / f"piece{SUFFIX[kind]}"
    request = ExportRequest(days(1), to, bbox=bbox, format=kind)
    for one in (request, replace(request, append=True, period=days(2))):
        command = [sys.executable, "-c", HOLDER, tmp_path / f".{to.name}.lock"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(InputError, match=rf"another export at work on it, process {holder.pid}; wait until"):
                export_product(catalog, one)
            holder.stdin.close()
        export_product(catalog, one)
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([to.name, "piece.json"])


def test_exports_of_one_name_have_an_item_each(catalog, bbox, tmp_path):
    """june.nc beside june.zarr, as somebody makes them who tries both; each is found again to add days."""
    requests = [ExportRequest(days(1), tmp_path / f"june{suffix}", bbox=bbox) for suffix in (".nc", ".zarr")]
    for request in requests:
        export_product(catalog, request)
        export_product(catalog, replace(request, append=True, period=days(2)))
    assert {one.name for one in tmp_path.iterdir()} == {"june.nc", "june.json", "june.zarr", "june.zarr.json"}
    for name, file in (("june.json", "june.nc"), ("june.zarr.json", "june.zarr")):
        item = pystac.Item.from_file(str(tmp_path / name))
        assert Path(item.assets["data"].get_absolute_href()).name == file
        assert len(item.get_links("derived_from")) == 4


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("rows", [7, 30])
def test_a_day_that_is_larger_than_memory_is_written_row_by_row(catalog, bbox, tmp_path, monkeypatch, kind, rows):
    """Never more than the limit is computed at once, and the file is the same."""
    expected = open_product(catalog, bbox, days(4)).compute()
    width = expected.sizes["x"]
    monkeypatch.setattr(export, "_MOST_BYTES", rows * width * export._BYTES_A_PIXEL)
    computed, compute = [], xr.Dataset.compute

    def counted(self, **settings):
        made = compute(self, **settings)
        computed.append(sum(one.nbytes for one in made.data_vars.values()))
        return made

    monkeypatch.setattr(xr.Dataset, "compute", counted)
    to = tmp_path / f"piece{SUFFIX[kind]}"
    export_product(catalog, ExportRequest(days(2), to, bbox=bbox, format=kind))
    export_product(catalog, ExportRequest(days(4), to, bbox=bbox, format=kind, append=True))
    assert max(computed) <= rows * width * export._BYTES_A_PIXEL
    assert len(computed) >= 4
    with opened(to, kind) as made:
        same_values(made, expected)


def test_exports_name_the_crs_of_the_product(tmp_path):
    """In the WKT that GDAL reads, and in the PROJJSON of the item."""
    tile = MODIS_SINUSOIDAL_1KM.geobox("h18v04")[:4, :5]
    empty = empty_map(tile, ("sm", "qa"), None)
    for name in ("crs_wkt", "spatial_ref"):
        assert rasterio.crs.CRS.from_wkt(empty.crs.attrs[name]).to_wkt().startswith('PROJCS["MODIS Sinusoidal"')
    assert empty.crs.attrs["projected_crs_name"] == "MODIS Sinusoidal"
    described = export._datacube(empty, days(1))["cube:dimensions"]["x"]["reference_system"]
    assert described["name"] == "MODIS Sinusoidal"


@pytest.mark.parametrize("kind", ["files", "api"])
def test_a_catalogue_over_the_network_is_exported_as_a_folder_is(catalog, bbox, tmp_path, kind):
    """By an address alone: plain files on a web server, and a STAC API."""
    with FaultyServer(Path(catalog.root)) if kind == "files" else running(catalog.root) as server:
        address = server.address if kind == "files" else str(server)
        words = ["--bbox", ",".join(map(str, bbox)), "--period", "2018-07-01/2018-07-02", "--grid", "0.01"]
        done = CliRunner().invoke(
            main, ["export", *words, "--to", str(tmp_path / "far.nc"), "--catalog", address, "--json"]
        )
        assert done.exit_code == 0, done.output
    export_product(catalog, ExportRequest(days(2), tmp_path / "near.nc", bbox=bbox, step=0.01))
    with xr.open_dataset(tmp_path / "far.nc") as far, xr.open_dataset(tmp_path / "near.nc") as near:
        xr.testing.assert_equal(far, near)
        assert far.attrs["stac_catalog"].startswith("http://127.0.0.1")
    links = pystac.Item.from_file(str(tmp_path / "far.json")).get_links("derived_from")
    assert len(links) == 4
    assert all(link.href.startswith("http://127.0.0.1") for link in links)


@pytest.mark.parametrize("name", GRIDS)
def test_the_two_sides_of_the_antimeridian_are_exported_apart(tmp_path, name):
    """A box across it is refused with the two boxes; each of them has the values of the pixels that PROJ names."""
    found = product(tmp_path / "p", name)
    request = ExportRequest(Period.of_day(FIRST), tmp_path / "x.nc", bbox=BOX)
    with pytest.raises(InputError, match=r"across the antimeridian.* 170,-19,180,-11 and -180,-19,-170,-11 are requi"):
        export_product(found, request)
    with pytest.raises(InputError, match="export the two sides of the antimeridian apart"):
        export_product(found, replace(request, step=0.5))
    assert not request.to.exists()
    for number, bbox in enumerate(HALVES):
        pixels, cells = tmp_path / f"{number}.nc", tmp_path / f"cells{number}.nc"
        export_product(found, replace(request, bbox=bbox, to=pixels))
        export_product(found, replace(request, bbox=bbox, to=cells, step=0.5))
        with xr.open_dataset(cells) as made:
            assert (made.sizes["lat"], made.sizes["lon"]) == (16, 20)
            true = [[true_value(name, lon, lat) for lon in made.lon.values] for lat in made.lat.values]
            np.testing.assert_array_equal(made.sm.values[0], np.float32(true))
        with xr.open_dataset(pixels) as made:
            values = made.sm.values[0]
            lon, lat = (np.broadcast_to(made[axis].values, values.shape) for axis in ("lon", "lat")) if (
                made["lon"].ndim == 2
            ) else np.meshgrid(made["lon"].values, made["lat"].values)  # fmt: skip
            inside = np.isfinite(values) & (np.abs(lon) < 179.9)
            true = [true_value(name, *place) for place in zip(lon[inside], lat[inside], strict=True)]
            np.testing.assert_array_equal(values[inside], np.float32(true))
            assert inside.sum() > 50


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(("lon", "beside"), [(180.0, 179.99), (-180.0, -179.99)])
def test_a_point_on_the_antimeridian_is_that_of_the_tile_that_is_named(tmp_path, name, lon, beside):
    found, tile = product(tmp_path, name), GRIDS[name].tile_at(lon, -15.2)[0]
    (value,) = point_series(found, lon, -15.2, Period.of_day(FIRST)).sm
    assert value == true_value(name, beside, -15.2)
    assert tile in {"h00v05", "h17v05"}
