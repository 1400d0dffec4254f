"""Say which rows of a table a model was trained on, and score those apart from the others.

A model of a table has the site and time of its training rows as an asset; a model of a project has them in its
match-ups. `evaluate` compares the rows of a table with them, since scores at stations that a model has seen say nothing
about other places. Sites are compared by their ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.columns import Columns, instant_column, label_column, numeric_column
from stac_sm.core.errors import CatalogError, InputError
from stac_sm.core.metrics import Scores, agreement_scores
from stac_sm.model.evaluate import SCREENED
from stac_sm.stac.catalogs.search import item_from_document
from stac_sm.stac.items import PARQUET_MEDIA_TYPE
from stac_sm.stations.matchup_item import MATCHUPS_COLLECTION
from stac_sm.stations.screening import KEPT
from stac_sm.storage.address import asset_address, resolve_href
from stac_sm.storage.store import read_address, table_file

if TYPE_CHECKING:
    import pystac

TRAINING_ROWS = "training_rows"
"""Key of the asset of a model of a table."""

UNSEEN, OTHER_TIMES, TRAINED_ON = "unseen_stations", "trained_stations_other_times", "trained_rows"
"""What a row of a table is to a model: at a station that it has not seen, at one that it was trained on, or trained on
itself."""


@dataclass(frozen=True)
class TrainedOn:
    """How many of the scored rows a model was trained on, and the scores apart."""

    known: bool = True
    """Whether the model says what it was trained on; without it the rest is empty."""

    rows: int = 0
    """Scored rows that the model was trained on: same site, same time."""

    stations: int = 0
    """Stations among the scored rows that the model was trained on, at whatever time."""

    scored_rows: int = 0
    """All scored rows."""

    parts: Mapping[str, tuple[int, Scores]] = field(default_factory=dict)
    """Number of stations and scores of the rows of each kind (`UNSEEN`, `OTHER_TIMES`, `TRAINED_ON`) that there are."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that a reader of the scores over all rows must know."""
        if not self.known:
            return (
                "the model does not say which rows it was trained on, so its scores may be those of its training rows: "
                "train it again with this version",
            )
        if not self.stations:
            return ()
        return (
            f"{self.rows} of {self.scored_rows} rows were trained on, {self.stations} stations are known to the model: "
            f"the scores over all rows are not those at unseen stations, which are under {UNSEEN!r}",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and scores.

        Returns
        -------
        dict
            ``rows_trained_on`` and ``stations_trained_on`` (None where it is not known) and ``by_training``: number of
            stations and scores of each kind of row.
        """
        return {
            "rows_trained_on": self.rows if self.known else None,
            "stations_trained_on": self.stations if self.known else None,
            "by_training": {kind: {"stations": n, **asdict(scores)} for kind, (n, scores) in self.parts.items()},
        }


def rows_by_training(rows: pd.DataFrame, training_rows: pd.DataFrame | None) -> TrainedOn:
    """Count and score apart the rows that a model was trained on.

    Parameters
    ----------
    rows
        Scored rows: ``site, time, observed, predicted``, m3 m-3.
    training_rows
        ``site, time`` of the rows that the model was trained on; None where that is not known.

    Returns
    -------
    TrainedOn
        Counts and scores.
    """
    if training_rows is None:
        return TrainedOn(known=False, scored_rows=len(rows))
    seen = rows["site"].isin(set(training_rows["site"])).to_numpy()
    keys = [
        pd.MultiIndex.from_arrays([of["site"], of["time"].astype("datetime64[ns]")]) for of in (rows, training_rows)
    ]
    same = keys[0].isin(keys[1])
    kinds = np.select([same, seen], [TRAINED_ON, OTHER_TIMES], UNSEEN)
    parts = {}
    for kind in (UNSEEN, OTHER_TIMES, TRAINED_ON):
        part = rows[kinds == kind]
        if len(part):
            parts[kind] = (int(part["site"].nunique()), agreement_scores(part["predicted"], part["observed"]))
    return TrainedOn(True, int(same.sum()), int(rows["site"][seen].nunique()), len(rows), parts)


def training_rows_asset(table: pd.DataFrame, columns: Columns, folder: Path) -> AssetFile:
    """Write the site and time of the rows that a model was trained on.

    Parameters
    ----------
    table
        The training table; its rows without a target were not trained on.
    columns
        Names of target, site and time.
    folder
        An existing folder.

    Returns
    -------
    AssetFile
        Parquet with ``site`` and ``time`` (UTC), in this order; the same rows give the same bytes.
    """
    rows = pd.DataFrame({"site": label_column(table, columns.site), "time": instant_column(table, columns.time)})
    rows = rows[~np.isnan(numeric_column(table, columns.target))].sort_values(["site", "time"], ignore_index=True)
    file = folder / f"{TRAINING_ROWS}.parquet"
    rows.to_parquet(file, index=False)
    title = "Site and time of each row that the model was trained on"
    return AssetFile(file, ".parquet", {"title": title, "type": PARQUET_MEDIA_TYPE, "roles": ["metadata"]})


def read_training_rows(item: pystac.Item) -> pd.DataFrame | None:
    """Read the site and time of the rows that a model was trained on.

    Parameters
    ----------
    item
        Item of a model, of a table or of a project.

    Returns
    -------
    pandas.DataFrame or None
        ``site, time``; None where the item does not say it, or its match-ups cannot be read.
    """
    try:
        if TRAINING_ROWS in item.assets:
            return pd.read_parquet(table_file(asset_address(item, TRAINING_ROWS)))
        for link in item.get_links("derived_from"):
            address = resolve_href(str(link.href), item.get_self_href() or "")
            if f"/{MATCHUPS_COLLECTION}/" in address and "collection.json" not in link.href:
                return _rows_of_matchups(item, address)
    except (OSError, ValueError, KeyError, CatalogError, InputError):
        return None
    return None


def _rows_of_matchups(item: pystac.Item, href: str) -> pd.DataFrame:
    """Return rows of the match-ups of a project's model: of the sites kept, where it was trained on those."""
    table = asset_address(item_from_document(json.loads(read_address(href)), href), "table")
    rows = pd.read_parquet(table_file(table), columns=["site", "date"]).rename(columns={"date": "time"})
    if str(item.properties.get("stac_sm:tc_status", "")).startswith(f"{SCREENED}:"):
        kept = {one["site"] for one in item.properties["stac_sm:screening"] if one["status"] == KEPT}
        rows = rows[rows["site"].isin(kept)]
    return rows
