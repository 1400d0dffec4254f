"""Validate a product: from a project and a period to a published validation.

`validate_product` is what ``stac-sm validate`` calls. It compares with `stations` and `products`, and publishes an item
with the page, its numbers, the scores of every cell, and a picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from shapely.geometry import box, mapping

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.errors import CatalogError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, digest
from stac_sm.core.grid import TileGrid, footprint
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.progress import ProgressCallback
from stac_sm.core.text import to_json
from stac_sm.product.aggregates.source_items import SourceItem, by_tile, links_to, source_items_json, tile_days
from stac_sm.product.product_id import format_id
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.index.update import link_and_index
from stac_sm.stac.items import PARQUET_MEDIA_TYPE, ItemDict, build_item, item_folder
from stac_sm.stac.links import add_collection
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, make_once, read_published_item
from stac_sm.stac.visibility import PUBLIC, RESTRICTED
from stac_sm.stations.records import STATIONS_COLLECTION as STATIONS
from stac_sm.stations.records import Station, read_stations, sites_of_stations
from stac_sm.workflows.project import Project
from stac_sm.workflows.reporting.page import page_fields
from stac_sm.workflows.validation import figures
from stac_sm.workflows.validation.page import ValidationFindings, validation_page, validation_series_page
from stac_sm.workflows.validation.products import (
    OTHER_PRODUCTS,
    THIRD_PRODUCTS,
    OtherProduct,
    ProductComparison,
    TileCells,
    VersionedCatalog,
    cells_to_compare,
    compare_products,
    other_product,
)
from stac_sm.workflows.validation.stations import TrainingStations, rows_at_stations, score_networks, training_stations

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_COLUMNS = {
    "lon": "Longitude of the cell's centre, degrees east",
    "lat": "Latitude of the cell's centre, degrees north",
    "days": "Days with a value of both",
    "r": "Correlation over these days",
    "rmse": "Root mean square difference, m3 m-3",
    "ubrmse": "The same without bias, m3 m-3",
    "bias": "Product minus the other, m3 m-3",
    "error_product": "Random error of the product by triple collocation, m3 m-3",
    "error_other": "Random error of the other, in the scale of the product, m3 m-3",
    "error_third": "Random error of the third, in the scale of the product, m3 m-3",
}


def write_files(findings: ValidationFindings, members: bytes, folder: Path) -> dict[str, AssetFile]:
    """Write the assets of a validation: the same findings give the same bytes.

    Parameters
    ----------
    findings
        All numbers of the validation.
    members
        Content of the asset ``members``.
    folder
        An existing folder.

    Returns
    -------
    dict of str to AssetFile
        By asset key.
    """
    from matplotlib.style import context

    with context("default"):  # a matplotlibrc of the user must not change the page
        contents: dict[str, tuple[bytes, str, dict[str, Any]]] = {
            "report": (validation_page(findings).encode(), ".html", page_fields("Report", "text/html", PUBLIC)),
            "metrics": (
                (to_json(findings.to_dict()) + "\n").encode(),
                ".json",
                page_fields("Metrics", "application/json", PUBLIC),
            ),
            "members": (members, ".json", _fields("Tile-days that were validated", "application/json", "metadata")),
        }
        if (series := validation_series_page(findings)) is not None:
            fields = page_fields("Time series of stations", "text/html", RESTRICTED)
            contents["series"] = (series.encode(), ".html", fields)
        if findings.others and findings.others[0].parts:
            picture = figures.score_maps(findings.others[0])
            title = f"Against {findings.others[0].other.name}"
            contents["maps"] = (
                picture,
                ".png",
                _fields(title, "image/png", "metadata"),
            )  # no thumbnail: maps would stretch it
    assets = {}
    for key, (content, suffix, fields) in contents.items():
        file = folder / f"{key}{suffix}"
        file.write_bytes(content)
        assets[key] = AssetFile(file, suffix, fields)
    return assets | {f"cells-{one.other.key}": _cells(findings, one, folder) for one in findings.others if one.parts}


def _fields(title: str, media_type: str, role: str) -> dict[str, Any]:
    return {"title": title, "type": media_type, "roles": [role]}


def _cells(findings: ValidationFindings, found: ProductComparison, folder: Path) -> AssetFile:
    """Write a Parquet file with a row a cell that has a day in common."""
    import pyarrow.parquet as pq

    table = cell_table(found, findings.least_days)
    file = folder / f"cells-{found.other.key}.parquet"
    pq.write_table(table, file)
    columns = [
        {"name": name, "type": str(table.schema.field(name).type), "description": _COLUMNS[name]}
        for name in table.column_names
    ]
    about = {"table:columns": columns, "table:row_count": table.num_rows}
    return AssetFile(file, ".parquet", _fields(f"Cells of {found.other.name}", PARQUET_MEDIA_TYPE, "data") | about)


def cell_table(found: ProductComparison, least_days: int) -> pa.Table:
    """Return the scores of every cell that has a day in common.

    Parameters
    ----------
    found
        The comparison with another product.
    least_days
        Fewest days of a triple collocation.

    Returns
    -------
    pyarrow.Table
        ``lon, lat, days, r, rmse, ubrmse, bias``, and where there is a third product ``error_product, error_other,
        error_third``; degrees and m3 m-3, NaN where there is no value.
    """
    import pyarrow as pa

    pair, triple = found.pair, found.triple
    seen = pair.n > 0
    centres = [(lon[part.block.inside], lat[part.block.inside]) for part in found.parts
               for lon, lat in [part.block.centres]]  # fmt: skip
    lon, lat = (np.concatenate([one[i] for one in centres])[seen] for i in (0, 1))
    columns: dict[str, Any] = {"lon": lon, "lat": lat, "days": pair.n[seen].astype(np.int32)}
    columns |= {name: values[seen].astype(np.float32) for name, values in pair.scores.items()}
    if triple is not None:
        errors = triple.errors(least_days)
        names = ("error_product", "error_other", "error_third")
        columns |= {name: errors[i][seen].astype(np.float32) for i, name in enumerate(names)}
    return pa.table(columns)


VALIDATION_COLLECTION = "validation"

_Compared = list[tuple[OtherProduct, OtherProduct | None, list[TileCells]]]


@dataclass(frozen=True)
class PublishedValidation:
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
        """Scores of ``stations`` and ``others``: a row each."""
        return dict(self.item["properties"]["stac_sm:scores"])

    @property
    def notes(self) -> list[str]:
        """Sentences on what could not be compared, and why."""
        return list(self.item["properties"]["stac_sm:notes"])

    @property
    def report(self) -> str:
        """Path of the page, below the store's root."""
        return f"{self.path.rpartition('/')[0]}/{self.item['assets']['report']['href'].removeprefix('./')}"


def validate_product(
    project: Project,
    period: Period,
    *,
    tiles: Sequence[str] = (),
    others: Sequence[OtherProduct] = OTHER_PRODUCTS,
    against: Sequence[str] = (),
    progress: ProgressCallback = lambda total: None,
) -> PublishedValidation:
    """Compare the published tile-days of a period with stations and other products, and publish the result.

    What is there and made from the same tile-days, stations and files is left alone.

    Parameters
    ----------
    project
        The catalogue has the product, stations and other products; ``[validation]`` and ``[stations]`` the settings.
    period
        UTC days.
    tiles
        Tile ids; all that have tile-days if there are none.
    others
        Other products.
    against
        Further collections of soil moisture: ``ID`` or ``ID/ASSET``, as `other_product` takes them.
    progress
        Called with the number of tiles times products, whenever one is done.

    Returns
    -------
    PublishedValidation
        Item, page and scores.

    Raises
    ------
    CatalogError
        If nothing was published in the period, or a further collection has no item in it.
    InputError
        If a further collection has no daily soil moisture in m3 m-3.
    """
    catalog, version = project.catalog, project.about.version
    add_collection(catalog.store, VALIDATION_COLLECTION)
    catalog = project.catalog
    members = [one for one in tile_days(catalog, period, version) if not tiles or one.tile in tiles]
    if not members:
        there = f" in {', '.join(map(project.grid.describe, tiles))}" if tiles else ""
        raise CatalogError(f"{catalog.root}: no product found on {period}{there}: `stac-sm status` says what is there")
    others = tuple(dict.fromkeys([*others, *(other_product(catalog, name, period) for name in against)]))
    left_out: dict[str, str] = {}
    stations = _stations(catalog, left_out)
    where = sites_of_stations(stations, project.grid, rules=project.stations)
    where = where[where["tile"].isin({one.tile for one in members})]
    compared = _compared(catalog, project.grid, version, by_tile(members), period, others)
    item = _item(project, period, members, _validation_provenance(project, period, members, where, stations, compared))
    folder = item_folder(catalog.layout(VALIDATION_COLLECTION), item)

    def make(scratch: Path) -> dict[str, AssetFile]:
        findings = _findings(project, period, members, where, stations, others, compared, progress, left_out)
        own = {"title": findings.title, "stac_sm:scores": findings.summary(), "stac_sm:notes": list(findings.notes)}
        item["properties"] |= _jsonable(own)
        collections = _links_to_collections(folder, catalog, compared, bool(len(where)))
        item["links"] = [*links_to(members, folder), *collections]
        return write_files(findings, source_items_json(members, folder), scratch)

    outcome = make_once(catalog, item, make)
    # Always: a run before may have ended between the item and its links.
    link_and_index(catalog, VALIDATION_COLLECTION, [f"{folder}/{item['id']}.json"])
    return _published_validation(catalog, folder, item, str(outcome))


def compare_with_other_products(
    project: Project, period: Period, tiles: Sequence[str], others: Sequence[OtherProduct] = OTHER_PRODUCTS
) -> list[ProductComparison]:
    """Compare the product with others, without a page and an item.

    Parameters
    ----------
    project
        The catalogue has the product and the others.
    period
        UTC days.
    tiles
        Tile ids.
    others
        Other products; those without a file on these tiles are left out.

    Returns
    -------
    list of ProductComparison
        One each, and one more for each with a third product.
    """
    newest = VersionedCatalog(project.catalog, project.about.version)
    found = [(other, cells_to_compare(newest, project.grid, other, tiles, period)) for other in others]
    return [compare_products(other, parts, period) for other, parts in found if parts]


def _compared(
    catalog: WritableCatalog, grid: TileGrid, version: str, tiles: Any, period: Period, others: Sequence[OtherProduct]
) -> _Compared:
    """Return the cells of every other product, and again with each third; those without a file are left out."""
    newest = VersionedCatalog(catalog, version)
    found: _Compared = []
    for other in others:
        parts = cells_to_compare(newest, grid, other, tiles, period)
        if parts:
            found.append((other, *_with_third(newest, grid, other, tiles, period, others, parts)))
    return found


def _with_third(
    catalog: VersionedCatalog, grid: TileGrid, other: OtherProduct, tiles: Any, period: Period,
    others: Sequence[OtherProduct],
    parts: list[TileCells],
) -> tuple[OtherProduct | None, list[TileCells]]:  # fmt: skip
    """Return ESA CCI with the first product that makes three, if there is one."""
    for third in THIRD_PRODUCTS if other == OTHER_PRODUCTS[0] else ():
        if third in others:
            three = cells_to_compare(catalog, grid, other, tiles, period, third)
            if any(one.resolution.by_feature["third"] for one in three):
                return third, three
    return None, parts


def _findings(
    project: Project,
    period: Period,
    members: Sequence[SourceItem],
    where: pd.DataFrame,
    stations: Sequence[Station],
    others: Sequence[OtherProduct],
    compared: _Compared,
    progress: ProgressCallback,
    left_out: dict[str, str],
) -> ValidationFindings:
    catalog, total = project.catalog, sum(len(parts) for _, _, parts in compared)
    rows, models = rows_at_stations(catalog, members, where, stations, project.stations, period, left_out)
    learned = (
        training_stations(catalog, models) if len(rows) else TrainingStations(frozenset(), frozenset(), known=False)
    )
    return ValidationFindings(
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
            compare_products(other, parts, period, third, step=lambda: progress(total))
            for other, third, parts in compared
        ),
        notes=tuple(_notes(where, others, compared, left_out)),
        least_days=project.screening.min_days,
    )


def _notes(
    where: pd.DataFrame, others: Sequence[OtherProduct], compared: _Compared, left_out: Mapping[str, str]
) -> list[str]:
    there = {other for other, _, _ in compared}
    expected = dict.fromkeys([*OTHER_PRODUCTS, *others])
    notes = [f"{other.name}: no file on these tiles and days." for other in expected if other not in there]
    bad = dict(left_out)
    for _, _, parts in compared:
        for one in parts:
            bad |= one.resolution.left_out_items
    notes += [f"Left out: {why}" for _, why in sorted(bad.items())]
    return ([] if len(where) else ["No station lies in these tiles."]) + notes


def _stations(catalog: WritableCatalog, left_out: dict[str, str]) -> list[Station]:
    try:
        return read_stations(catalog, left_out)
    except CatalogError:
        if STATIONS in catalog.collections:
            raise
        return []


def _validation_provenance(
    project: Project,
    period: Period,
    members: Sequence[SourceItem],
    where: pd.DataFrame,
    stations: Sequence[Station],
    compared: _Compared,
) -> dict[str, Any]:
    used = {id for ids in where["stations"] for id in ids}
    return {
        "collection": VALIDATION_COLLECTION,
        "grid": project.grid.fingerprint_fields(),
        "period": str(period),
        "members": sorted([one.id, one.fingerprint] for one in members),
        "stations": [one.provenance for one in stations if one.id in used],
        "rules": [project.stations.fingerprint_fields(), project.screening.min_days],
        "others": [
            [other.name, third.name if third else None, [[one.tile, _inputs(one)] for one in parts]]
            for other, third, parts in compared
        ],
        "algorithm": ALGORITHM_VERSIONS["validation"],
    }


def _inputs(block: TileCells) -> str:
    return digest([block.resolution.inputs(day) for day in block.resolution.days])


def _item(project: Project, period: Period, members: Sequence[SourceItem], proof: dict[str, Any]) -> ItemDict:
    shapes = [shape for tile in by_tile(members) if (shape := footprint(project.grid.geobox(tile))) is not None]
    bounds = [shape.bounds for shape in shapes]
    west, south, east, north = (pick(bound[i] for bound in bounds) for i, pick in enumerate((min, min, max, max)))
    version = project.about.version
    return build_item(
        id=format_id(f"{period.start:%Y%m%d}-{period.days[-1]:%Y%m%d}", "validation", version),
        collection=VALIDATION_COLLECTION,
        geometry=mapping(box(west, south, east, north)),
        bbox=[west, south, east, north],
        start=utc_instant(period.start),
        end=utc_instant(period.end),
        properties={"version": version, FINGERPRINT_PROPERTY: digest(proof)},
        extensions=["version"],
    )


def _links_to_collections(
    folder: str, catalog: WritableCatalog, compared: _Compared, stations: bool
) -> list[dict[str, str]]:
    ids = sorted({one.collection for other, third, _ in compared for one in (other, third) if one is not None})
    up = "../" * len(Path(folder).parts)
    return [
        {"rel": "derived_from", "href": f"{up}{id}/collection.json", "type": "application/json", "title": id}
        for id in [*ids, *([STATIONS] if stations else [])]
        if id in catalog.collections
    ]


def _published_validation(catalog: WritableCatalog, folder: str, item: ItemDict, outcome: str) -> PublishedValidation:
    import json

    path = f"{folder}/{item['id']}.json"
    content = read_published_item(catalog.store, path)
    if content is None:
        raise CatalogError(f"{catalog.store.href(path)} was published and is gone: run the same command again")
    return PublishedValidation(json.loads(content), path, outcome)


def _jsonable(value: Any) -> Any:
    """Return a value with None for NaN, which JSON does not have."""
    import json

    from stac_sm.core.text import to_json

    return json.loads(to_json(value))
