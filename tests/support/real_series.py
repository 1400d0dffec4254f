"""Real series that judges of scores compare: pytesmo's point of four data sets, and stations on Hawaii."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd

from tests.support.source_files import DATA, HAWAII

POINT = DATA / "pytesmo_tc_point/cci44_merra2_gldas21_era5_at_-91.625_32.875.csv"
POINT_NAMES = {"sm": "ESA CCI", "SFMC": "MERRA-2", "SoilMoi0_10cm_inst": "GLDAS", "swvl1": "ERA5"}
HAWAIIAN_STATIONS = tuple(path.stem for path in sorted((HAWAII / "derived_collocated_daily_2017_2018").glob("*.csv")))


def point_series() -> pd.DataFrame:
    """Four data sets at one point of pytesmo's repository, by day."""
    return pd.read_csv(POINT, index_col=0, parse_dates=True).rename(columns=POINT_NAMES)


def hawaiian_series(station: str) -> pd.DataFrame:
    """In situ, ERA5-Land, ESA CCI and SMAP at a station on Hawaii, by day."""
    path = HAWAII / Path("derived_collocated_daily_2017_2018", f"{station}.csv")
    return pd.read_csv(path, index_col="date", parse_dates=True)


def quietly(name: str, attribute: str):
    """Import something of pytesmo, which warns about distutils when it is imported."""
    import importlib

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(importlib.import_module(name), attribute)
