"""Read what the stations of a project measured in the pixel that holds a point.

``stac-sm plot --at`` draws it beside the product, in a picture that stays with the user. Nothing here is
published, since the licence of station data may forbid to pass it on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stac_sm.core.period import Period
from stac_sm.stations.records import STATIONS_COLLECTION, read_stations, site_daily_means, sites_of_stations
from stac_sm.workflows.project import Project

if TYPE_CHECKING:
    import pandas as pd


def station_series(project: Project, lon: float, lat: float, period: Period) -> pd.DataFrame | None:
    """Return the daily means of the stations in the pixel of a point, by the rules of the project.

    Parameters
    ----------
    project
        Its catalogue holds the stations.
    lon, lat
        Degrees east and north.
    period
        UTC days.

    Returns
    -------
    pandas.DataFrame or None
        ``site``, ``date`` (UTC day), ``sm`` (m3 m-3) and ``n`` (readings); None where no station lies in the pixel.

    Raises
    ------
    CatalogError
        If no station has a point and a series.
    InputError
        If the point is none.
    ReadError
        If a series cannot be read.
    """
    catalog = project.catalog
    if STATIONS_COLLECTION not in catalog.collections:
        return None
    stations = read_stations(catalog)
    where = sites_of_stations(stations, project.grid, rules=project.stations)
    tile, row, column = project.grid.tile_at(lon, lat)
    here = where[(where["tile"] == tile) & (where["row"] == row) & (where["col"] == column)]
    if here.empty:
        return None
    found, _ = site_daily_means(here, stations, project.stations)
    return found[(found["date"] >= str(period.start)) & (found["date"] < str(period.end))].reset_index(drop=True)
