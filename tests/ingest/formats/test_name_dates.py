"""Dates in file names: what strptime reads of the same text, wherever it stands, and no other number beside it."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import GranuleError, InputError
from stac_sm.core.period import Period
from stac_sm.ingest.formats.name_dates import NamePattern, named_day
from stac_sm.ingest.pipeline import ingest
from tests.support.smap_files import L3, S1
from tests.support.source_files import new_catalog, write_cci, write_lst, write_stm

DAYS = st.dates(date(1970, 1, 1), date(2060, 12, 31))
BY_DAY = ["%Y%j", "%Y%m%d", "%Y-%m-%d", "%d.%m.%Y", "%y%j", "%Y_%b_%d", "%Y%m%dT%H%M%S", "d%Y.%j_"]


def period(pattern: str, name: str) -> Period:
    return NamePattern(pattern).period_of(Path(name))


@given(DAYS, st.sampled_from(BY_DAY), st.sampled_from(["", "sm_", "A", "v1.", "x-12_"]))
def test_a_day_that_strftime_wrote_is_read(day, pattern, before):
    if "%y" in pattern and day.year > 2060:
        return
    text = datetime(day.year, day.month, day.day, 13, 5, 9).strftime(pattern)
    assert period(pattern, f"/x/{before}{text}.tif") == Period.of_day(day)


@given(st.integers(0, 9_999_999).map(lambda number: f"{number:07d}"))
def test_seven_digits_are_a_day_where_strptime_reads_them_as_one(digits):
    try:
        known = datetime.strptime(digits, "%Y%j").date()
    except ValueError:
        known = None
    try:
        found = period("%Y%j", f"a_{digits}_b.tif")
    except GranuleError:
        found = None
    if known is None or known.year >= 1000:  # strptime takes the year 0001
        assert found == (None if known is None or known == date(9999, 12, 31) else Period.of_day(known))


@pytest.mark.parametrize(
    ("pattern", "name", "days"),
    [
        ("%Y", "sm_2018_mean.tif", "2018"),
        ("%Y%m", "sm.201802.tif", "2018-02"),
        ("%Y_%b", "sm_2018_FEB.tif", "2018-02"),
        ("%Y/%j", "/data/2018/032.tif", "2018-02-01"),
        ("A%Y%j", "GLASS.A2018032.h18v04.2022021.tif", "2018-02-01"),
        ("%Y%j", "2018032-2018032.tif", "2018-02-01"),  # the same day twice is one
        ("100%%_%Y", "100%_2018.tif", "2018"),
    ],
)
def test_how_fine_the_pattern_is_says_how_long_the_file_counts(pattern, name, days):
    assert period(pattern, name) == Period.parse(days)


@pytest.mark.parametrize(
    ("pattern", "name", "says"),
    [
        ("%Y%j", "A2018001.2022021.tif", r"several dates like '%Y%j' .*2018-01-01, 2022-01-21.*'A%Y%j'"),
        ("%Y%j", "sm_20180101.tif", r"no date like '%Y%j' found in sm_20180101.tif"),  # eight digits are not seven
        ("%Y%j", "sm_2018366.tif", "no date"),  # 2018 has 365 days
        ("%Y%m%d", "sm_20180230.tif", "no date"),
        ("%Y/%Y%j", "/x/2017/2018001.tif", "no date"),  # folder and name contradict each other
    ],
)
def test_a_name_without_one_clear_date_is_refused(pattern, name, says):
    with pytest.raises(GranuleError, match=says):
        period(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("%j", "a year"),
        ("%Y%d", "a year"),
        ("%Y%m%j", "a year"),
        ("name", "a year"),
        ("%Y%q", "%q found"),
        ("%Y%H", "without a day"),
    ],
)
def test_a_pattern_that_is_no_date_is_refused(pattern, says):
    with pytest.raises(InputError, match=says):
        NamePattern(pattern)


def test_every_day_of_a_leap_year():
    for number in range(366):
        day = date(2020, 1, 1) + timedelta(number)
        assert period("%Y%j", f"{day:%Y%j}.tif") == Period.of_day(day)


@given(st.integers(0, 99_999_999).map(lambda number: f"{number:08d}") | DAYS.map("{:%Y%m%d}".format))
def test_eight_digits_are_a_day_where_the_calendar_has_it(digits):
    try:
        known = date.fromisoformat(f"{digits[:4]}-{digits[4:6]}-{digits[6:]}")
    except ValueError:
        known = None
    if known is not None and known.year >= 1000:
        assert named_day("a.nc", digits) == known
    else:
        with pytest.raises(GranuleError, match=f"a.nc: its name has day {digits}, which does not exist"):
            named_day("a.nc", digits)


def touched(path: Path) -> Path:
    path.write_bytes(b"not read: the name is wrong already")
    return path


CUT = {"lat": np.arange(46.875, 44, -0.25), "lon": np.arange(3.125, 9, 0.25)}
MISDATED = {
    "esa-cci-sm": lambda folder: write_cci(
        folder, name="ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-20181399000000-fv08.1.nc", **CUT
    )[0],
    "glass-lst": lambda folder: write_lst(folder, day="2018399"),
    "modis": lambda folder: touched(folder / "MOD11A1.A2018399.h18v04.061.2021299093744.hdf"),
    "smap": lambda folder: touched(folder / re.sub(r"_20\d{6}", "_20181399", L3)),
    "smap-s1": lambda folder: touched(folder / re.sub(r"_20\d{6}T", "_20181399T", S1, count=1)),
    "ismn": lambda folder: write_stm(folder).rename(folder / "NET_NET_A_sm_0.05_0.05_P_20181399_20190101.stm"),
}


@pytest.mark.parametrize("source", MISDATED)
def test_a_name_with_a_day_that_does_not_exist_is_no_damaged_file(tmp_path, source):
    (result,) = ingest(new_catalog(tmp_path / "catalog"), source, [MISDATED[source](tmp_path)])
    assert re.search(r"its name has day 2018(13|3)99, which does not exist, a day like 2018\d+ expected", result.error)
    assert "fetch it again" not in result.error
