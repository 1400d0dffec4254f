"""Say what class each site is of: climate, land cover, elevation and sensing depth.

`validate` and the report of a model score by these classes, so that the same site is of the same class in both.
"""

from __future__ import annotations

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
from stac_sm.stations.records import SitesOfStations


def site_classes(sites: SitesOfStations) -> pd.DataFrame:
    """Return the classes of sites.

    Parameters
    ----------
    sites
        As `stac_sm.stations.records.stations_at_sites` gives them.

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
