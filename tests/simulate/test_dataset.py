"""The simulated Earth: files that outside readers understand, and a science that can be scored."""

from __future__ import annotations

import hashlib
import re
import warnings
import zipfile
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import xarray as xr

from stac_sm.core.errors import InputError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import Period
from stac_sm.simulate.coarse_products import coarse_cells, write_cci, write_era5_land
from stac_sm.simulate.dataset import write_simulated_earth
from stac_sm.simulate.dem import cop_dem_name, write_cop_dem
from stac_sm.simulate.earth import Earth, composites_around
from stac_sm.simulate.ismn import simulated_sensors, simulated_stations, station_daily, station_truth
from stac_sm.simulate.truth import static_fields, true_soil_moisture

SMALL = Earth(radius=0.8, period=Period.parse("2018-01/2018-02"), stations=8, clusters=2, cluster_days=2)
TILE = MODIS_SINUSOIDAL_1KM.geobox("h18v04")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_simulated_earth(tmp_path_factory.mktemp("earth"), SMALL, workers=1)


def checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_hdf(path: Path, name: str) -> tuple[np.ndarray, dict[str, object], str]:
    from pyhdf.SD import SD

    file = SD(str(path))
    field = file.select(name)
    return field[:], field.attributes(), file.attributes()["StructMetadata.0"]


# --- the whole -----------------------------------------------------------------------------------------------------


def test_the_same_bytes_on_any_number_of_workers(small: Path, tmp_path: Path) -> None:
    again = write_simulated_earth(tmp_path / "again", SMALL, workers=2)
    assert checksums(again) == checksums(small)


def test_another_seed_gives_other_bytes(small: Path, tmp_path: Path) -> None:
    day = SMALL.product_days[0]
    write_cci(replace(SMALL, seed=2), tmp_path / "cci.nc", day)
    name = f"ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-{day:%Y%m%d}000000-fv08.1.nc"
    same = small / "granules" / "esa-cci-sm" / f"{day:%Y}" / name
    assert same.read_bytes() != (tmp_path / "cci.nc").read_bytes()


def test_finished_files_are_kept_and_missing_ones_made(small: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*.*")}
    lost = small / "truth" / f"sm_{SMALL.product_days[0]}.tif"
    content = lost.read_bytes()
    lost.unlink()
    lines: list[str] = []
    write_simulated_earth(small, SMALL, workers=1, progress=lines.append)
    after = {path: path.stat().st_mtime_ns for path in small.rglob("*.*")}
    assert {path for path in before if before[path] != after[path]} == {lost}
    assert lost.read_bytes() == content
    assert lines == ["truth: 1 file"]


def test_a_kind_is_complete_before_the_next_ones_are_written(small: Path, tmp_path: Path) -> None:
    """So that it can be ingested meanwhile; in the demo it is."""
    expected = {path.parent.relative_to(small): 0 for path in small.rglob("*.*") if path.parent != small}
    count, seen = len(list(small.rglob("*.*"))), list[tuple[str, int, int]]()

    def complete(kind: str) -> None:
        own = [path for path in (tmp_path / "earth" / kind).rglob("*.*") if path.is_file()]
        seen.append((kind, len(own), len([path for path in (tmp_path / "earth").rglob("*.*") if path.is_file()])))

    write_simulated_earth(tmp_path / "earth", SMALL, workers=1, complete=complete)
    assert {Path(kind) for kind, _, _ in seen} >= {folder for folder in expected if folder.parent.name != "esa-cci-sm"}
    for kind, own, written in seen:
        assert own == len([path for path in (small / kind).rglob("*.*") if path.is_file()])
        assert (kind == "truth") == (written == count)


def test_a_folder_holds_one_earth(small: Path) -> None:
    with pytest.raises(InputError, match=r"holds another simulated Earth.*another folder"):
        write_simulated_earth(small, replace(SMALL, seed=2), workers=1)


def test_nothing_half_written_stays(small: Path) -> None:
    kinds = {path.suffix for path in small.rglob("*") if path.is_file()}
    assert kinds == {".hdf", ".h5", ".nc", ".tif", ".zip", ".csv", ".txt"}
    assert not [path for path in small.rglob(".*") if path.is_file()]


def test_granule_days_lie_between_composite_centres() -> None:
    earth = Earth()
    groups = earth.clusters - 1  # one is that of the product days
    assert len(earth.granule_days) == groups * earth.cluster_days == 36
    assert not set(earth.granule_days) & set(earth.product_days)
    assert all(day in earth.period for day in earth.granule_days + earth.product_days)
    history = (earth.granule_days[0] - earth.period.start).days
    assert history >= 89  # days before it that the longest exponential mean of the recipe looks at
    first = earth.product_days[0]
    assert earth.product_days == [first + timedelta(days=i) for i in range(3)]
    assert len(composites_around(earth.product_days)) == 2
    assert len(composites_around(earth.granule_days)) == 2 * groups


def test_composites_around_the_turn_of_the_year() -> None:
    assert composites_around([date(2019, 1, 2)]) == [date(2018, 12, 27), date(2019, 1, 1)]


# --- formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "name", "size", "scale", "fill", "low", "high"),
    [("glass-lst", "LST", 1200, 0.01, 0, 240, 320), ("glass-lai", "LAI", 2400, 0.1, 255, 0.1, 8)],
)
def test_glass_is_hdf_eos(
    small: Path, folder: str, name: str, size: int, scale: float, fill: int, low: float, high: float
) -> None:
    path = sorted((small / "granules" / folder).iterdir())[0]
    raw, attributes, structure = read_hdf(path, name)
    assert re.fullmatch(r"GLASS0\d\w\d\d\.V\d\d\.A\d{7}\.h18v04\.\d{7}\.hdf", path.name)
    assert raw.shape == (size, size)
    assert (attributes["scale_factor"], attributes["_FillValue"]) == (scale, fill)
    corner = re.search(r"UpperLeftPointMtrs=\(([-\d.]+),([-\d.]+)\)", structure)
    assert corner is not None
    assert [float(corner[1]), float(corner[2])] == pytest.approx([TILE.affine.c, TILE.affine.f], abs=1e-5)
    assert f"XDim={size}" in structure
    assert "ProjParams=(6371007.181000,0" in structure
    land = raw != fill
    assert np.array_equal(
        land[:: size // 1200, :: size // 1200], np.isfinite(true_soil_moisture(SMALL, date(2018, 1, 9)))
    )
    assert low < raw[land].min() * scale < raw[land].max() * scale < high


def test_glass_granules_are_those_that_the_days_need(small: Path) -> None:
    def days(folder: str) -> list[date]:
        names = sorted(path.name for path in (small / "granules" / folder).iterdir())
        return [date(int(n[16:20]), 1, 1) + timedelta(days=int(n[20:23]) - 1) for n in names]

    wanted = sorted(SMALL.granule_days + SMALL.product_days)
    assert days("glass-lst") == wanted
    assert days("glass-lai") == composites_around(wanted)


def test_era5_land_opens_as_the_cds_layout(small: Path) -> None:
    paths = sorted((small / "granules" / "era5-land").iterdir())
    assert [path.name for path in paths] == ["era5_land_2018_01.nc", "era5_land_2018_02.nc"]
    with xr.open_dataset(paths[1]) as data:
        assert data["swvl1"].dims == ("valid_time", "latitude", "longitude")
        assert {"number", "expver"} <= set(data.coords)
        times = data["valid_time"].to_index()
        assert list(times) == list(pd.date_range("2018-02-01", "2018-02-28 18:00", freq="6h"))
        lat, lon = data["latitude"].to_numpy(), data["longitude"].to_numpy()
        assert np.allclose(lat * 10, np.rint(lat * 10))
        assert np.allclose(np.diff(lat), -0.1)
        assert np.allclose(np.diff(lon), 0.1)
        west, south, east, north = MODIS_SINUSOIDAL_1KM.footprint("h18v04").bounds
        assert min(west - lon[0], lon[-1] - east, lat[0] - north, south - lat[-1]) > 0.29
        moisture, temperature = data["swvl1"].to_numpy(), data["stl1"].to_numpy()
    land = np.isfinite(moisture[0])
    assert 0 < land.mean() < 0.1
    assert (np.isfinite(moisture) == land).all()
    assert (np.isfinite(temperature) == land).all()
    assert 0 < np.nanmin(moisture) < np.nanmax(moisture) < 0.7
    assert 250 < np.nanmin(temperature) < np.nanmax(temperature) < 300


def test_cci_opens_with_gaps_and_flags(small: Path) -> None:
    paths = sorted((small / "granules" / "esa-cci-sm" / "2018").iterdir())
    assert len(paths) == len(SMALL.cci_days) == 45
    shares = []
    for path in paths[::6]:
        with xr.open_dataset(path) as data:
            assert data["sm"].dims == ("time", "lat", "lon")
            assert f"{data['time'].to_index()[0]:%Y%m%d}" in path.name
            assert np.allclose(np.diff(data["lat"]), -0.25)
            assert np.allclose((data["lon"] - 0.125) * 4, np.rint((data["lon"] - 0.125) * 4))
            moisture, flag = data["sm"].to_numpy(), data["flag"].to_numpy()
        assert np.array_equal(np.isfinite(moisture), flag == 0)
        shares.append(np.isfinite(moisture).sum() / coarse_cells(SMALL, 0.25, 0.125).land.sum())
    assert 0.4 < np.mean(shares) < 0.98


def test_dem_has_the_grid_of_copernicus(small: Path) -> None:
    paths = sorted((small / "granules" / "cop-dem").iterdir())
    assert "Copernicus_DSM_COG_30_N45_00_E006_00_DEM.tif" in [path.name for path in paths]
    top = 0.0
    for path in paths:
        with rasterio.open(path) as file:
            height = file.read(1)
            assert (file.crs.to_epsg(), height.shape, file.dtypes) == (4326, (1200, 1200), ("float32",))
            west, south = int(path.name[30:33]), int(path.name[23:25])
            step = 1 / 1200
            assert file.bounds == pytest.approx(
                (west - step / 2, south + step / 2, west + 1 - step / 2, south + 1 + step / 2), abs=1e-9
            )
        assert height.min() >= 0
        assert height.max() > 0  # no tile of the open sea
        top = max(top, float(height.max()))
    assert 300 < top < 4000


def test_dem_averages_to_the_terrain_that_made_the_truth(small: Path) -> None:
    with rasterio.open(small / "granules" / "cop-dem" / cop_dem_name((45, 6))) as file:
        height, transform = file.read(1), file.transform
    static = static_fields(SMALL)
    y, x = np.nonzero(static.land & (static.lon > 6.02) & (static.lon < 6.98) & (static.lat[:, None] < 45.98))
    keep = static.lat[y] > 45.02
    y, x = y[keep], x[keep]
    column, row = ~transform * (static.lon[y, x], static.lat[y])
    near = np.array(
        [height[int(r) - 5 : int(r) + 6, int(c) - 5 : int(c) + 6].mean() for r, c in zip(row, column, strict=True)]
    )
    assert np.corrcoef(near, static.elevation[y, x])[0, 1] > 0.99
    assert np.abs(near - static.elevation[y, x]).mean() < 30


def test_dem_pixels_widen_towards_the_poles(tmp_path: Path) -> None:
    north = Earth(tile="h19v03", radius=0.5)
    path = tmp_path / cop_dem_name((54, 24))
    write_cop_dem(north, path, (54, 24))
    with rasterio.open(path) as file:
        assert file.shape == (1200, 800)
        assert file.bounds.left == pytest.approx(24 - 0.5 / 800, abs=1e-9)


def test_truth_is_a_geotiff_on_the_tile(small: Path) -> None:
    day = SMALL.product_days[1]
    with rasterio.open(small / "truth" / f"sm_{day}.tif") as file:
        values = file.read(1, masked=True)
        assert (file.nodata, file.shape) == (-9999, (1200, 1200))
        assert file.transform.almost_equals(TILE.affine)
        x, y = file.xy(*map(int, np.argwhere(~values.mask)[0]))
        lon, lat = pyproj.Transformer.from_crs(file.crs.to_wkt(), "OGC:CRS84", always_xy=True).transform(x, y)
    expected = true_soil_moisture(SMALL, day)
    assert np.array_equal(values.filled(np.nan), expected, equal_nan=True)
    tile, row, column = MODIS_SINUSOIDAL_1KM.tile_at(lon, lat)
    assert tile == "h18v04"
    assert np.isfinite(expected[row, column])


# --- stations ------------------------------------------------------------------------------------------------------


def test_the_ismn_package_reads_the_archive(small: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ismn.interface import ISMN_Interface

        copy = tmp_path / "archive.zip"  # ismn writes beside the archive
        copy.write_bytes(next((small / "granules" / "ismn").iterdir()).read_bytes())
        archive = ISMN_Interface(copy, parallel=False)
        table = pd.read_csv(small / "truth" / "stations.csv")
        found = {}
        for network in archive.networks.values():
            for station in network.stations.values():
                found[network.name, station.name] = station
        assert set(found) == set(zip(table["network"], table["station"], strict=True))
        daily = station_daily(SMALL)
        for i, row in table.iterrows():
            station = found[row["network"], row["station"]]
            assert (station.lon, station.lat) == (row["lon"], row["lat"])
            probes = list(station.sensors.values())
            assert len(probes) == len(simulated_sensors(int(i)))
            surface = next(p for p in probes if p.depth.end <= 0.05).read_data()
            assert len(surface) == 4 * len(SMALL.period)
            good = surface[surface["soil_moisture_flag"] == "G"]["soil_moisture"]
            mean = good.resample("1D").mean().dropna()
            expected = daily[(mean.index - pd.Timestamp(SMALL.period.start)).days, int(i)]
            assert np.abs(mean.to_numpy() - expected).mean() < 0.02


def test_flags_are_those_of_the_ismn(small: Path) -> None:
    flags: set[str] = set()
    with zipfile.ZipFile(next((small / "granules" / "ismn").iterdir())) as archive:
        for name in archive.namelist():
            if name.endswith(".stm"):
                rows = [line.split() for line in archive.read(name).decode().splitlines()[1:]]
                assert all((row[3] == "M") == (row[2] == "-9999") for row in rows)
                assert all(float(row[2]) <= 0.6 for row in rows if row[3] == "G")
                flags |= {row[3] for row in rows}
    assert {"G", "M", "D06"} <= flags <= {"G", "M", "D06", "D01", "D01,D06", "C02"}


def test_stations_stand_on_land_in_their_pixels(small: Path) -> None:
    table = pd.read_csv(small / "truth" / "stations.csv")
    land = np.isfinite(true_soil_moisture(SMALL, SMALL.product_days[0]))
    for row in table.itertuples():
        assert MODIS_SINUSOIDAL_1KM.tile_at(row.lon, row.lat) == ("h18v04", row.row, row.column)
        assert land[row.row, row.column]
    pixels = list(zip(table["row"], table["column"], strict=True))
    assert pixels[0] == pixels[1]
    assert len(set(pixels)) == len(pixels) - 1
    assert (~table["representative"]).sum() == round(SMALL.bad_share * SMALL.stations)


def test_the_control_earth_has_no_bad_station() -> None:
    assert all(station.representative for station in simulated_stations(replace(SMALL, bad_share=0.0)))


# --- science, on the default Earth --------------------------------------------------------------------------------


def test_truth_is_physical_and_varies_in_space_and_time() -> None:
    earth = Earth()
    days = np.stack([true_soil_moisture(earth, day) for day in earth.granule_days[::8]])
    assert days.dtype == np.float32
    land = np.isfinite(days)
    assert (land == land[0]).all()
    assert 0.05 < land[0].mean() < 0.15
    assert not land[0][[0, -1]].any()
    assert not land[0][:, [0, -1]].any()
    values = days[:, land[0]]
    assert 0.02 <= values.min() < values.max() <= 0.55
    assert (values <= 0.02).mean() < 0.02
    assert 0.03 < values.mean(axis=0).std() < 0.08
    assert 0.03 < station_truth(earth).std(axis=0).mean() < 0.08


def test_pixels_of_stations_have_the_truth_of_the_tile() -> None:
    earth, day = Earth(), Earth().product_days[0]
    tile = true_soil_moisture(earth, day)
    expected = [tile[s.row, s.column] for s in simulated_stations(earth)]
    assert station_truth(earth)[(day - earth.period.start).days] == pytest.approx(expected, abs=1e-6)


def test_era5_land_is_wet_and_follows_its_cells(tmp_path: Path) -> None:
    earth = Earth()
    write_era5_land(earth, tmp_path / "era5.nc", Period.parse("2019-05"))
    cells = coarse_cells(earth, 0.1, 0.0)
    with xr.open_dataset(tmp_path / "era5.nc") as data:
        daily = data["swvl1"].resample(valid_time="1D").mean().to_numpy()[:, cells.land]
    first = (date(2019, 5, 1) - earth.period.start).days
    truth = cells.truth[first : first + 31]
    assert 0.03 < (daily - truth).mean() < 0.09
    ours = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(daily.T, truth.T, strict=True)])
    assert 0.5 < np.median(ours) < 0.98


def test_triple_collocation_tells_good_stations_from_bad(triplets: list[tuple[bool, float, float, int]]) -> None:
    good = [(r, error) for representative, r, error, _ in triplets if representative]
    bad = [(r, error) for representative, r, error, _ in triplets if not representative]
    assert len(good) == 52
    assert all(n >= 100 for *_, n in triplets)
    assert np.mean([r >= 0.6 and error <= 0.06 for r, error in good]) > 0.85
    assert np.mean([r >= 0.6 and error <= 0.06 for r, error in bad]) < 0.35
    assert np.median([r for r, _ in good]) > np.median([r for r, _ in bad]) + 0.2


def test_bad_stations_lie_further_from_their_pixels() -> None:
    earth = Earth()
    good = np.array([station.representative for station in simulated_stations(earth)])
    apart = np.sqrt(((station_daily(earth) - station_truth(earth)) ** 2).mean(axis=0))
    assert np.median(apart[~good]) > 1.5 * np.median(apart[good])


@pytest.fixture(scope="module")
def triplets() -> list[tuple[bool, float, float, int]]:
    """Of each station: whether it is good, TC correlation, TC error (m3 m-3; NaN if negative), common days."""
    from stac_sm.simulate.coarse_products import cci_day, swvl1_daily

    earth = Earth()
    fine, broad, days = coarse_cells(earth, 0.1, 0.0), coarse_cells(earth, 0.25, 0.125), earth.cci_days
    first = len(earth.period) - len(days)
    model = fine.grid(swvl1_daily(earth, fine)[first:], np.nan)
    satellite = broad.grid(np.stack([cci_day(earth, broad, day)[0] for day in days]), np.nan)
    daily, scores = station_daily(earth)[first:], []
    for i, s in enumerate(simulated_stations(earth)):
        a = model[:, round((fine.lat[0] - s.lat) / 0.1), round((s.lon - fine.lon[0]) / 0.1)]
        b = satellite[:, round((broad.lat[0] - s.lat) / 0.25), round((s.lon - broad.lon[0]) / 0.25)]
        both = np.isfinite(a) & np.isfinite(b)
        c = np.cov([daily[both, i], a[both], b[both]])
        common = c[0, 1] * c[0, 2] / c[1, 2]
        error = np.sqrt(c[0, 0] - common) if c[0, 0] > common else np.nan
        scores.append((s.representative, float(np.sqrt(max(common, 0) / c[0, 0])), float(error), int(both.sum())))
    return scores
