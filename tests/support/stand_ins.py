"""Stand-ins for the services of the public recipe, over one simulated Earth: for a developer, and for a test.

``python -m tests.support.stand_ins FOLDER`` starts a Climate Data Store (ERA5-Land and C3S) and a STAC API in the place
of Planetary Computer and Earth Search, prints the lines to type before the commands of the README, and ends with
Ctrl-C. What a form gives, the archive of the ISMN, lies in FOLDER/downloads.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import Period
from stac_sm.simulate.coarse_products import cci_day, coarse_cells, write_era5_land
from stac_sm.simulate.earth import COMPOSITE_DAYS, Earth, composites_around, named_rng
from stac_sm.simulate.glass import leaf_area, skin_temperature
from stac_sm.simulate.ismn import write_ismn
from stac_sm.simulate.truth import elevation, static_fields
from stac_sm.stac.links import add_own_collection, refresh
from tests.support.fields import new_catalog, put
from tests.support.served import running
from tests.support.services import TOKEN, ClimateDataStore, zipped
from tests.support.source_files import write_cci

PUBLIC_APIS = ("https://planetarycomputer.microsoft.com/api/stac/v1", "https://earth-search.aws.element84.com/v1")
"""Addresses in the public recipe that the local STAC API takes the place of."""

EARTH = Earth(radius=0.8, period=Period.parse("2019-02/2019-07"), stations=24, sample_hours=1)
"""An island of 100 km radius, and hourly stations, as real ones are: nothing in the project file need be set for it."""

_DEM = 0.004  # degrees
_LST, _LAI, _DEM_ID = "modis-11A1-061", "modis-15A2H-061", "cop-dem-glo-90"


@dataclass(frozen=True)
class StandIns:
    """Services that are at work."""

    cds: ClimateDataStore
    """Gives ERA5-Land and C3S."""

    api: str
    """Address of the STAC API."""

    archive: Path
    """What a person gets from the ISMN."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which cdsapi finds the local Climate Data Store."""
        return {"CDSAPI_URL": f"{self.cds.address}/api", "CDSAPI_KEY": TOKEN}

    def redirected(self, text: str) -> str:
        """A project file that reads the local STAC API in the place of the public ones."""
        for address in PUBLIC_APIS:
            text = text.replace(address, self.api)
        return text

    @property
    def lines(self) -> list[str]:
        """What to type."""
        sed = "; ".join(f"s|{address}|{self.api}|" for address in PUBLIC_APIS)
        return [
            f"export {' '.join(f'{name}={value}' for name, value in self.environment.items())}",
            f"sed -i {shlex.quote(sed)} stac-sm.toml    # in the folder of the project",
            f"stac-sm ingest ismn {shlex.quote(str(self.archive.resolve()))}",
        ]


@contextlib.contextmanager
def stand_ins(folder: Path, earth: Earth = EARTH) -> Iterator[StandIns]:
    """The services of an Earth; its files are written to a folder once."""
    archive = folder / "downloads" / "Data_separate_files_header_simulated.zip"
    if not archive.is_file():
        public_items(folder / "public", earth)
        archive.parent.mkdir(parents=True, exist_ok=True)
        write_ismn(earth, archive)

    def make(dataset: str, inputs: dict) -> bytes:
        return {"reanalysis-era5-land": era5_land, "satellite-soil-moisture": c3s}[dataset](folder, earth, inputs)

    with running(folder / "public") as api, ClimateDataStore(make=make, looks=1) as cds:
        yield StandIns(cds, api, archive)


def public_items(folder: Path, earth: Earth) -> None:
    """Items as Planetary Computer (MODIS) and Earth Search (Copernicus DEM) have them, around the island."""
    catalog, static = new_catalog(folder), static_fields(earth)
    geobox = MODIS_SINUSOIDAL_1KM.geobox(earth.tile)[static.rows, static.columns]
    made = {
        "items": lambda item: {**item, "properties": {k: v for k, v in item["properties"].items() if k != "grid:code"}}
    }
    for day in earth.period.days:
        clear = named_rng(earth, "clear", day.toordinal()).random(static.land.shape) < 0.8
        kelvin = np.where(static.land & clear, skin_temperature(earth, day) + 8, 0)
        band = {"nodata": 0, "raster:scale": 0.02}
        id = f"MOD11A1.A{day:%Y%j}.{earth.tile}.061"
        raw = (kelvin / 0.02).round().astype(np.uint16)
        put(catalog, _LST, id, geobox, {"LST_Day_1km": (raw, band)}, day, linked=False, **made)
    for start in composites_around(earth.period.days):
        coarse = np.where(static.land, (10 * leaf_area(earth, start)).clip(1, 100).round(), 254).astype(np.uint8)
        fine = np.repeat(np.repeat(coarse, 2, 0), 2, 1)
        id, band = f"MCD15A2H.A{start:%Y%j}.{earth.tile}.061", {"nodata": 255, "raster:scale": 0.1}
        put(
            catalog, _LAI, id, geobox.zoom_out(0.5), {"Lai_500m": (fine, band)}, start, COMPOSITE_DAYS,
            linked=False, **made,
        )  # fmt: skip
    catalog_document = {
        "type": "Collection", "stac_version": "1.1.0", "id": _DEM_ID, "title": "Terrain", "description": "Simulated.",
        "license": "CC-BY-4.0", "stac_sm:visibility": "public", "links": [],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    }  # fmt: skip
    add_own_collection(catalog.store, catalog_document)
    north, west = float(static.lat.max()) + 0.1, float(static.lon.min()) - 0.1
    shape = round((north - static.lat.min() + 0.1) / _DEM), round((static.lon.max() - west + 0.1) / _DEM)
    lat, lon = north - (np.arange(shape[0]) + 0.5) * _DEM, west + (np.arange(shape[1]) + 0.5) * _DEM
    height = elevation(earth, lat, lon).astype(np.float32)
    box = GeoBox(shape, Affine(_DEM, 0, west, 0, -_DEM, north), "EPSG:4326")
    put(catalog, _DEM_ID, "Copernicus_DSM_COG_30_simulated", box, {"data": height}, date(2021, 4, 22), **made)
    for collection in (_LST, _LAI):
        refresh(catalog.store, collection)


def era5_land(folder: Path, earth: Earth, inputs: dict) -> bytes:
    """The zip of a request for ERA5-Land: its variables, days and area, cut from the hourly month of the Earth."""
    import netCDF4

    names = {
        "volumetric_soil_water_layer_1": "swvl1", "soil_temperature_level_1": "stl1",
        "snow_depth_water_equivalent": "sd",
    }  # fmt: skip
    month = Period.parse(f"{inputs['year']}-{inputs['month']}")
    file = folder / f"era5_land_{month.start:%Y_%m}.nc"
    if not file.is_file():
        write_era5_land(earth, file, month, hours_apart=1)
    north, west, south, east = inputs["area"]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "data_stream-oper_stepType-instant.nc")
        with netCDF4.Dataset(file) as whole, netCDF4.Dataset(path, "w") as part:
            hours = np.isin(np.arange(24 * len(month)) // 24, [int(day) - 1 for day in inputs["day"]])
            lat, lon = whole["latitude"][:], whole["longitude"][:]
            axes = {
                "valid_time": hours,
                "latitude": (lat >= south - 1e-6) & (lat <= north + 1e-6),
                "longitude": (lon >= west - 1e-6) & (lon <= east + 1e-6),
            }
            part.setncatts({name: whole.getncattr(name) for name in whole.ncattrs()})
            for name, kept in axes.items():
                part.createDimension(name, int(kept.sum()))
            for name in (*axes, "expver", *(names[long] for long in inputs["variable"])):
                one = whole[name]
                fill = {"fill_value": np.nan, "zlib": True, "complevel": 1} if one.ndim == 3 else {}
                new = part.createVariable(name, one.dtype, one.dimensions, **fill)
                new.setncatts({key: one.getncattr(key) for key in one.ncattrs() if key != "_FillValue"})
                new[:] = one[tuple(axes[dimension] for dimension in one.dimensions)]
        return zipped(path.read_bytes(), names=(path.name,))


def c3s(folder: Path, earth: Earth, inputs: dict) -> bytes:
    """The zip of a request for C3S: a NetCDF a day, cut to the surroundings of the tile."""
    import netCDF4

    cells, names, contents = coarse_cells(earth, 0.25, 0.125), [], []
    with tempfile.TemporaryDirectory() as scratch:
        for day in inputs["day"]:
            stamp = f"{inputs['year'][0]}{inputs['month'][0]}{day}"
            record, version = inputs["type_of_record"][0].upper(), inputs["version"][0]
            name = f"C3S-SOILMOISTURE-L3S-SSMV-COMBINED-DAILY-{stamp}000000-T{record}-{version}.0.0.nc"
            path, _, _ = write_cci(scratch, stamp, lat=cells.lat, lon=cells.lon, name=name)
            value, flag = cci_day(earth, cells, date.fromisoformat(stamp))
            with netCDF4.Dataset(path, "a") as file:
                file["sm"][0] = np.nan_to_num(cells.grid(value, np.nan), nan=-9999)
                file["flag"][0] = cells.grid(flag, 127)
            names.append(name)
            contents.append(path.read_bytes())
    return zipped(*contents, names=tuple(names))


def main() -> None:
    """Start the services, print what to type, and wait."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the simulated files go; made once")
    folder = parser.parse_args().folder
    static = static_fields(EARTH)
    print(
        "# writes the files of a simulated Earth, if they are not there, and starts the servers: a minute", flush=True
    )
    with stand_ins(folder) as found:
        print(f"# tile {EARTH.tile}; days {EARTH.period}; island: longitude {static.lon.min():.2f} to "
              f"{static.lon.max():.2f}, latitude {static.lat.min():.2f} to {static.lat.max():.2f}")  # fmt: skip
        print("\n".join(found.lines), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
