"""Validate a product: from a project and a period to a published validation.

`validate_product` is what ``stac-sm validate`` calls. It compares with `stations` and `products`, and publishes an item
with the page, its numbers, the scores of every cell, and a picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shapely.geometry import box, mapping

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.errors import CatalogError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, digest
from stac_sm.core.footprints import footprint
from stac_sm.core.grid import TileGrid
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.progress import ProgressCallback
from stac_sm.core.scores.groups import ScoreTable, score_groups
from stac_sm.core.scores.series import Scaling, scale_series
from stac_sm.core.text import to_json
from stac_sm.features.inputs import ResolvedInputs
from stac_sm.product.aggregates.source_items import SourceItem, by_tile, links_to, source_items_json, tile_days
from stac_sm.product.product_id import PREFIX, format_id
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.index.update import link_and_index
from stac_sm.stac.items import ItemDict, build_item, item_folder, link_to_sources
from stac_sm.stac.links import add_collection
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, make_once, stated_algorithm
from stac_sm.stac.simulated import SIMULATED_FIELD, SIMULATED_NOTE, is_simulated
from stac_sm.stations.records import STATIONS_COLLECTION as STATIONS
from stac_sm.stations.records import SitesOfStations, Station, read_stations, sites_of_stations, stations_at_sites
from stac_sm.stations.site_classes import site_classes
from stac_sm.storage.update import read_if_there
from stac_sm.workflows.project import Project
from stac_sm.workflows.validation.files import write_files
from stac_sm.workflows.validation.page import ValidationFindings
from stac_sm.workflows.validation.products import (
    DATA_SETS,
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
from stac_sm.workflows.validation.protocol import (
    Reference,
    product_reference,
    station_reference,
    validation_protocol,
)
from stac_sm.workflows.validation.qa4sm_file import (
    ComparedDataSet,
    qa4sm_attributes,
)
from stac_sm.workflows.validation.stations import (
    HELD_OUT,
    SEEN,
    UNKNOWN,
    TrainingStations,
    half_widths_at_sites,
    rows_at_stations,
    score_networks,
    sites_to_show,
    training_stations,
)
from stac_sm.workflows.validation.triplets import (
    PRODUCT,
    STATION,
    ResolvedDataSets,
    StationTriplets,
    resolve_data_sets,
    triplets_at_stations,
)

if TYPE_CHECKING:
    import pandas as pd

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
    scaling: Scaling = "none",
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
    scaling
        How the product is scaled to each station before they are compared, one of
        `stac_sm.core.scores.series.SCALINGS`; a validation of each is an item of its own.
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
    data_sets = resolve_data_sets(catalog, where, period, project.grid)
    provenance = _validation_provenance(
        project, period, members, where, stations, compared, scaling=scaling, data_sets=data_sets
    )
    item = _item(project, period, members, provenance, scaling)
    folder = item_folder(catalog.layout(VALIDATION_COLLECTION), item)

    def make(scratch: Path) -> dict[str, AssetFile]:
        findings = _findings(
            project, period, members, where, stations, others, compared, progress, left_out, scaling, data_sets
        )
        own = {"title": findings.title, "stac_sm:scores": findings.summary(), "stac_sm:notes": list(findings.notes)}
        own |= {"stac_sm:protocol": findings.protocol.to_dict()} if findings.protocol else {}
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
    scaling: Scaling,
    data_sets: ResolvedDataSets,
) -> ValidationFindings:
    catalog, total = project.catalog, sum(len(parts) for _, _, parts in compared)
    dropped: dict[str, int] = {}
    unscaled, models = rows_at_stations(catalog, members, where, stations, project.stations, period, left_out, dropped)
    learned = (
        training_stations(catalog, models) if len(unscaled) else TrainingStations(frozenset(), frozenset(), known=False)
    )
    rows = _scaled(unscaled, scaling, dropped)
    by_id = {one.id: one for one in stations}
    sites = stations_at_sites(where, stations, project.stations)
    inputs = [feature.collection for feature in project.recipe.sources]
    triplets = None
    if len(unscaled):
        triplets = triplets_at_stations(
            unscaled, where, data_sets, project.grid, learned, inputs, least_days=project.screening.min_days
        )
    networks = tuple(score_networks(rows, learned))
    shown = where[where["site"].isin(list(sites_to_show(rows, networks)))] if scaling == "none" else where.iloc[:0]
    references = _references(catalog, period, where, by_id, triplets)
    protocol = validation_protocol(period, project.stations, scaling, rows, dropped, references)
    simulated = is_simulated(catalog)
    title = f"Validation of {'simulated soil' if simulated else 'soil'} moisture at 1 km, {period}"
    return ValidationFindings(
        title=title,
        facts={
            "product": f"{len(members)} tile-days, version {project.about.version}",
            "tiles": ", ".join(by_tile(members)),
            "period": str(period),
            "models": ", ".join(sorted(models)) or "-",
            "stations": f"{len(where)} sites in these tiles, {rows['site'].nunique()} with a day in common",
        },
        rows=rows,
        networks=networks,
        intervals=half_widths_at_sites(catalog, members, shown),
        others=tuple(
            compare_products(other, parts, period, third, step=lambda: progress(total))
            for other, third, parts in compared
        ),
        inputs=tuple(inputs),
        notes=(*([SIMULATED_NOTE] if simulated else []), *_notes(where, others, compared, left_out)),
        least_days=project.screening.min_days,
        scores=_score_tables(rows, learned, sites),
        reference_scores=_reference_scores(triplets, sites, scaling),
        triplets=triplets,
        protocol=protocol,
        stations=sites,
        data_sets=_compared_data_sets(references, triplets, project.about.version),
        qa4sm=dict(
            qa4sm_attributes(
                title,
                str(period.start),
                str(period.days[-1]),
                scaling,
                project.stations.max_depth,
            )
        ),
    )


def _scaled(rows: pd.DataFrame, scaling: Scaling, dropped: dict[str, int]) -> pd.DataFrame:
    """Return rows with the product scaled to each site; rows that cannot be scaled are dropped and counted."""
    if scaling == "none" or not len(rows):
        return rows
    scaled = rows.astype({"product": float})
    for _, part in rows.groupby("site", sort=True):
        scaled.loc[part.index, "product"] = scale_series(part["product"], part["observed"], scaling)
    known = scaled["product"].notna()
    dropped["site-days of sites whose product cannot be scaled"] = int((~known).sum())
    return scaled[known].reset_index(drop=True)


def _score_tables(rows: pd.DataFrame, learned: TrainingStations, sites: SitesOfStations) -> dict[str, ScoreTable]:
    """Return the scores of the product of each role of stations, held-out ones first."""
    roles = rows["network"].map(learned.of)
    table = rows.rename(columns={"product": "predicted"})
    return {
        role: score_groups(table[roles == role], site_classes(sites))
        for role in (HELD_OUT, UNKNOWN, SEEN)
        if (roles == role).any()
    }


def _reference_scores(
    triplets: StationTriplets | None, sites: SitesOfStations, scaling: Scaling
) -> dict[str, ScoreTable]:
    """Return the scores of the other data sets at the stations, on the days of the product and scaled as it is."""
    if triplets is None:
        return {}
    found = {}
    for name in triplets.data_sets:
        if name not in (STATION, PRODUCT):
            table = triplets.series[["site", "network", "date", STATION, name]].dropna()
            table = table.rename(columns={STATION: "observed", name: "predicted"})
            found[name] = score_groups(table, site_classes(sites), scaling=scaling)
    return found


def _references(
    catalog: WritableCatalog,
    period: Period,
    where: pd.DataFrame,
    stations: Mapping[str, Station],
    triplets: StationTriplets | None,
) -> list[Reference]:
    """Return the versions of the stations and of the other data sets that have a value at them."""
    if not len(where):
        return []
    used = [stations[id] for ids in where["stations"] for id in ids]
    names = triplets.data_sets if triplets is not None else []
    others = [product_reference(catalog, one.collection, period) for one in DATA_SETS if one.label in names]
    return [station_reference(used, STATIONS), *others]


def _compared_data_sets(
    references: Sequence[Reference], triplets: StationTriplets | None, version: str
) -> tuple[ComparedDataSet, ...]:
    """Return the data sets of the NetCDF file: the stations, the product, and the others that have a value."""
    versions = {one.collection: one.version for one in references}
    names = triplets.data_sets if triplets is not None else []
    return (
        ComparedDataSet("ISMN", "ISMN", versions.get(STATIONS, ""), "sm"),
        ComparedDataSet(PREFIX, PRODUCT, version, "sm"),
        *(
            ComparedDataSet(one.collection.upper().replace("-", "_"), one.label, versions[one.collection], one.asset)
            for one in DATA_SETS
            if one.label in names
        ),
    )


def _notes(
    where: pd.DataFrame, others: Sequence[OtherProduct], compared: _Compared, left_out: Mapping[str, str]
) -> list[str]:
    there = {other for other, _, _ in compared}
    expected = dict.fromkeys([*OTHER_PRODUCTS, *others])
    notes = [f"{other.title}: no file on these tiles and days." for other in expected if other not in there]
    notes += [
        f"{other.title}: compared with means of the product over the same days, where it has half of them or more; "
        "what is counted as days are means."
        for other in there
        if other.means
    ]
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
    *,
    scaling: Scaling = "none",
    data_sets: ResolvedDataSets | None = None,
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
        "ground": [[one.climate, one.land_cover, str(one.elevation)] for one in stations if one.id in used],
        "scaling": scaling,
        "data_sets": [
            [column, [[tile, _inputs_of(one)] for tile, one in sorted(tiles.items())]]
            for column, tiles in sorted((data_sets or {}).items())
        ],
        "algorithm": ALGORITHM_VERSIONS["validation"],
    }


def _inputs(block: TileCells) -> str:
    return _inputs_of(block.resolution)


def _inputs_of(resolved: ResolvedInputs) -> str:
    return digest([resolved.inputs(day) for day in resolved.days])


def _item(
    project: Project, period: Period, members: Sequence[SourceItem], proof: dict[str, Any], scaling: Scaling
) -> ItemDict:
    what = "validation" if scaling == "none" else f"validation-{scaling}"
    shapes = [shape for tile in by_tile(members) if (shape := footprint(project.grid.geobox(tile))) is not None]
    bounds = [shape.bounds for shape in shapes]
    west, south, east, north = (pick(bound[i] for bound in bounds) for i, pick in enumerate((min, min, max, max)))
    version = project.about.version
    return build_item(
        id=format_id(f"{period.start:%Y%m%d}-{period.days[-1]:%Y%m%d}", what, version),
        collection=VALIDATION_COLLECTION,
        geometry=mapping(box(west, south, east, north)),
        bbox=[west, south, east, north],
        start=utc_instant(period.start),
        end=utc_instant(period.end),
        properties={
            "version": version,
            FINGERPRINT_PROPERTY: digest(proof),
            **stated_algorithm("validation"),
            **({SIMULATED_FIELD: True} if is_simulated(project.catalog) else {}),
        },
        extensions=["version"],
    )


def _links_to_collections(
    folder: str, catalog: WritableCatalog, compared: _Compared, stations: bool
) -> list[dict[str, str]]:
    ids = sorted({one.collection for other, third, _ in compared for one in (other, third) if one is not None})
    up = "../" * len(Path(folder).parts)
    return [
        link_to_sources(f"{up}{id}/collection.json", id)
        for id in [*ids, *([STATIONS] if stations else [])]
        if id in catalog.collections
    ]


def _published_validation(catalog: WritableCatalog, folder: str, item: ItemDict, outcome: str) -> PublishedValidation:
    import json

    path = f"{folder}/{item['id']}.json"
    content = read_if_there(catalog.store, path)
    if content is None:
        raise CatalogError(f"{catalog.store.href(path)} was published and is gone: run the same command again")
    return PublishedValidation(json.loads(content), path, outcome)


def _jsonable(value: Any) -> Any:
    """Return a value with None for NaN, which JSON does not have."""
    import json

    return json.loads(to_json(value))
