"""Does screening help, and is the recipe worth its inputs? On simulated Earths, where the truth is known everywhere.

Run: ``python tests/benchmarks/trial_earth.py [--seeds 5] [--first 101] [--json]``.
Seeds 101 and up were not used in development.

For each seed two Earths: one with bad stations (a third of all), and the control Earth without. Each is learned from
as the demo does it, with the settings of its project file: all stations, or those that triple collocation keeps. Both
models are scored against the truth at pixels without stations, on days without training rows, beside ERA5-Land.

No granule is written: features are computed at some pixels from the functions that the simulated granules are written
from, with their noise, rounding and composites, and brought to the pixels by `raster.resample`; stations are written to
an ISMN archive and read by the real source; sites, daily means, screening and training are those of the flow. How
close that is to the flow itself is a test (`tests/simulate/test_trial_earth.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pandas as pd
from affine import Affine
from odc.geo.geobox import GeoBox

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM as GRID
from stac_sm.core.metrics import agreement_scores, bias
from stac_sm.core.period import ONE_DAY
from stac_sm.core.projections import crs_wkt, transform_points
from stac_sm.demo.flow import demo_project_file
from stac_sm.features.temporal import ExponentialMean, exponential_mean_of_fields
from stac_sm.ingest.providers.ismn import Ismn
from stac_sm.raster.resample import TargetPixels, pixel_lookup, regrid
from stac_sm.simulate.coarse_products import _between_days, _snow, _stl1, cci_day, coarse_cells, swvl1_daily
from stac_sm.simulate.earth import COMPOSITE_CENTRE, Earth, composites_around, named_rng
from stac_sm.simulate.glass import _lai_texture, leaf_area, reflected, skin_temperature
from stac_sm.simulate.ismn import write_ismn
from stac_sm.simulate.soilgrids import _HOMOLOSINE, _properties, _window
from stac_sm.simulate.truth import elevation, static_fields, window_soil_moisture
from stac_sm.stations.records import Station, site_daily_means, sites_of_stations
from stac_sm.stations.screening import screen_sites
from stac_sm.workflows.project import Project, create_project
from stac_sm.workflows.training.training_run import project_fitter

PIXELS, DAYS = 2000, 24
"""Pixels without stations, and days without training rows, on which is scored."""


@dataclass(frozen=True)
class Outcome:
    """One Earth: RMSE against the truth at pixels without stations, m3 m-3."""

    seed: int
    """Of the Earth."""

    bad_share: float
    """Share of bad stations."""

    sites: int
    """Sites with training rows."""

    kept: int
    """Sites that triple collocation keeps."""

    wrong: int
    """Bad sites kept, and good ones rejected."""

    rows: int
    """Pixels and days scored."""

    unscreened: float
    """RMSE of the model of all stations."""

    screened: float
    """RMSE of the model of the stations kept."""

    era5land: float
    """RMSE of ERA5-Land as it is."""

    corrected: float
    """RMSE of ERA5-Land less its bias at the stations: at all or at those kept, whichever does better."""

    r_screened: float
    """Pearson R of the model of the stations kept."""

    r_era5land: float
    """Pearson R of ERA5-Land."""

    @property
    def gain(self) -> float:
        """Share of the RMSE that screening takes away."""
        return 1 - self.screened / self.unscreened

    @property
    def over_era5land(self) -> float:
        """Share of the RMSE of bias-corrected ERA5-Land that the screened model takes away."""
        return 1 - self.screened / self.corrected


def main() -> None:
    given = arguments()
    found = trial(range(given.first, given.first + given.seeds))
    print(json.dumps(found, indent=2) if given.json else text(found))


def trial(seeds: Sequence[int]) -> dict[str, object]:
    """Outcomes of all seeds, and what they come to."""
    outcomes = [outcome for seed in seeds for outcome in both_earths(seed)]
    groups = {
        "with_bad_stations": [one for one in outcomes if one.bad_share > 0],
        "control": [one for one in outcomes if one.bad_share == 0],
    }
    return {
        "seeds": list(seeds),
        "summary": {name: summary(group) for name, group in groups.items()},
        "outcomes": [
            {name: round(value, 4) for name, value in asdict(one).items()}
            | {"gain": round(one.gain, 4), "over_era5land": round(one.over_era5land, 4)}
            for one in outcomes
        ],
    }


def summary(group: Sequence[Outcome]) -> dict[str, object]:
    """Mean figures over seeds, and the standard error of the gain: seeds are independent Earths."""
    gains = [one.gain for one in group]
    error = stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
    return {
        "rmse_unscreened": round(mean(one.unscreened for one in group), 4),
        "rmse_screened": round(mean(one.screened for one in group), 4),
        "rmse_era5land_corrected": round(mean(one.corrected for one in group), 4),
        "gain": round(mean(gains), 4),
        "gain_standard_error": round(error, 4) if len(gains) > 1 else None,
        "gain_least": round(min(gains), 4),
        "over_era5land": round(mean(one.over_era5land for one in group), 4),
        "over_era5land_least": round(min(one.over_era5land for one in group), 4),
    }


def both_earths(seed: int, *, pixels: int = PIXELS, days: int = DAYS) -> Iterator[Outcome]:
    """An Earth with bad stations and its control: they differ in what the stations say, and in nothing else."""
    earth = Earth(seed=seed)
    with tempfile.TemporaryDirectory(prefix="stac-sm-trial-") as scratch:
        project = create_project(Path(scratch, "project"), demo_project_file(earth))
        learned = {
            one.bad_share: stations_of(project, one, Path(scratch)) for one in (earth, replace(earth, bad_share=0.0))
        }
        where = learned[earth.bad_share][0]
        at_sites = Place(earth, where["row"].to_numpy(), where["col"].to_numpy())
        elsewhere = Place(earth, *pixels_without_stations(earth, where, pixels))
        train = at_sites.features(days_with_granules(earth)).assign(site=lambda t: where["site"].to_numpy()[t["pixel"]])
        test = elsewhere.features(days_between(earth, days))
        for share, (_, series, good) in learned.items():
            triplets = at_sites.triplets(series, list(where["site"]))
            yield outcome(project, replace(earth, bad_share=share), good, train, series, triplets, test)


def outcome(
    project: Project,
    earth: Earth,
    good: set[str],
    features: pd.DataFrame,
    series: pd.DataFrame,
    triplets: pd.DataFrame,
    test: pd.DataFrame,
) -> Outcome:
    """Learn with and without screening, and score both."""
    table = features.drop(columns=["truth", "pixel"]).merge(series, on=["site", "date"])
    screening = screen_sites(triplets, project.screening)
    kept = table[table["site"].isin(screening.kept)]
    predicted = {name: project_fitter(project)(rows).predict(test) for name, rows in (("all", table), ("kept", kept))}
    corrected = [test["swvl1"] - bias(rows["swvl1"], rows["sm"]) for rows in (table, kept)]
    known = set(table["site"])
    screened, plain = agreement_scores(predicted["kept"], test["truth"]), agreement_scores(test["swvl1"], test["truth"])
    return Outcome(
        seed=earth.seed,
        bad_share=earth.bad_share,
        sites=len(known),
        kept=len(screening.kept),
        wrong=len(known & (good ^ set(screening.kept))),
        rows=screened.n,
        unscreened=agreement_scores(predicted["all"], test["truth"]).rmse,
        screened=screened.rmse,
        era5land=plain.rmse,
        corrected=min(agreement_scores(one, test["truth"]).rmse for one in corrected),
        r_screened=screened.r,
        r_era5land=plain.r,
    )


def stations_of(project: Project, earth: Earth, scratch: Path) -> tuple[pd.DataFrame, pd.DataFrame, set[str]]:
    """Sites, their daily means, and the sites whose stations are all good; through an archive of the ISMN."""
    from stac_sm.simulate.ismn import simulated_stations

    archive = scratch / f"ismn-{earth.bad_share}.zip"
    write_ismn(earth, archive)
    known = []
    for granule in Ismn().scan(archive).granules:
        item = granule.item
        file = granule.layers["series"].write(scratch / f"{earth.bad_share}-{item['id']}").file
        lon, lat = item["geometry"]["coordinates"]
        sensors = item["properties"]["stac_sm:sensors"]
        depths = tuple(sorted({(s["depth_from"], s["depth_to"]) for s in sensors if s["n"]}))
        network, name = item["properties"]["stac_sm:network"], item["properties"]["stac_sm:station"]
        known.append(Station(item["id"], network, name, lon, lat, depths, earth.period, "", str(file), ""))
    where = sites_of_stations(known, GRID, rules=project.stations)
    series, _ = site_daily_means(where, known, project.stations)
    bad = {f"{one.network}.{one.name}" for one in simulated_stations(earth) if not one.representative}
    good = {site for site, members in zip(where["site"], where["stations"], strict=True) if not bad & set(members)}
    return where, series, good


def pixels_without_stations(earth: Earth, where: pd.DataFrame, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of land pixels in which no station stands."""
    static = static_fields(earth)
    land = np.argwhere(static.land) + np.array([static.rows.start, static.columns.start])
    taken = set(zip(where["row"], where["col"], strict=True))
    free = np.array([pixel for pixel in land if (pixel[0], pixel[1]) not in taken])
    chosen = free[np.random.default_rng([earth.seed, 7]).choice(len(free), count, replace=False)]
    return chosen[:, 0], chosen[:, 1]


def days_with_granules(earth: Earth) -> list[date]:
    """Days that the demo can learn from."""
    return sorted({*earth.granule_days, *earth.product_days})


def days_between(earth: Earth, count: int) -> list[date]:
    """Days spread over the period on which nothing is learned; none at a turn of the year, with its short composite."""
    taken, found = set(days_with_granules(earth)), []
    for i in range(count):
        day = earth.period.start + int((i + 0.5) / count * len(earth.period)) * ONE_DAY
        while day in taken or not 10 < day.timetuple().tm_yday < 355:
            day += ONE_DAY
        found.append(day)
    return found


class Place:
    """Some pixels of the tile, and what the providers say about them."""

    def __init__(self, earth: Earth, rows: np.ndarray, columns: np.ndarray) -> None:
        self.earth, self.static = earth, static_fields(earth)
        self.target = TargetPixels(GRID.geobox(earth.tile), rows, columns)
        self.inside = rows - self.static.rows.start, columns - self.static.columns.start
        self.rows, self.columns = rows, columns

    def features(self, days: Sequence[date]) -> pd.DataFrame:
        """Features of the default recipe and the truth on some days, where nothing is masked or missing."""
        fixed = {**self.terrain(), **self.soil()}
        composites = {start: self.composite(start) for start in composites_around(days)}
        parts = []
        for day in days:
            columns = {**fixed, **self.between(composites, day), **self.daily(day), **self.era5_land(day)}
            columns |= {"truth": window_soil_moisture(self.earth, day)[self.inside], "pixel": np.arange(len(self.rows))}
            parts.append(pd.DataFrame(columns).assign(date=pd.Timestamp(day)))
        table = pd.concat(parts, ignore_index=True).astype({"date": "datetime64[ns]"})
        angle = 2 * np.pi * (table["date"].dt.dayofyear - 1) / 365.25
        table = table.assign(doy_sin=np.sin(angle), doy_cos=np.cos(angle))
        masked = (table["stl1"] < 273.15) | (table["sd"] > 0.01)
        return table[~masked].drop(columns=["sd"]).dropna(ignore_index=True)

    def daily(self, day: date) -> dict[str, np.ndarray]:
        noise = named_rng(self.earth, "lst", day.toordinal()).normal(0, 0.7, self.static.land.shape)
        return {"lst": stored((skin_temperature(self.earth, day) + noise)[self.inside], 0.01)}

    def composite(self, start: date) -> dict[str, np.ndarray]:
        """Leaf area (mean of four pixels of 500 m) and black-sky albedo of an 8-day composite."""
        noise = named_rng(self.earth, "albedo", start.toordinal()).normal(0, 0.01, (2, *self.static.land.shape))
        visible, infrared = (
            (one + error)[self.inside]
            for one, error in zip(reflected(self.earth, start + COMPOSITE_CENTRE), noise, strict=True)
        )
        fine = _lai_texture(self.earth)
        parts = [fine[2 * self.rows + i, 2 * self.columns + j] for i in (0, 1) for j in (0, 1)]
        leaves = leaf_area(self.earth, start)[self.inside]
        black = {"bsa_vis": visible, "bsa_nir": infrared, "bsa_shortwave": 0.5 * (visible + infrared)}
        albedo = {name: stored(np.clip(one, 0.01, None), 0.01) for name, one in black.items()}
        return {"lai": np.mean([stored(leaves * part, 0.1) for part in parts], axis=0), **albedo}

    def between(self, composites: dict[date, dict[str, np.ndarray]], day: date) -> dict[str, np.ndarray]:
        """Linear between the centres of two composites."""
        first = max(start for start in composites if start + COMPOSITE_CENTRE <= day)
        second = min(start for start in composites if start + COMPOSITE_CENTRE > day)
        late = (day - first - COMPOSITE_CENTRE) / (second - first)
        return {name: (1 - late) * one + late * composites[second][name] for name, one in composites[first].items()}

    def era5_land(self, day: date) -> dict[str, np.ndarray]:
        """Daily means of 6-hourly values, with the memory of soil moisture and temperature, bilinear."""
        cells, at = coarse_cells(self.earth, 0.1, 0.0), (day - self.earth.period.start).days
        found = {}
        for name, days in self.era5_days.items():
            fields = {name: days[at]}
            if name != "sd":
                fields |= {f"{name}_{kind}": one for kind, one in self.of_all_days[name].items()}
                fields |= {
                    f"{name}_exp{scale}": exponential_mean_of_fields(days[at::-1], ExponentialMean(scale))
                    for scale in (3, 10, 30)
                }
            known = {key: self.regridded(cells.grid(one, np.nan), degrees(cells, 0.1), "bilinear")
                     for key, one in fields.items()}  # fmt: skip
            if name != "sd":
                moving = (name, *(key for key in known if "_exp" in key))
                known |= {f"{key}_anomaly": known[key] - known[f"{name}_mean"] for key in moving}
            found |= known
        return found

    @cached_property
    def era5_days(self) -> dict[str, np.ndarray]:
        """Daily means of the land cells, (day, cell)."""
        cells = coarse_cells(self.earth, 0.1, 0.0)
        series = {
            "swvl1": (swvl1_daily(self.earth, cells), 2.0**-13),
            "stl1": (_stl1(self.earth, cells), 2.0**-5),
            "sd": (_snow(self.earth, cells), 2.0**-13),
        }
        hours = np.arange(0, 24 * len(self.earth.period), 6) / 24 - 0.5
        found = {}
        for name, (whole, step) in series.items():
            values = stored(_between_days(whole, hours.clip(0, len(whole) - 1)), step)
            found[name] = values.reshape(-1, 4, whole.shape[1]).mean(axis=1)
        return found

    @cached_property
    def of_all_days(self) -> dict[str, dict[str, np.ndarray]]:
        """Mean and spread of the days of the period in each land cell, (cell,)."""
        return {name: {"mean": days.mean(axis=0), "spread": days.std(axis=0)} for name, days in self.era5_days.items()}

    def triplets(self, series: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
        """Series of the sites, ERA5-Land and ESA CCI in the cell that holds the pixel, on every measured day."""
        fine, wide = coarse_cells(self.earth, 0.1, 0.0), coarse_cells(self.earth, 0.25, 0.125)
        daily = swvl1_daily(self.earth, fine)
        parts = []
        for day in self.earth.cci_days:
            at = (day - self.earth.period.start).days + np.arange(0, 24, 6) / 24 - 0.5
            hours = stored(_between_days(daily, at.clip(0, len(daily) - 1)), 2.0**-13).mean(axis=0)
            era5 = self.regridded(fine.grid(hours, np.nan), degrees(fine, 0.1), "nearest")
            cci = self.regridded(wide.grid(cci_day(self.earth, wide, day)[0], np.nan), degrees(wide, 0.25), "nearest")
            parts.append(pd.DataFrame({"site": names, "date": pd.Timestamp(day), "era5land": era5, "third": cci}))
        coarse_series = pd.concat(parts, ignore_index=True).astype({"date": "datetime64[ns]"})
        joined = series.rename(columns={"sm": "insitu"}).merge(coarse_series, on=["site", "date"])
        return joined[["site", "date", "insitu", "era5land", "third"]]

    def soil(self) -> dict[str, np.ndarray]:
        """Percent, mean of the pixels of 250 m; their values are the same in blocks of 1 km."""
        left, top, _ = _window(self.earth)
        found = {}
        for name in ("sand", "silt", "clay"):
            blocks = _properties(self.earth)[name].astype(np.float32)
            values = np.repeat(np.repeat(np.where(blocks < 0, np.nan, blocks / 10), 4, 0), 4, 1)
            grid = GeoBox(values.shape, Affine(250, 0, left, 0, -250, top), crs_wkt(_HOMOLOSINE))
            found[name] = self.regridded(values, grid, "average")
        return found

    def terrain(self) -> dict[str, np.ndarray]:
        """Elevation and slope, mean of the pixels of 3 arc seconds whose centres lie in the pixel."""
        step, reach = 1 / 1200, np.arange(-9, 10)
        x, y = self.target.centres
        lon, lat = transform_points(str(GRID.crs), "OGC:CRS84", x, y)
        north = (np.rint(lat / step)[:, None] - reach) * step  # north to south, as in the tiles
        east = (np.rint(lon / step)[:, None] + reach) * step
        lines = np.repeat(east, len(reach), axis=0)
        heights = stored(elevation(self.earth, north.ravel(), lines, fine=True), 1 / 8)
        heights = heights.reshape(len(x), len(reach), len(reach))
        steep = slopes(heights, north, step)
        at = transform_points("OGC:CRS84", str(GRID.crs), lines.ravel(), np.repeat(north.ravel(), len(reach)))
        columns, rows = ~self.target.geobox.affine * at
        shape = heights.shape
        mine = (np.floor(rows).reshape(shape) == self.rows[:, None, None]) & (
            np.floor(columns).reshape(shape) == self.columns[:, None, None]
        )
        return {name: np.nanmean(np.where(mine, one, np.nan), axis=(1, 2)) for name, one in
                (("elevation", heights), ("slope", steep))}  # fmt: skip

    def regridded(self, values: np.ndarray, grid: GeoBox, resampling: str) -> np.ndarray:
        window = (slice(0, values.shape[0]), slice(0, values.shape[1]))
        key = (grid, resampling)
        if key not in self._lookups:
            self._lookups[key] = pixel_lookup(grid, window, self.target, resampling)
        return regrid(self.target.shape, [values.astype(np.float32)], [self._lookups[key]], resampling)

    @property
    def _lookups(self) -> dict:
        return self.__dict__.setdefault("known", {})


def stored(values: np.ndarray, step: float) -> np.ndarray:
    """Values as a file holds them."""
    return np.rint(values / step) * step


def degrees(cells, spacing: float) -> GeoBox:
    """Grid of the coarse cells, north up."""
    left, top = cells.lon[0] - spacing / 2, cells.lat[0] + spacing / 2
    return GeoBox((len(cells.lat), len(cells.lon)), Affine(spacing, 0, left, 0, -spacing, top), crs_wkt("EPSG:4326"))


def slopes(heights: np.ndarray, north: np.ndarray, step: float) -> np.ndarray:
    """Degrees, of central differences over metres on the ellipsoid; (pixel, y, x)."""
    from stac_sm.ingest.terrain import _radii

    meridian, parallel = _radii(north)
    down = np.gradient(heights, axis=1) / (meridian * np.radians(step))[:, :, None]
    across = np.gradient(heights, axis=2) / (parallel * np.radians(step))[:, :, None]
    return np.degrees(np.arctan(np.hypot(down, across)))


def text(found: dict) -> str:
    lines = []
    for name, one in found["summary"].items():
        lines.append(f"{name}: " + ", ".join(f"{key} {value}" for key, value in one.items()))
    lines += [", ".join(f"{key} {value}" for key, value in one.items()) for one in found["outcomes"]]
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=101, help="the first seed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
