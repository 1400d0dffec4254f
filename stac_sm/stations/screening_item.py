"""Verdicts: what screening says about a station, kept on its item, where everybody who opens it sees it.

An item is replaced by compare-and-swap, and its assets stay as they are. Its fingerprint covers the verdict, too; that
of the ingest is kept beside it (`INGEST_FINGERPRINT_PROPERTY`), so that ingesting the same file again changes nothing.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from stac_sm.core.errors import CatalogError
from stac_sm.core.fingerprint import digest
from stac_sm.stac.catalogs.catalog import Catalog
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, INGEST_FINGERPRINT_PROPERTY, publish_if_unchanged

if TYPE_CHECKING:
    import pandas as pd

SCREENING_STATUS_PROPERTY, SCREENING_SCORES_PROPERTY = "stac_sm:tc_status", "stac_sm:tc"
NO_SITE_STATUS = "not screened: outside the grid, or no sensor in the layer"
LEFT_OUT_STATUS = "not screened: left out of training"
NO_DATA_STATUS = "not screened: no measured day in the period"
_FIGURES = ("correlation", "correlation_low", "correlation_high", "error_std", "snr_db")
_PLACES = 6  # decimals


def screening_properties(
    sites: pd.DataFrame, judged: pd.DataFrame, about: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Properties of every station that belongs to a site, by the station's id.

    Parameters
    ----------
    sites
        ``site`` and ``stations`` (list of ids): all stations of a site are judged by their mean.
    judged
        `ScreeningResult.sites`.
    about
        What else to say beside the figures: the other data sets, the period.
    """
    rows: dict[str, dict[str, Any]] = {
        str(row["site"]): {str(key): value for key, value in row.items()} for row in judged.to_dict("records")
    }
    return {
        station: _properties(str(site), rows.get(str(site)), about)
        for site, members in zip(sites["site"], sites["stations"], strict=True)
        for station in members
    }


def write_screening_results(
    catalog: Catalog, stations: Iterable[tuple[str, str, str]], said: Mapping[str, Mapping[str, Any]]
) -> Counter[str]:
    """Put verdicts on the items of stations; those that have theirs are left alone.

    Parameters
    ----------
    stations
        Id, href and checksum of the series of each; where the item has another series by now, it is left alone, for
        the verdict is not about that.
    said
        What `screening_properties` gives; a station that is not in it is told that it belongs to no site.

    Returns
    -------
    Counter
        Number of items by outcome: ``replaced``, ``done``, ``changed`` (another series).

    Raises
    ------
    ConflictError
        If another writer replaces an item at the same time.
    """
    outcomes: Counter[str] = Counter()
    for id, href, checksum in stations:
        path = _path(catalog, href)
        content = catalog.store.read(path)
        item = json.loads(content)
        if item["assets"]["series"].get("file:checksum", "") != checksum:
            outcomes["changed"] += 1
            continue
        item["properties"] = _with_screening_result(
            item["properties"], said.get(id, {SCREENING_STATUS_PROPERTY: NO_SITE_STATUS})
        )
        outcomes[str(publish_if_unchanged(catalog, item, {}, content))] += 1
    return outcomes


def _properties(site: str, row: Mapping[str, Any] | None, about: Mapping[str, Any]) -> dict[str, Any]:
    if row is None:
        return {SCREENING_STATUS_PROPERTY: NO_DATA_STATUS}
    figures = {name: round(float(row[name]), _PLACES) for name in _FIGURES if math.isfinite(row[name])}
    return {
        SCREENING_STATUS_PROPERTY: str(row["status"]),
        SCREENING_SCORES_PROPERTY: {"n": int(row["n"]), **figures, "site": site, **about},
    }


def _with_screening_result(properties: Mapping[str, Any], verdict: Mapping[str, Any]) -> dict[str, Any]:
    ingested = properties.get(INGEST_FINGERPRINT_PROPERTY, properties[FINGERPRINT_PROPERTY])
    plain = {
        key: value
        for key, value in properties.items()
        if key not in {SCREENING_STATUS_PROPERTY, SCREENING_SCORES_PROPERTY, INGEST_FINGERPRINT_PROPERTY}
    }
    told = {**verdict, **plain}  # first what is read first
    return told | {FINGERPRINT_PROPERTY: digest([ingested, verdict]), INGEST_FINGERPRINT_PROPERTY: ingested}


def _path(catalog: Catalog, href: str) -> str:
    root = catalog.root.rstrip("/") + "/"
    if not href.startswith(root):
        raise CatalogError(f"{href} lies outside of the catalogue {catalog.root}: only its own items can be judged")
    return href.removeprefix(root)
