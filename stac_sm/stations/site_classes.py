"""Say what class each site is of: climate, land cover, elevation and sensing depth.

`validate` and the report of a model score by these classes, so that the same site is of the same class in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from stac_sm.core.scores.groups import (
    CLIMATE,
    DEPTH,
    ELEVATION,
    LAND_COVER,
    climate_class,
    depth_class,
    elevation_class,
    land_cover_class,
)
from stac_sm.stations.records import Station, StationRules

SitesOfStations = Mapping[str, tuple[Station, tuple[tuple[float, float], ...]]]
"""Site -> its first station, and upper and lower end of each sensor of its stations that counts, m."""


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


def site_classes(sites: SitesOfStations) -> pd.DataFrame:
    """Return the classes of sites.

    Parameters
    ----------
    sites
        As `stations_at_sites` gives them.

    Returns
    -------
    pandas.DataFrame
        The index is the site; columns `CLIMATE`, `LAND_COVER`, `ELEVATION` and `DEPTH` of `core.scores.groups` with
        names of classes, empty where it is not known: what `score_groups` takes.
    """
    return pd.DataFrame(
        {
            CLIMATE: {site: climate_class(one.climate) for site, (one, _) in sites.items()},
            LAND_COVER: {site: land_cover_class(one.land_cover) for site, (one, _) in sites.items()},
            ELEVATION: {site: elevation_class(one.elevation) for site, (one, _) in sites.items()},
            DEPTH: {site: depth_class(depths) for site, (_, depths) in sites.items()},
        }
    )
