"""Products that the simulated Earth's default recipe does without: MODIS, MERIT DEM, SMAP, SMAP/Sentinel-1.

Each is read by another library first, then ingested, and the pixels are compared with that plain reading.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyproj
import pytest
import rasterio

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import Period
from stac_sm.core.projections import SINUSOIDAL
from stac_sm.ingest.pipeline import ingest
from stac_sm.ingest.registry import create_provider
from stac_sm.simulate.dataset import _files
from stac_sm.simulate.dem import cop_dem_name, merit_name, merit_tiles, write_cop_dem, write_merit
from stac_sm.simulate.earth import Earth, composites_around
from stac_sm.simulate.glass import write_albedo, write_lai, write_lst
from stac_sm.simulate.smap import S1_NOISE, SMAP_BIAS, SMAP_NOISE, SMAP_SCALE
from stac_sm.simulate.truth import static_fields, true_soil_moisture
from stac_sm.stac.catalogs.catalog import Catalog
from tests.support.hdf_files import stored
from tests.support.source_files import asset_href, ingested, new_catalog

EARTH = Earth(radius=2.2, period=Period.parse("2019-05/2019-07"))
TILE = MODIS_SINUSOIDAL_1KM.geobox("h18v04")
LEFT, TOP, WIDTH = -17367530.44516138, 7314540.83063855, 2 * 17367530.44516138
COLUMNS = {36: 964, 3: 11568, 1: 34704}
TO_EASE = pyproj.Transformer.from_crs(SINUSOIDAL, "EPSG:6933", always_xy=True)
DEGREES_TO_EASE = pyproj.Transformer.from_crs("OGC:CRS84", "EPSG:6933", always_xy=True)


@pytest.fixture(scope="module")
def granules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of the new products but MERIT, as `simulate` would write them."""
    folder = tmp_path_factory.mktemp("others")
    for file in _files(EARTH, full=False):
        path = folder / file.path
        if path.parent.name in {"modis", "smap", "smap-s1"}:
            path.parent.mkdir(parents=True, exist_ok=True)
            file.write(EARTH, path)
    return folder / "granules"


@pytest.fixture(scope="module")
def catalog(granules: Path) -> Catalog:
    catalog = new_catalog(granules.parent / "catalog")
    for name in ("modis", "smap", "smap-s1"):
        assert [result.error for result in ingest(catalog, name, [granules / name]) if result.error] == []
    return catalog


def land() -> np.ndarray:
    return np.isfinite(true_soil_moisture(EARTH, EARTH.product_days[0]))


def fine(values: np.ndarray) -> np.ndarray:
    return np.kron(values, np.ones((2, 2), values.dtype))


def attributes(path: Path, name: str) -> dict[str, object]:
    from pyhdf.SD import SD

    found: dict[str, object] = SD(str(path)).select(name).attributes()
    return found


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def cell_truth(day_truth: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns, mean truth and share of land of the cells of a size, binned from pixel centres."""
    y, x = np.nonzero(np.isfinite(day_truth))
    east, north = TO_EASE.transform(*(TILE.affine * (x + 0.5, y + 0.5)))
    cell = WIDTH / COLUMNS[size]
    rows, columns = np.floor((TOP - north) / cell).astype(int), np.floor((east - LEFT) / cell).astype(int)
    found, where = np.unique(rows * COLUMNS[size] + columns, return_inverse=True)
    count = np.bincount(where)
    mean, share = np.bincount(where, day_truth[y, x]) / count, count * (TILE.affine.a / cell) ** 2
    return found // COLUMNS[size], found % COLUMNS[size], mean, share


# --- MODIS ---------------------------------------------------------------------------------------------------------


def test_temperature_has_clouds_and_says_so(granules: Path, tmp_path: Path) -> None:
    (path, *others) = sorted((granules / "modis").glob(f"MOD11A1.A{EARTH.product_days[0]:%Y%j}.h18v04.061.*.hdf"))
    assert not others
    kelvin, seen = {}, {}
    for time, share in (("Day", 0.79), ("Night", 0.53)):
        raw, flags = stored(path, f"LST_{time}_1km"), stored(path, f"QC_{time}")
        found = attributes(path, f"LST_{time}_1km")
        assert (found["scale_factor"], found["_FillValue"], found["valid_range"]) == (0.02, 0, [7500, 65535])
        assert (flags[~land()] == 3).all()
        assert set(np.unique(flags[land()])) == {0, 2, 65}
        assert np.array_equal(raw > 0, land() & (flags != 2))
        kelvin[time], seen[time] = raw * 0.02, raw > 0
        assert seen[time][land()].mean() == pytest.approx(share, abs=0.3)
        assert np.array_equal(stored(path, f"{time}_view_time") != 255, raw > 0)
    both = seen["Day"] & seen["Night"]
    assert 5 < (kelvin["Day"] - kelvin["Night"])[both].mean() < 30
    write_lst(EARTH, tmp_path / "glass.hdf", EARTH.product_days[0])
    glass = stored(tmp_path / "glass.hdf", "LST")[both] * 0.01
    middle = (kelvin["Day"] + kelvin["Night"])[both] / 2
    assert correlation(middle, glass) > 0.9
    assert abs((middle - glass).mean()) < 0.5


def test_all_twelve_fields_of_mod11a1_are_there(granules: Path, shared: Path) -> None:
    from pyhdf.SD import SD

    from tests.support.hdf_files import real_structure
    from tests.support.source_files import MOD11A1

    path = next((granules / "modis").glob("MOD11A1*"))
    assert set(SD(str(path)).datasets()) == set(SD(str(MOD11A1)).datasets())
    lines = [line for line in real_structure().splitlines() if "GridName" in line or "Projection" in line]
    ours = SD(str(path)).attributes()["StructMetadata.0"]
    assert all(line in ours for line in lines)
    for name in ("LST_Day_1km", "QC_Day", "Day_view_angl", "Emis_31", "Clear_night_cov"):
        real, mine = attributes(MOD11A1, name), attributes(path, name)
        for key in ("_FillValue", "scale_factor", "add_offset", "valid_range"):
            assert mine.get(key, 0.0) == real.get(key, 0.0), (name, key)


def test_leaf_area_has_codes_and_flags(granules: Path, tmp_path: Path) -> None:
    paths = sorted((granules / "modis").glob("MCD15A2H.A*.h18v04.061.*.hdf"))
    starts = composites_around(EARTH.product_days)
    assert [path.name[9:17] for path in paths] == [f"A{start:%Y%j}" for start in starts]
    lai, flags = stored(paths[0], "Lai_500m"), stored(paths[0], "FparLai_QC")
    sea = ~fine(land())
    assert (attributes(paths[0], "Lai_500m")["scale_factor"], attributes(paths[0], "Lai_500m")["_FillValue"]) == (
        0.1,
        255,
    )
    assert (lai[sea] == 254).all()
    assert (flags[sea] == 157).all()
    assert lai[~sea].max() <= 100
    assert set(np.unique(flags[~sea])) <= {0, 32, 73}
    write_lai(EARTH, tmp_path / "glass.hdf", starts[0])
    glass = stored(tmp_path / "glass.hdf", "LAI")
    assert correlation(lai[~sea].astype(float), glass[~sea].astype(float)) > 0.5


def test_albedo_is_that_of_glass_with_gaps(granules: Path, tmp_path: Path) -> None:
    (path,) = (granules / "modis").glob("MCD43A3.*.hdf")
    quality = stored(path, "BRDF_Albedo_Band_Mandatory_Quality_shortwave")
    write_albedo(EARTH, tmp_path / "glass.hdf", composites_around(EARTH.product_days)[0])
    for ours, theirs in (("BSA_vis", "ABD_BSA_VIS"), ("WSA_shortwave", "ABD_WSA_shortwave")):
        raw = stored(path, f"Albedo_{ours}")
        assert (attributes(path, f"Albedo_{ours}")["scale_factor"], raw.dtype) == (0.001, np.int16)
        assert np.array_equal(raw == 32767, quality == 255)
        seen = quality < 255
        glass = fine(stored(tmp_path / "glass.hdf", theirs))
        assert abs((raw[seen] * 0.001 - glass[seen] * 0.0001).mean()) < 0.02
    assert 0.9 < (quality[fine(land())] < 255).mean() <= 1


MODIS = [("MOD11A1", "modis-11A1-061", ["LST_Day_1km", "QC_Night"]), ("MCD15A2H", "modis-15A2H-061", ["Lai_500m"]),
         ("MCD43A3", "mcd43a3-061", ["Albedo_WSA_nir"])]  # fmt: skip


@pytest.mark.parametrize(("product", "collection", "fields"), MODIS)
def test_modis_is_ingested_as_it_was_written(
    granules: Path, catalog: Catalog, product: str, collection: str, fields: list[str]
) -> None:
    paths, items = sorted((granules / "modis").glob(f"{product}.*")), ingested(catalog, collection)
    assert [item.id for item in items] == [path.name.rpartition(".2021")[0] for path in paths]
    for name in fields:
        raw = stored(paths[0], name)
        with rasterio.open(asset_href(items[0], name)) as cog:
            values = cog.read(1)
        codes = raw > 100 if name == "Lai_500m" else np.zeros(raw.shape, bool)
        assert np.array_equal(values, np.where(codes, 255, raw))


# --- MERIT ---------------------------------------------------------------------------------------------------------


def test_merit_has_the_heights_of_copernicus_at_the_same_pixels(tmp_path: Path) -> None:
    small = Earth(radius=0.4)
    (corner,) = merit_tiles(small, full=False)
    path, other = tmp_path / merit_name(corner), tmp_path / cop_dem_name((45, 7))
    assert path.name == "n45e005_dem.tif"
    write_merit(small, path, corner)
    write_cop_dem(small, other, (45, 7))
    with rasterio.open(path) as merit, rasterio.open(other) as copernicus:
        heights = copernicus.read(1)[:, 50:1150]
        row, column = merit.index(*copernicus.xy(0, 50))
        ours = merit.read(1, window=((row, row + 1200), (column, column + heights.shape[1])))
        assert (merit.shape, merit.nodata, merit.dtypes) == ((6000, 6000), -9999, ("float32",))
        assert merit.bounds == pytest.approx(
            (5 - 1 / 2400, 45 - 1 / 2400 + 1 / 1200 - 1 / 1200, 10 - 1 / 2400, 50 - 1 / 2400)
        )
    assert (heights > 0).any()
    assert np.array_equal(np.where(ours == -9999, 0, ours), heights)
    (granule,) = create_provider("merit-dem").scan(path).granules
    assert granule.item["id"] == "merit-dem-n45e005"


def test_merit_of_the_whole_island_takes_all_its_tiles() -> None:
    assert merit_tiles(Earth(radius=2.2), full=False) == [(45, 5)]
    assert merit_tiles(Earth(radius=2.2), full=True) == [(40, 0), (40, 5), (40, 10), (45, 0), (45, 5), (45, 10)]


# --- SMAP ----------------------------------------------------------------------------------------------------------


def test_smap_is_the_truth_with_errors_of_its_own(granules: Path) -> None:
    residuals, seen = [], set()
    middle = static_fields(EARTH).base[static_fields(EARTH).land].mean()  # of many years
    for day in EARTH.product_days:
        rows, columns, truth, share = cell_truth(true_soil_moisture(EARTH, day), 36)
        with h5py.File(granules / "smap" / f"SMAP_L3_SM_P_{day:%Y%m%d}_R19240_001.h5") as file:
            extent = file["Metadata/Extent"].attrs
            assert extent["rangeBeginningDateTime"].decode() == f"{day}T00:00:00.000Z"
            assert extent["rangeEndingDateTime"].decode() == f"{day}T23:59:59.999Z"
            for overpass, suffix in (("AM", ""), ("PM", "_pm")):
                group = file[f"Soil_Moisture_Retrieval_Data_{overpass}"]
                values, flag = group[f"soil_moisture{suffix}"], group[f"retrieval_qual_flag{suffix}"]
                assert (values.shape, float(values.attrs["_FillValue"][0])) == ((406, 964), -9999)
                told = flag[:][rows, columns]
                good = told == 0
                assert set(told[(share > 0.52) & (share < 0.93)]) <= {1, 65534}  # the coast is not recommended
                assert set(told[share < 0.48]) <= {7, 65534}
                found = values[:][rows, columns][good]
                residuals.append(found - (SMAP_BIAS + middle + SMAP_SCALE * (truth[good] - middle)))
                seen |= set(zip(rows[good], columns[good], strict=True))
                placed = flag[:] != 65534
                assert np.array_equal(values[:] > 0, placed & (flag[:] % 8 < 2))
                lon, lat = (group[f"{axis}{suffix}"][:][placed].astype(float) for axis in ("longitude", "latitude"))
                x, y = DEGREES_TO_EASE.transform(lon, lat)
                row, column = (group[f"EASE_{axis}_index{suffix}"][:][placed] for axis in ("row", "column"))
                assert np.allclose((x - LEFT) / WIDTH * 964 - 0.5, column, atol=0.01)
                assert np.allclose((TOP - y) / WIDTH * 964 - 0.5, row, atol=0.01)
    errors = np.concatenate(residuals)
    assert len(seen) > 50
    assert errors.std() == pytest.approx(SMAP_NOISE, rel=0.2)
    assert abs(errors.mean()) < 0.005


def test_sentinel_scenes_are_the_truth_with_errors_of_their_own(granules: Path) -> None:
    day = EARTH.product_days[0]
    (path,) = (granules / "smap-s1").glob(f"SMAP_L2_SM_SP_1AIWDV_{day:%Y%m%d}T*_{day:%Y%m%d}T*_???E45N_R19240_001.h5")
    rows, columns, truth, _ = cell_truth(true_soil_moisture(EARTH, day), 3)
    with h5py.File(path) as file:
        group = file["Soil_Moisture_Retrieval_Data_3km"]
        found = np.full((4872, 11568), np.nan)
        good = group["retrieval_qual_flag_3km"][:] == 0
        row, column = (group[f"EASE_{axis}_index_3km"][:][good] for axis in ("row", "column"))
        found[row, column] = group["soil_moisture_3km"][:][good]
        assert group["soil_moisture_3km"].shape == (72, 102)
        assert file["Soil_Moisture_Retrieval_Data_1km/soil_moisture_1km"].shape == (216, 306)
        assert (group["EASE_row_index_3km"][:] == 65534).mean() == pytest.approx(0.2, abs=0.05)  # beside the swath
        one = file["Soil_Moisture_Retrieval_Data_1km"]
        coarse = one["soil_moisture_1km"][:].reshape(72, 3, 102, 3).swapaxes(1, 2).reshape(72, 102, 9)
        whole = good & (one["retrieval_qual_flag_1km"][:].reshape(72, 3, 102, 3) == 0).all(axis=(1, 3))
    errors = found[rows, columns] - SMAP_SCALE * truth
    errors = errors[np.isfinite(errors)]
    assert len(errors) > 3000
    assert errors.std() == pytest.approx(S1_NOISE, rel=0.1)
    with h5py.File(path) as file:
        three = file["Soil_Moisture_Retrieval_Data_3km/soil_moisture_3km"][:]
    assert (coarse.mean(axis=2) - three)[whole].std() < S1_NOISE / 2  # 1 km has the errors of its 3 km cell


@pytest.mark.parametrize("name", ["smap", "smap-s1"])
def test_smap_is_ingested_as_it_was_written(granules: Path, catalog: Catalog, name: str) -> None:
    items = ingested(catalog, name)
    assert {item.properties["start_datetime"][:10] for item in items} == {str(day) for day in EARTH.product_days}
    for item in items:
        overpass = item.id.rpartition(".")[2]
        suffix = {"AM": "", "PM": "_pm"}.get(overpass, "_3km")
        group = f"Soil_Moisture_Retrieval_Data_{overpass if suffix != '_3km' else '3km'}"
        with h5py.File(next((granules / name).glob(f"{item.id.removesuffix('.' + overpass)}_R*.h5"))) as file:
            flag, values = file[group][f"retrieval_qual_flag{suffix}"][:], file[group][f"soil_moisture{suffix}"][:]
            row, column = (file[group][f"EASE_{axis}_index{suffix}"][:] for axis in ("row", "column"))
        with rasterio.open(asset_href(item, "smap_sm" if name == "smap" else "smap_s1_sm_3km")) as cog:
            read, affine = cog.read(1), cog.transform
        good = flag == 0
        size = WIDTH / (964 if name == "smap" else 11568)
        x, y = LEFT + (column[good] + 0.5) * size, TOP - (row[good] + 0.5) * size
        c, r = ~affine @ (x, y)
        assert np.array_equal(read[np.floor(r).astype(int), np.floor(c).astype(int)], values[good])
        assert (read != -9999).sum() == good.sum()
