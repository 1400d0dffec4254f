"""ERA5-Land in NetCDF, as the Climate Data Store has made it.

Old layout (until 2024): classic NetCDF, ``time``, packed integers, and where final and preliminary data meet a
dimension ``expver`` of 1 and 5. New layout: NetCDF-4, ``valid_time``, with ``number`` and ``expver`` beside it. Files
that cfgrib made of forecasts have a reference time, steps and their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from stac_sm.ingest.formats.field_arrays import hourly_fields
from stac_sm.ingest.formats.hourly import HourlyFields
from stac_sm.ingest.formats.netcdf import open_arrays


def open_era5_netcdf(file: Path, required: Sequence[str]) -> HourlyFields:
    """Open the fields of a file; reads coordinates only.

    Raises
    ------
    GranuleError
        If it is no NetCDF, or holds something else.
    """
    return hourly_fields(file, partial(open_arrays, file), required)
