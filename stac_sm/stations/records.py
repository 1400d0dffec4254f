"""Read the stations of the ISMN collection, their daily means, and the sites that share a pixel.

`ingest` has written each station as a STAC item with its hourly series in Parquet. The training and the validation
workflow read the stations here, group them into sites (all stations in one pixel) and compute the daily means that
`matchups` joins with features.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from stac_sm.core.errors import CatalogError, InputError, ReadError
from stac_sm.core.grid import TileGrid
from stac_sm.core.parallel import map_jobs
from stac_sm.core.period import Period
from stac_sm.core.variables import SURFACE_DEPTH
from stac_sm.stac.catalogs.search import ItemSearch, item_period
from stac_sm.storage.address import asset_address
from stac_sm.storage.store import table_file

if TYPE_CHECKING:
    import pandas as pd
    import pystac
    from numpy.typing import NDArray

STATIONS_COLLECTION = "ismn-stations"
DROPPED = ("depth", "flag", "range", "hours")
"""Why readings are not used, in the order of the checks: depth, quality flag, range, too few in a day."""
SOIL_PROPERTIES = ("clay_fraction", "sand_fraction", "silt_fraction", "organic_carbon", "saturation")
"""Numbers of a layer of soil in the item of a station."""
_FEW = 50  # so many stations are read before worker processes have started


@dataclass(frozen=True)
class Station:
    """A station as its item describes it, without its series."""

    id: str
    """Id of its item, ``{network}.{station}``."""

    network: str
    """Network that runs it."""

    name: str
    """Name in the network."""

    lon: float
    """Degrees east."""

    lat: float
    """Degrees north."""

    depths: tuple[tuple[float, float], ...]
    """Upper and lower end of every sensor that has values, m."""

    period: Period
    """Days that its series spans."""

    href: str
    """Href of its item."""

    series: str
    """Href of its series: Parquet with time, sensor, depth_from, depth_to, sm, flag."""

    checksum: str
    """``file:checksum`` of the series."""

    climate: str = ""
    """Koeppen-Geiger code, where the archive has one."""

    elevation: float = math.nan
    """Metres above sea level; NaN where the archive has none."""

    land_cover: int = 0
    """Code of the newest ESA CCI land cover map; 0 where the archive has none."""

    instruments: tuple[str, ...] = ()
    """Names of its sensors, each once."""

    soil: Mapping[str, float] = field(default_factory=dict)
    """Clay, sand and silt fraction and organic carbon (% weight) and saturation (m3 m-3) of the uppermost layer."""

    @property
    def provenance(self) -> list[object]:
        """Everything about it that match-ups depend on: series, network, place and depths, but no screening result."""
        return [self.id, self.checksum, self.network, self.lon, self.lat, [list(pair) for pair in self.depths]]


@dataclass(frozen=True)
class StationRules:
    """Which readings count, and when a day has enough of them."""

    max_depth: float = SURFACE_DEPTH
    """Deepest lower end of a sensor, m, compared after rounding to the centimetre: 0.0508 (2 inches) counts."""

    flag: str = "G"
    """The one quality flag that counts, exactly."""

    valid: tuple[float, float] = (0.0, 0.6)
    """Soil moisture must lie between these, both excluded, m3 m-3."""

    min_hours: int = 12
    """Least number of readings of one sensor in a UTC day."""

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return the rules as they enter fingerprints.

        Returns
        -------
        dict
            Name to value. The keys are spelled out, so that renaming a field makes no result stale.
        """
        return {
            "max_depth": self.max_depth,
            "flag": self.flag,
            "valid": self.valid,
            "min_hours": self.min_hours,
        }

    def includes_depth(self, depth_from: float, depth_to: float) -> bool:
        """Return whether a sensor lies in the layer.

        Parameters
        ----------
        depth_from, depth_to
            Upper and lower end of the sensor below the surface, m.

        Returns
        -------
        bool
            True if it does not reach deeper than ``max_depth``; both are rounded to the centimetre.
        """
        return depth_from >= 0 and round(100 * depth_to) <= round(100 * self.max_depth)


SitesOfStations = Mapping[str, tuple[Station, tuple[tuple[float, float], ...]]]
"""Site -> its first station, and upper and lower end of each sensor of its stations that counts, m."""


def read_stations(catalog: ItemSearch, left_out: dict[str, str] | None = None) -> list[Station]:
    """Read all stations of a catalogue; no series is read.

    Parameters
    ----------
    catalog
        Catalogue with the collection of stations.
    left_out
        Gets the stations and sensors that cannot be right, and why, by id of the station, or ``ID/NUMBER`` of a sensor
        in its list. None: they are passed over.

    Returns
    -------
    list of Station
        In the order of their ids.

    Raises
    ------
    CatalogError
        If there is no such collection, or no station has a point and a series.
    """
    found: list[Station] = []
    errors = {} if left_out is None else left_out
    items = catalog.items(STATIONS_COLLECTION, left_out=errors)
    for item in items:
        try:
            found.append(_station(item, errors))
        except CatalogError as error:
            errors[item.id] = str(error)
    if items and not found:
        raise CatalogError(errors[items[0].id])
    return found


def station_daily_means(station: Station, *, rules: StationRules) -> pd.DataFrame:
    """Compute the daily means of a station.

    Parameters
    ----------
    station
        The station; its series is read.
    rules
        Which readings count, and how many a day needs.

    Returns
    -------
    pandas.DataFrame
        ``date`` (datetime64[ns], UTC day, ascending), ``sm`` (m3 m-3, mean over sensors of each sensor's mean over its
        readings of the day) and ``n`` (readings of all sensors). Days without enough readings have no row.

    Raises
    ------
    ReadError
        If the series cannot be read.
    """
    return _read_daily(station, rules)[0]


def sites_of_stations(
    stations: Iterable[Station], grid: TileGrid, *, rules: StationRules = StationRules()
) -> pd.DataFrame:
    """Group stations into sites: all stations in one pixel of a grid are one site.

    Stations outside the grid, and those without a sensor in the layer of the rules, belong to no site.

    Parameters
    ----------
    stations
        The stations, in any order.
    grid
        The grid of the pixels.
    rules
        Which sensors count.

    Returns
    -------
    pandas.DataFrame
        A row a site: ``site`` (id of its first station), ``stations`` (list of ids, ascending), ``network``, ``lon``,
        ``lat`` (those of the first station; degrees), ``tile``, ``row``, ``col`` (its pixel). In the order of ``site``.
    """
    import pandas as pd

    usable = (station for station in stations if any(rules.includes_depth(*depths) for depths in station.depths))
    ordered = sorted(usable, key=lambda station: station.id)
    pixels = [_pixel(grid, station) for station in ordered]
    inside = pd.DataFrame(
        [
            (station.id, station.network, station.lon, station.lat, *pixel)
            for station, pixel in zip(ordered, pixels, strict=True)
            if pixel is not None
        ],
        columns=["site", "network", "lon", "lat", "tile", "row", "col"],
    )
    pixel = ["tile", "row", "col"]
    firsts = inside.drop_duplicates(pixel)
    members = inside.groupby(pixel)["site"].agg(list).rename("stations").reset_index()
    found = firsts.merge(members, on=pixel, how="left", validate="one_to_one")
    return found[["site", "stations", "network", "lon", "lat", *pixel]]


def stations_at_sites(sites: pd.DataFrame, stations: Iterable[Station], rules: StationRules) -> SitesOfStations:
    """Return the first station of each site, and the depths of the sensors that count there.

    Parameters
    ----------
    sites
        As `sites_of_stations` gives them: ``site``, and ``stations``, the ids of those in its pixel.
    stations
        At least all stations of the sites.
    rules
        Which sensors count.

    Returns
    -------
    dict
        In the order of the sites.
    """
    by_id = {one.id: one for one in stations}
    found = {}
    for site, members in zip(sites["site"], sites["stations"], strict=True):
        depths = dict.fromkeys(ends for id in members for ends in by_id[id].depths if rules.includes_depth(*ends))
        found[str(site)] = (by_id[site], tuple(depths))
    return found


def site_daily_means(
    sites: pd.DataFrame,
    stations: Iterable[Station],
    rules: StationRules,
    *,
    period: Period | None = None,
    workers: int = 1,
) -> tuple[pd.DataFrame, Counter[str]]:
    """Compute the daily means of all sites, and count the readings that are not used.

    Parameters
    ----------
    sites
        The sites, as `sites_of_stations` gives.
    stations
        At least all stations of the sites.
    rules
        Which readings count, and how many a day needs.
    period
        UTC days: readings outside are neither used nor counted; None: all that there are.
    workers
        Processes that read. With more than one the caller's main module must be importable. Does not change the table.

    Returns
    -------
    pandas.DataFrame
        ``site``, ``date`` (UTC day), ``sm`` (m3 m-3, mean over the stations of the site) and ``n`` (readings), in order
        of site and date.
    Counter
        Readings that were not used, by reason (see ``DROPPED``).

    Raises
    ------
    ReadError
        If a series cannot be read.
    """
    import pandas as pd

    by_id = {station.id: station for station in stations}
    pairs = zip(sites["site"], sites["stations"], strict=True)
    members_of_sites = [(site, by_id[member]) for site, members in pairs for member in members]
    dropped: Counter[str] = Counter(dict.fromkeys(DROPPED, 0))
    frames = []
    read = [station for _, station in members_of_sites]
    daily_series = map_jobs(partial(_read_daily, rules=rules, period=period), read, workers, chunk=8, least_jobs=_FEW)
    for (site, _), (daily, counts) in zip(members_of_sites, daily_series, strict=True):
        dropped.update(counts)
        frames.append(daily.assign(site=site))
    if not frames:
        return pd.DataFrame({"site": [], "date": pd.to_datetime([]), "sm": [], "n": []}), dropped
    daily = pd.concat(frames, ignore_index=True)
    return daily.groupby(["site", "date"], as_index=False).agg(sm=("sm", "mean"), n=("n", "sum")), dropped


def _read_daily(
    station: Station, rules: StationRules, period: Period | None = None
) -> tuple[pd.DataFrame, Mapping[str, int]]:
    series = _read_series(station)
    if period is not None:
        series = series[(series["time"] >= str(period.start)) & (series["time"] < str(period.end))]
    return _daily(series, rules)


def _daily(series: pd.DataFrame, rules: StationRules) -> tuple[pd.DataFrame, Mapping[str, int]]:
    """Return the daily means of a series, and how many of its readings were dropped for which reason."""
    probe, reached = _probes(series, rules)
    value, flag = series["sm"].to_numpy(), series["flag"]
    shallow = reached[probe]
    good = shallow & (flag == rules.flag).to_numpy()
    sound = good & (value > rules.valid[0]) & (value < rules.valid[1])
    means = _means_of_probes(series["time"].to_numpy()[sound], probe[sound], value[sound], len(reached))
    enough = means[means["size"] >= rules.min_hours]
    daily = enough.groupby("date", as_index=False).agg(sm=("mean", "mean"), n=("size", "sum"))
    counts = (len(series), *(int(kept.sum()) for kept in (shallow, good, sound)), int(enough["size"].sum()))
    lost = [before - after for before, after in pairwise(counts)]
    return daily, dict(zip(DROPPED, lost, strict=True))


def _probes(series: pd.DataFrame, rules: StationRules) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the number of every reading's probe, by name and depths, and whether each number lies in the layer."""
    import numpy as np
    import pandas as pd

    sensor = series["sensor"].astype("category").cat
    names = np.argsort(np.argsort(sensor.categories))[sensor.codes]
    upper, tops = pd.factorize(series["depth_from"], sort=True)
    lower, ends = pd.factorize(series["depth_to"], sort=True)
    pairs = np.array([rules.includes_depth(top, end) for top in tops for end in ends], dtype=bool)
    return (names * len(tops) + upper) * len(ends) + lower, np.tile(pairs, len(sensor.categories))


def _means_of_probes(time: NDArray[Any], probe: NDArray[Any], value: NDArray[Any], probes: int) -> pd.DataFrame:
    """Return ``date, mean, size`` of every day and probe, in their order."""
    import pandas as pd

    day = time.astype("datetime64[D]").astype("int64")
    means = pd.Series(value).groupby(day * max(probes, 1) + probe).agg(["mean", "size"])
    date = (means.index.to_numpy() // max(probes, 1)).astype("datetime64[D]").astype("datetime64[ns]")
    return means.assign(date=date)


def _read_series(station: Station) -> pd.DataFrame:
    import pandas as pd

    columns = ["time", "sensor", "depth_from", "depth_to", "sm", "flag"]
    try:
        return pd.read_parquet(table_file(station.series), columns=columns, read_dictionary=["sensor", "flag"])
    except (OSError, ValueError) as error:
        raise ReadError(
            f"station {station.id}: its series {station.series} cannot be read ({error}): ingest it again"
        ) from error


def _station(item: pystac.Item, left_out: dict[str, str]) -> Station:
    geometry, asset = item.geometry or {}, item.assets.get("series")
    if geometry.get("type") != "Point" or asset is None:
        found = f"{geometry.get('type')} and the assets {', '.join(item.assets) or 'none'}"
        raise CatalogError(f"item {item.id!r} has {found}; a Point and the asset series are required: ingest it again")
    try:
        lon, lat = (float(degrees) for degrees in geometry["coordinates"][:2])
        if not (abs(lon) <= 180 and abs(lat) <= 90):
            raise ValueError(f"{lon}, {lat}")
    except (LookupError, TypeError, ValueError) as error:
        raise CatalogError(
            f"item {item.id!r} lies at {str(geometry.get('coordinates'))[:60]}, degrees east and north are required: "
            "ingest it again"
        ) from error
    return Station(
        id=item.id,
        network=str(item.properties.get("stac_sm:network", "")),
        name=str(item.properties.get("stac_sm:station", item.id)),
        lon=lon,
        lat=lat,
        depths=_depths(item, left_out),
        period=item_period(item),
        href=item.self_href,
        series=asset_address(item, "series"),
        checksum=str(asset.extra_fields.get("file:checksum", "")),
        climate=str(item.properties.get("stac_sm:climate", "")),
        elevation=_number(item.properties.get("stac_sm:elevation")),
        land_cover=int(_number(item.properties.get("stac_sm:land_cover"), 0)),
        instruments=_instruments(item),
        soil=_soil(item),
    )


def _number(value: object, otherwise: float = math.nan) -> float:
    """Return a number of an item; another where it has none."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else otherwise  # type: ignore[arg-type]


def _instruments(item: pystac.Item) -> tuple[str, ...]:
    sensors = item.properties.get("stac_sm:sensors", [])
    names = [one.get("sensor") for one in sensors if isinstance(one, dict)] if isinstance(sensors, list) else []
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))


def _soil(item: pystac.Item) -> dict[str, float]:
    """Return numbers of the uppermost layer of soil; the first of several providers counts."""
    layers = item.properties.get("stac_sm:soil", [])
    known = [one for one in layers if isinstance(one, dict)] if isinstance(layers, list) else []
    upper = sorted(known, key=lambda one: _number(one.get("depth_from"), math.inf))
    found: dict[str, float] = {}
    for layer in upper:
        for name in SOIL_PROPERTIES:
            if math.isfinite(value := _number(layer.get(name))):
                found.setdefault(name, value)
    return found


def _depths(item: pystac.Item, left_out: dict[str, str]) -> tuple[tuple[float, float], ...]:
    """Return upper and lower ends of the sensors that have values, m; a sensor that cannot be right is left out."""
    sensors = item.properties.get("stac_sm:sensors", [])
    if not isinstance(sensors, list):
        left_out[f"{item.id}/sensors"] = f"item {item.id!r}: stac_sm:sensors {sensors!r:.60} found, a list is required"
        return ()
    found = set()
    for number, sensor in enumerate(sensors):
        try:
            depths, count = (sensor["depth_from"], sensor["depth_to"]), sensor["n"]
            if any(isinstance(one, bool) or not isinstance(one, int | float) for one in (*depths, count)):
                raise TypeError
            if not all(map(math.isfinite, depths)):
                raise ValueError
        except (LookupError, TypeError, ValueError):
            left_out[f"{item.id}/{number}"] = (
                f"item {item.id!r}: sensor {str(sensor)[:80]} found, numbers depth_from, depth_to and n are required: "
                "ingest it again"
            )
            continue
        if count:
            found.add(depths)
    return tuple(sorted(found))


def _pixel(grid: TileGrid, station: Station) -> tuple[str, int, int] | None:
    """Return tile, row and column of a station; None outside the grid."""
    try:
        return grid.tile_at(station.lon, station.lat)
    except InputError:
        return None
