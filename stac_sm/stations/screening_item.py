"""Write screening results to the items of stations, where everybody who opens a station sees them.

The training workflow calls this after `screening`. An item is replaced by compare-and-swap, and its assets stay as they
are. Its fingerprint covers the screening result, too; that of the ingest is kept beside it
(`INGEST_FINGERPRINT_PROPERTY`), so that ingesting the same file again changes nothing.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from stac_sm.core.errors import CatalogError
from stac_sm.core.fingerprint import digest
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, INGEST_FINGERPRINT_PROPERTY, publish_if_unchanged

if TYPE_CHECKING:
    import pandas as pd

SCREENING_STATUS_PROPERTY, SCREENING_SCORES_PROPERTY = "stac_sm:tc_status", "stac_sm:tc"
NO_SITE_STATUS = "not screened: outside the grid, or no sensor in the layer"
LEFT_OUT_STATUS = "not screened: left out of training"
NO_DATA_STATUS = "not screened: no measured day in the period"
_FIGURES = (
    "correlation",
    "correlation_low",
    "correlation_high",
    "error_std",
    "error_std_low",
    "error_std_high",
    "snr_db",
)
_COUNTS = ("n", "resamples", "failed_resamples")
_PLACES = 6  # decimals
_NOT_SCREENED = {NO_SITE_STATUS: "no site", LEFT_OUT_STATUS: "left out", NO_DATA_STATUS: "no data"}  # in identities


def screening_properties(
    sites: pd.DataFrame, screening_sites: pd.DataFrame, about: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the properties with the screening result for every station that belongs to a site.

    Parameters
    ----------
    sites
        ``site`` and ``stations`` (list of ids): all stations of a site are screened by their mean.
    screening_sites
        Rows of the screened sites: `ScreeningResult.sites`.
    about
        Further facts for the item beside the figures: the other data sets, the period, the rules that decided.

    Returns
    -------
    dict
        Station id to properties; a site without a row gets the status that it has no measured day.
    """
    rows: dict[str, dict[str, Any]] = {
        str(row["site"]): {str(key): value for key, value in row.items()} for row in screening_sites.to_dict("records")
    }
    return {
        station: _properties(str(site), rows.get(str(site)), about)
        for site, members in zip(sites["site"], sites["stations"], strict=True)
        for station in members
    }


def write_screening_results(
    catalog: WritableCatalog, stations: Iterable[tuple[str, str, str]], results: Mapping[str, Mapping[str, Any]]
) -> Counter[str]:
    """Write screening results to the items of stations; an item that has its result already is left alone.

    Parameters
    ----------
    catalog
        The catalogue whose store holds the items.
    stations
        Id, href and checksum of the series of each station. Where the item has another series by now, it is left alone,
        because the result is not about that one.
    results
        Station id to properties, as `screening_properties` gives; a station without any gets the status that it belongs
        to no site.

    Returns
    -------
    Counter
        Number of items by outcome: ``replaced``, ``done``, ``changed`` (another series).

    Raises
    ------
    CatalogError
        If an item lies outside of the catalogue.
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
            item["properties"], results.get(id, {SCREENING_STATUS_PROPERTY: NO_SITE_STATUS})
        )
        # Not `make_once`: ingest made the item and its assets; only properties are added to what was read.
        outcomes[str(publish_if_unchanged(catalog, item, {}, content))] += 1
    return outcomes


def _properties(site: str, row: Mapping[str, Any] | None, about: Mapping[str, Any]) -> dict[str, Any]:
    if row is None:
        return {SCREENING_STATUS_PROPERTY: NO_DATA_STATUS}
    figures = {name: round(float(row[name]), _PLACES) for name in _FIGURES if math.isfinite(row[name])}
    return {
        SCREENING_STATUS_PROPERTY: str(row["status"]),
        SCREENING_SCORES_PROPERTY: {**{name: int(row[name]) for name in _COUNTS}, **figures, "site": site, **about},
    }


def _with_screening_result(properties: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    ingested = properties.get(INGEST_FINGERPRINT_PROPERTY, properties[FINGERPRINT_PROPERTY])
    plain = {
        key: value
        for key, value in properties.items()
        if key not in {SCREENING_STATUS_PROPERTY, SCREENING_SCORES_PROPERTY, INGEST_FINGERPRINT_PROPERTY}
    }
    together = {**result, **plain}  # the result first, where a reader sees it first
    fingerprint = digest([ingested, _identity(result)])
    return together | {FINGERPRINT_PROPERTY: fingerprint, INGEST_FINGERPRINT_PROPERTY: ingested}


def _identity(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what identifies a screening result: the decision and its figures, not the sentence that explains it."""
    status = str(result[SCREENING_STATUS_PROPERTY])
    decision = _NOT_SCREENED.get(status) or status.partition(":")[0]
    return {"decision": decision, "figures": result.get(SCREENING_SCORES_PROPERTY)}


def _path(catalog: WritableCatalog, href: str) -> str:
    root = catalog.root.rstrip("/") + "/"
    if not href.startswith(root):
        raise CatalogError(
            f"{href} lies outside of the catalogue {catalog.root}: "
            "only the items of the catalogue itself can get screening results"
        )
    return href.removeprefix(root)
