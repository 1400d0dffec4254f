"""Sources without an interface: the page, and the selection for this very project."""

from __future__ import annotations

import pytest

from stac_sm.core.errors import InputError
from stac_sm.fetch.by_hand import BY_HAND, merit_packages
from stac_sm.fetch.registry import fetch_sources
from stac_sm.ingest.registry import provider_classes
from tests.support.fetching import listed, project_with


@pytest.fixture
def project(tmp_path):
    more = "\n[stations]\nmax_depth = 0.1\n"
    return project_with(tmp_path / "p", ("glass-lai", "lai", "composite"), ("era5-land", "swvl1", "daily"), more=more)


def steps(project, source, **place):
    made = listed(project, source, "2018-06-01/2018-06-30", **place)
    assert made.page.startswith("https://")
    assert made.why
    assert made.listing.requests == ()
    return "\n".join(made.steps)


def test_glass_names_folders_tiles_and_days_of_the_products_of_the_recipe(project):
    text = steps(project, "glass", tiles=("h18v04", "h19v04"))
    assert "tiles: h18v04, h19v04" in text
    assert "https://glass.hku.hk/archive/LAI/MODIS/500M/YYYY/DDD/, YYYY/DDD from 2018/105 to 2018/228" in text
    assert "GLASS06A01" not in text, "the recipe takes no temperature"


def test_ismn_names_area_period_variable_and_depth(project):
    text = steps(project, "ismn", bbox=(6.0, 43.0, 9.0, 46.0))
    assert "west 6, south 43, east 9, north 46" in text
    assert "2018-06-01 to 2018-06-30" in text
    assert "variable: soil moisture; depth: 0 to 0.1 m" in text


def test_merit_names_packages_and_licence(project):
    assert "dem_tif_n30e000.tar" in steps(project, "merit-dem", bbox=(6.0, 43.0, 9.0, 46.0))
    assert merit_packages((-120.5, 29.0, -119.5, 31.0)) == [
        "dem_tif_n00w150.tar", "dem_tif_n00w120.tar", "dem_tif_n30w150.tar", "dem_tif_n30w120.tar",
    ]  # fmt: skip
    assert merit_packages((10.0, -90.0, 20.0, -60.0)) == []


@pytest.mark.parametrize("source", ["smap", "smap-s1"])
def test_smap_names_product_and_period(project, source):
    text = steps(project, source, bbox=(6.0, 43.0, 9.0, 46.0))
    assert "SPL" in text
    assert "2018-06-01 to 2018-06-30" in text


NEITHER: set[str] = set()
"""Sources of ingest whose files nobody is told how to get; a new one is in `fetch/`, in `by_hand`, or here."""


def test_each_source_of_ingest_is_fetched_or_by_hand_or_named_as_neither():
    table = fetch_sources()
    missing = {name for name in provider_classes() if name not in table and not name.startswith("glass-")}
    assert missing == NEITHER


def test_of_a_source_that_is_only_ingested_fetch_says_so(project, monkeypatch):
    monkeypatch.setattr("stac_sm.fetch.registry.BY_HAND", [one for one in BY_HAND if one.name != "smap"])
    with pytest.raises(InputError, match=r"source 'smap' can be ingested, .* then `stac-sm ingest smap FILES`"):
        listed(project, "smap")


def test_each_is_a_source_of_ingest(tmp_path):
    known = set(provider_classes())
    for one in BY_HAND:
        assert {one.name, f"{one.name}-lst"} & known
