"""Write the simulated Earth: the granules of every provider, the stations, and the truth.

Layout below a folder::

    earth.txt                    the constants: another Earth does not go into the same folder
    granules/glass-lst/          GLASS06A01, HDF4-EOS, 1 km
    granules/glass-lai/          GLASS01E01, HDF4-EOS, 500 m, 8-day
    granules/glass-albedo/       GLASS02A06, HDF4-EOS, 1 km, 8-day
    granules/era5-land/          one NetCDF a month, 0.1 degrees
    granules/esa-cci-sm/YYYY/    one NetCDF a day of the last three quarters of the period, 0.25 degrees
    granules/modis/              MOD11A1, MCD15A2H and MCD43A3, HDF4-EOS, of the product days (MCD43A3: the first)
    granules/smap/               SPL3SMP, HDF5, 36 km, of the product days
    granules/smap-s1/            SPL2SMAP_S, HDF5, 1 km and 3 km, a scene a product day
    granules/cop-dem/            Copernicus GLO-90, one GeoTIFF a degree
    granules/merit-dem/          MERIT DEM, the GeoTIFF of 5 degrees with the middle of the island
    granules/soilgrids/          SoilGrids, one GeoTIFF a property, the island at 250 m
    granules/ismn/               one archive of all stations
    truth/                       soil moisture of the product days, and what is wrong with each station
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import groupby
from pathlib import Path

from stac_sm.core.errors import InputError
from stac_sm.core.parallel import map_jobs
from stac_sm.core.period import Period
from stac_sm.simulate.coarse_products import write_cci, write_era5_land
from stac_sm.simulate.dem import cop_dem_name, cop_dem_tiles, merit_name, merit_tiles, write_cop_dem, write_merit
from stac_sm.simulate.earth import Earth, composites_around
from stac_sm.simulate.glass import write_albedo, write_lai, write_lst, write_truth
from stac_sm.simulate.ismn import write_ismn, write_station_truth
from stac_sm.simulate.modis import write_albedo_daily, write_lai_composite, write_lst_daily
from stac_sm.simulate.smap import smap_name, smap_s1_name, write_smap, write_smap_s1
from stac_sm.simulate.soilgrids import PROPERTIES, write_soil

_CONSTANTS = "earth.txt"
_VERSION = 2  # raise when the same constants give another Earth


@dataclass(frozen=True)
class _File:
    """A file to write."""

    path: str
    """Relative to the folder of the Earth."""

    write: Callable[[Earth, Path], None]
    """Function that writes it to a path."""


def write_simulated_earth(
    directory: Path,
    earth: Earth = Earth(),
    *,
    full: bool = False,
    workers: int = 2,
    progress: Callable[[str], None] | None = None,
    complete: Callable[[str], None] | None = None,
) -> Path:
    """Write the granules, stations and truth of a simulated Earth.

    Finished files are kept, so that an interrupted call goes on where it stopped. Every file is a function of the
    Earth alone: the same bytes on any number of workers.

    Parameters
    ----------
    directory
        Folder to write to; made if it does not exist.
    earth
        Constants of the simulated Earth.
    full
        Write the granules of every day of the period, not only of its granule days and product days, ESA CCI of all
        days, and MERIT DEM of the whole island.
    workers
        Processes; with 1, everything is written in this one. More need a main module that may be imported.
    progress
        Called with a line after each kind of file.
    complete
        Called with the folder of a kind, e.g. ``granules/glass-lst``, once its last file is written, while the others
        are being written; not for kinds that were there.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    InputError
        If the folder holds another simulated Earth.
    """
    directory = Path(directory)
    _claim(directory, earth)
    missing = [file for file in _files(earth, full) if not (directory / file.path).exists()]
    for folder in {(directory / file.path).parent for file in missing}:
        folder.mkdir(parents=True, exist_ok=True)
    _report(map_jobs(partial(_write, directory, earth), missing, workers, chunk=4), progress, complete)
    return directory


def _claim(directory: Path, earth: Earth) -> None:
    """Write the constants into a folder; refuse one that belongs to another Earth."""
    path, text = directory / _CONSTANTS, f"version={_VERSION}\n{earth!r}\n"
    if path.exists() and path.read_text() != text:
        raise InputError(
            f"{directory} holds another simulated Earth: its {_CONSTANTS} is not that of seed {earth.seed} "
            f"and period {earth.period}; choose another folder, or remove this one"
        )
    if not path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _files(earth: Earth, full: bool) -> Iterator[_File]:
    """Yield every file of an Earth, kind after kind, the slow ones first."""
    days = earth.period.days if full else sorted({*earth.granule_days, *earth.product_days})
    for day in days:
        yield _File(f"granules/glass-lst/{_glass('GLASS06A01.V01', earth, day)}", partial(write_lst, day=day))
    for day in composites_around(days):
        yield _File(f"granules/glass-lai/{_glass('GLASS01E01.V60', earth, day)}", partial(write_lai, start=day))
    for day in composites_around(days):
        yield _File(f"granules/glass-albedo/{_glass('GLASS02A06.V40', earth, day)}", partial(write_albedo, start=day))
    yield from _stand_ins(earth, full)
    for corner in cop_dem_tiles(earth):
        yield _File(f"granules/cop-dem/{cop_dem_name(corner)}", partial(write_cop_dem, corner=corner))
    for name in PROPERTIES:
        yield _File(f"granules/soilgrids/{name}_0-5cm_mean.tif", partial(write_soil, name=name))
    for month in earth.period.months():
        name = f"era5_land_{month.start:%Y_%m}.nc"
        yield _File(f"granules/era5-land/{name}", partial(write_era5_land, month=month))
    yield _File(f"granules/ismn/{_ismn(earth.period)}", write_ismn)
    for day in earth.period.days if full else earth.cci_days:
        name = f"ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-{day:%Y%m%d}000000-fv08.1.nc"
        yield _File(f"granules/esa-cci-sm/{day:%Y}/{name}", partial(write_cci, day=day))
    for day in earth.product_days:
        yield _File(f"truth/sm_{day}.tif", partial(write_truth, day=day))
    yield _File("truth/stations.csv", write_station_truth)


def _stand_ins(earth: Earth, full: bool) -> Iterator[_File]:
    """Yield products that may take the place of others in a recipe, and those to compare with."""
    days = earth.period.days if full else earth.product_days
    for corner in merit_tiles(earth, full):
        yield _File(f"granules/merit-dem/{merit_name(corner)}", partial(write_merit, corner=corner))
    for day in days:
        yield _File(f"granules/modis/{_modis('MOD11A1', earth, day)}", partial(write_lst_daily, day=day))
    for day in composites_around(days):
        yield _File(f"granules/modis/{_modis('MCD15A2H', earth, day)}", partial(write_lai_composite, start=day))
    for day in days if full else days[:1]:  # 17 million pixels each, and hardly another the next day
        yield _File(f"granules/modis/{_modis('MCD43A3', earth, day)}", partial(write_albedo_daily, day=day))
    for day in days:
        yield _File(f"granules/smap/{smap_name(day)}", partial(write_smap, day=day))
    for day in days:
        yield _File(f"granules/smap-s1/{smap_s1_name(earth, day)}", partial(write_smap_s1, day=day))


def _glass(product: str, earth: Earth, day: date) -> str:
    """Return the name of a GLASS granule; the production date cannot be guessed from the day, as with the real ones."""
    made = 2022001 + (day.toordinal() * 37 + earth.seed) % 360
    return f"{product}.A{day:%Y%j}.{earth.tile}.{made}.hdf"


def _modis(product: str, earth: Earth, day: date) -> str:
    """Return the name of a MODIS granule of version 061, with the time of production."""
    made = 2021001 + (day.toordinal() * 37 + earth.seed) % 360
    return f"{product}.A{day:%Y%j}.{earth.tile}.061.{made}143512.hdf"


def _ismn(period: Period) -> str:
    return f"Data_separate_files_header_{period.start:%Y%m%d}_{period.end:%Y%m%d}_simulated.zip"


def _write(directory: Path, earth: Earth, file: _File) -> str:
    """Write a file under a temporary name, then rename it."""
    path = directory / file.path
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        file.write(earth, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return file.path


def _report(
    written: Iterable[str], progress: Callable[[str], None] | None, complete: Callable[[str], None] | None
) -> None:
    """Report the number of files of each kind, as they are written."""
    for kind, files in groupby(written, _kind):
        count = sum(1 for _ in files)
        if complete:
            complete(kind)
        if progress:
            progress(f"{kind}: {count} {'file' if count == 1 else 'files'}")


def _kind(path: str) -> str:
    """Return the folder of a kind of files, e.g. ``granules/glass-lst`` or ``truth``."""
    first, second, *_ = path.split("/")
    return f"{first}/{second}" if first == "granules" else first
