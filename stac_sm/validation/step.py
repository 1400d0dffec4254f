"""The step: from a project and a period to a published validation."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shapely.geometry import box, mapping

from stac_sm.aggregates.members import Member, by_tile, links_to, members_json, tile_days
from stac_sm.catalog import Catalog
from stac_sm.config import Project
from stac_sm.derived import add_collection, link
from stac_sm.errors import CatalogError
from stac_sm.fingerprint import ALGORITHM_VERSIONS, digest
from stac_sm.grid import TileGrid, footprint
from stac_sm.items import ItemDict, build_item, item_folder
from stac_sm.period import Period, utc
from stac_sm.publishing import FINGERPRINT, is_published, publish, published
from stac_sm.stations import COLLECTION as STATIONS
from stac_sm.stations import Station, read_stations, sites
from stac_sm.validation.at_stations import Learned, learned_from, rows_at_stations, score_networks
from stac_sm.validation.files import write_files
from stac_sm.validation.others import OTHERS, THIRDS, Block, Comparison, Other, Published, blocks, compare
from stac_sm.validation.page import Findings

if TYPE_CHECKING:
    import pandas as pd

COLLECTION = "validation"

Progress = Callable[[int], None]
_Compared = list[tuple[Other, Other | None, list[Block]]]


@dataclass(frozen=True)
class Validated:
    """A published validation."""

    item: ItemDict
    """Its item, as it is in the store."""

    path: str
    """Of its JSON, below the store's root."""

    outcome: str
    """``new``, ``replaced`` or ``done``."""

    @property
    def id(self) -> str:
        """Item id."""
        return str(self.item["id"])

    @property
    def scores(self) -> dict[str, Any]:
        """``stations`` and ``others``: a row each."""
        return dict(self.item["properties"]["stac_sm:scores"])

    @property
    def notes(self) -> list[str]:
        """What could not be compared, and why."""
        return list(self.item["properties"]["stac_sm:notes"])

    @property
    def report(self) -> str:
        """Path of the page, below the store's root."""
        return f"{self.path.rpartition('/')[0]}/{self.item['assets']['report']['href'].removeprefix('./')}"


def validate(
    project: Project,
    period: Period,
    *,
    tiles: Sequence[str] = (),
    others: Sequence[Other] = OTHERS,
    progress: Progress = lambda total: None,
) -> Validated:
    """Hold the published tile-days of a period against stations and other products, and publish what was found.

    What is there and made from the same tile-days, stations and files is left alone.

    Parameters
    ----------
    tiles
        Tile ids; all that have tile-days if there are none.
    others
        Other products.
    progress
        Told the number of tiles times products, whenever one is done.

    Raises
    ------
    CatalogError
        If nothing was published then.
    """
    catalog, version = project.catalog, project.about.version
    add_collection(catalog.store, COLLECTION)
    catalog = project.catalog
    members = [one for one in tile_days(catalog, period, version) if not tiles or one.tile in tiles]
    if not members:
        raise CatalogError(f"{catalog.root}: no product found on {period}: `stac-sm status` says what is there")
    stations = _stations(catalog)
    where = sites(stations, project.grid, rules=project.stations)
    where = where[where["tile"].isin({one.tile for one in members})]
    compared = _compared(catalog, project.grid, version, by_tile(members), period, others)
    item = _item(project, period, members, _proof(project, period, members, where, stations, compared))
    folder = item_folder(catalog.layout(COLLECTION), item)
    if is_published(catalog, item):
        return _there(catalog, folder, item, "done")
    findings = _findings(project, period, members, where, stations, compared, progress)
    own = {"title": findings.title, "stac_sm:scores": findings.summary(), "stac_sm:notes": list(findings.notes)}
    item["properties"] |= _jsonable(own)
    item["links"] = [*links_to(members, folder), *_links_to_collections(folder, catalog, compared, bool(len(where)))]
    with tempfile.TemporaryDirectory(prefix="stac-sm-") as scratch:
        outcome = publish(catalog, item, write_files(findings, members_json(members, folder), Path(scratch)))
    link(catalog.store, COLLECTION, [f"{folder}/{item['id']}.json"])
    return _there(catalog, folder, item, str(outcome))


def against_others(
    project: Project, period: Period, tiles: Sequence[str], others: Sequence[Other] = OTHERS
) -> list[Comparison]:
    """The comparisons alone, without a page and an item."""
    newest = Published(project.catalog, project.about.version)
    found = [(other, blocks(newest, project.grid, other, tiles, period)) for other in others]
    return [compare(other, parts, period) for other, parts in found if parts]


def _compared(
    catalog: Catalog, grid: TileGrid, version: str, tiles: Any, period: Period, others: Sequence[Other]
) -> _Compared:
    """Every other product, and again with each third; those without a file on these tiles are left out."""
    newest = Published(catalog, version)
    found: _Compared = []
    for other in others:
        parts = blocks(newest, grid, other, tiles, period)
        if parts:
            found.append((other, *_with_third(newest, grid, other, tiles, period, others, parts)))
    return found


def _with_third(
    catalog: Published, grid: TileGrid, other: Other, tiles: Any, period: Period, others: Sequence[Other],
    parts: list[Block],
) -> tuple[Other | None, list[Block]]:  # fmt: skip
    """ESA CCI with the first product that makes three, if there is one."""
    for third in THIRDS if other == OTHERS[0] else ():
        if third in others:
            three = blocks(catalog, grid, other, tiles, period, third)
            if any(one.resolution.made_of["third"] for one in three):
                return third, three
    return None, parts


def _findings(
    project: Project,
    period: Period,
    members: Sequence[Member],
    where: pd.DataFrame,
    stations: Sequence[Station],
    compared: _Compared,
    progress: Progress,
) -> Findings:
    catalog, total = project.catalog, sum(len(parts) for _, _, parts in compared)
    rows, models = rows_at_stations(catalog, members, where, stations, project.stations, period)
    learned = learned_from(catalog, models) if len(rows) else Learned(frozenset(), frozenset(), known=False)
    return Findings(
        title=f"Validation of soil moisture at 1 km, {period}",
        facts={
            "product": f"{len(members)} tile-days, version {project.about.version}",
            "tiles": ", ".join(by_tile(members)),
            "period": str(period),
            "models": ", ".join(sorted(models)) or "-",
            "stations": f"{len(where)} sites in these tiles, {rows['site'].nunique()} with a day in common",
        },
        rows=rows,
        networks=tuple(score_networks(rows, learned)),
        others=tuple(
            compare(other, parts, period, third, step=lambda: progress(total)) for other, third, parts in compared
        ),
        notes=tuple(_notes(where, compared)),
        least_days=project.screening.min_days,
    )


def _notes(where: pd.DataFrame, compared: _Compared) -> list[str]:
    there = {other for other, _, _ in compared}
    notes = [f"{other.name}: no file on these tiles and days." for other in OTHERS if other not in there]
    return ([] if len(where) else ["No station lies in these tiles."]) + notes


def _stations(catalog: Catalog) -> list[Station]:
    try:
        return read_stations(catalog)
    except CatalogError:
        if STATIONS in catalog.collections:
            raise
        return []


def _proof(
    project: Project,
    period: Period,
    members: Sequence[Member],
    where: pd.DataFrame,
    stations: Sequence[Station],
    compared: _Compared,
) -> dict[str, Any]:
    used = {id for ids in where["stations"] for id in ids}
    return {
        "collection": COLLECTION,
        "grid": project.grid.fingerprint_fields(),
        "period": str(period),
        "members": sorted([one.id, one.fingerprint] for one in members),
        "stations": [one.proof for one in stations if one.id in used],
        "rules": [project.stations.fingerprint_fields(), project.screening.min_days],
        "others": [
            [other.name, third.name if third else None, [[one.tile, _inputs(one)] for one in parts]]
            for other, third, parts in compared
        ],
        "algorithm": ALGORITHM_VERSIONS["validation"],
    }


def _inputs(block: Block) -> str:
    return digest([block.resolution.inputs(day) for day in block.resolution.days])


def _item(project: Project, period: Period, members: Sequence[Member], proof: dict[str, Any]) -> ItemDict:
    shapes = [shape for tile in by_tile(members) if (shape := footprint(project.grid.geobox(tile))) is not None]
    bounds = [shape.bounds for shape in shapes]
    west, south, east, north = (pick(bound[i] for bound in bounds) for i, pick in enumerate((min, min, max, max)))
    version = project.about.version
    return build_item(
        id=f"SM1KM.{period.start:%Y%m%d}-{period.days[-1]:%Y%m%d}.validation.v{version}",
        collection=COLLECTION,
        geometry=mapping(box(west, south, east, north)),
        bbox=[west, south, east, north],
        start=utc(period.start),
        end=utc(period.end),
        properties={"version": version, FINGERPRINT: digest(proof)},
        extensions=["version"],
    )


def _links_to_collections(folder: str, catalog: Catalog, compared: _Compared, stations: bool) -> list[dict[str, str]]:
    ids = sorted({one.collection for other, third, _ in compared for one in (other, third) if one is not None})
    up = "../" * len(Path(folder).parts)
    return [
        {"rel": "derived_from", "href": f"{up}{id}/collection.json", "type": "application/json", "title": id}
        for id in [*ids, *([STATIONS] if stations else [])]
        if id in catalog.collections
    ]


def _there(catalog: Catalog, folder: str, item: ItemDict, outcome: str) -> Validated:
    import json

    path = f"{folder}/{item['id']}.json"
    content = published(catalog.store, path)
    if content is None:
        raise CatalogError(f"{catalog.store.href(path)} was published and is gone: run the same command again")
    return Validated(json.loads(content), path, outcome)


def _jsonable(value: Any) -> Any:
    """NaN as None, which JSON has."""
    import json

    from stac_sm.tables import to_json

    return json.loads(to_json(value))
