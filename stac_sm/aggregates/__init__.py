"""Aggregates of the tile-days: global days, monthly and annual means, published by the same rule as what they are
made from.

They are made within bounded memory: one tile-day or a few blocks of the globe at a time.
"""

from __future__ import annotations

from stac_sm.aggregates.means import ANNUAL, MONTHLY, make_means
from stac_sm.aggregates.members import Made
from stac_sm.aggregates.mosaic import DAILY_GLOBAL, make_mosaics
from stac_sm.aggregates.stale import AGGREGATES, Stale, stale_aggregates

__all__ = [
    "AGGREGATES",
    "ANNUAL",
    "DAILY_GLOBAL",
    "MONTHLY",
    "Made",
    "Stale",
    "make_means",
    "make_mosaics",
    "stale_aggregates",
]
