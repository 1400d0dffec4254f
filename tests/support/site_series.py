"""Sites on the tile of the small project with a daily series each, and their match-ups."""

from __future__ import annotations

import pandas as pd

from stac_sm.stations.matchups import match_up, resolve_sites
from tests.support.fields import DAYS, RECIPE, SMALL, TILE

PLACES = {"A": (39, 49), "B": (20, 25), "C": (26, 35), "D": (0, 0), "E": (30, 3)}
"""Row and column: C lies in the gap of LST, D and part of the others in the frost."""


def sites(names="ABCDE"):
    rows = [(name, "NET", 11.0, 47.0, TILE, *PLACES[name]) for name in names]
    return pd.DataFrame(rows, columns=["site", "network", "lon", "lat", "tile", "row", "col"])


def series(names="ABCDE", days=DAYS):
    rows = [(name, pd.Timestamp(day), 0.2 + i / 100, 24) for i, name in enumerate(names) for day in days.days]
    return pd.DataFrame(rows, columns=["site", "date", "sm", "n"])


def matched(catalog, names="ABCDE", reader="stackstac", workers=1, **other):
    where = sites(names)
    resolutions = resolve_sites(catalog, RECIPE, where, DAYS, SMALL)
    rows = other.get("series", series(names))
    return match_up(other.get("sites", where), rows, resolutions, SMALL, reader=reader, workers=workers)
