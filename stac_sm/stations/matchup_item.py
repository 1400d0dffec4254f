"""Write match-ups to a STAC item and read them back.

The training workflow calls this between `matchups` and `model`: it publishes the table of match-ups (GeoParquet) and
the triplets for screening (Parquet) as two assets of one item (table extension), and reads them from there when an item
with the same fingerprint exists already.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shapely.geometry import box, mapping

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.variables import VARIABLES
from stac_sm.features.recipe import Recipe
from stac_sm.stac.items import PARQUET_MEDIA_TYPE, ItemDict, build_item
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, stated_algorithm
from stac_sm.storage.address import asset_address
from stac_sm.storage.store import table_file

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pystac

MATCHUPS_COLLECTION = "matchups"
GEOMETRY = "geometry"
"""Column of points in the file, computed from ``lon`` and ``lat``; the table in memory does not have it."""

TITLES = {"table": "Match-ups: one row a site and day", "triplets": "Triplets for triple collocation"}
"""Key and title of each asset of the item."""

YEAR_TITLES = {
    "plain": "Values of the match-ups without their climatology",
    "sums": "Sums of the days of the climatologies at each site, by year and month",
}
"""Key and title of assets that an item has where its recipe has climatologies: folds of years need them."""

_DESCRIPTIONS = {
    "site": "Id of the first station of the site: all stations in one pixel are one site",
    "network": "Network of that station",
    "lon": "Longitude of that station, degrees east",
    "lat": "Latitude of that station, degrees north",
    "tile": "Tile of the site's pixel",
    "row": "Row of the pixel in the tile",
    "col": "Column of the pixel in the tile",
    "date": "UTC day",
    "sm": "Measured soil moisture, mean of the day, m3 m-3",
    "n": "Readings in that mean",
    "insitu": "Measured soil moisture, mean of the day, m3 m-3",
    "era5land": "Soil moisture of ERA5-Land in the site's pixel, m3 m-3",
    "source": "Feature of the recipe, of whose source the days are summed up",
    "year": "Year",
    "month": "Month",
    "count": "Days with a value",
    "total": "Sum of the values of these days",
    "squares": "Sum of the squares of the values of these days",
    "third": "Soil moisture of the third data set in the site's pixel, m3 m-3",
    GEOMETRY: "Place of the station: WKB point in degrees (OGC:CRS84)",
}


def matchup_item(
    bbox: Sequence[float], period: Period, *, fingerprint: str, properties: Mapping[str, Any] | None = None
) -> ItemDict:
    """Build the STAC item of a table of match-ups, without assets and links.

    Parameters
    ----------
    bbox
        West, south, east, north of the sites, degrees.
    period
        Days of the match-ups.
    fingerprint
        SHA-256, hex, of all that the match-ups are made from; its first 12 digits are in the id.
    properties
        More properties of the item, e.g. counts of sites, rows and dropped rows.

    Returns
    -------
    dict
        A STAC item of the collection ``matchups``.
    """
    return build_item(
        id=f"matchups-{fingerprint[:12]}",
        collection=MATCHUPS_COLLECTION,
        geometry=mapping(box(bbox[0], bbox[1], bbox[2], bbox[3])),
        bbox=bbox,
        start=utc_instant(period.start),
        end=utc_instant(period.end),
        properties={
            "title": TITLES["table"],
            FINGERPRINT_PROPERTY: fingerprint,
            **stated_algorithm("matchups"),
            **(properties or {}),
        },
        extensions=["table"],
    )


def table_properties(table: pd.DataFrame, recipe: Recipe) -> dict[str, Any]:
    """Return the properties of the item that describe its match-ups.

    Parameters
    ----------
    table
        Match-ups, as in `Matchups.table`.
    recipe
        The recipe of its features, from which columns take their descriptions.

    Returns
    -------
    dict
        ``table:columns``, ``table:row_count`` and ``table:primary_geometry`` (STAC table extension), as in the asset.
    """
    return {**_fields([*_columns(table, recipe), _geometry_column()], len(table)), "table:primary_geometry": GEOMETRY}


def write_tables(
    table: pd.DataFrame,
    triplets: pd.DataFrame,
    recipe: Recipe,
    folder: Path,
    years: Mapping[str, pd.DataFrame] | None = None,
) -> dict[str, AssetFile]:
    """Write the assets of a match-up item; the same tables give the same bytes.

    Parameters
    ----------
    table
        Match-ups, as in `Matchups.table`.
    triplets
        A row a site and day: ``site, date, insitu, era5land, third``, soil moisture in m3 m-3.
    recipe
        The recipe of the features in ``table``.
    folder
        Existing local folder for the Parquet files.
    years
        ``plain`` and ``sums`` of `fold_climatology`; None for a recipe without climatologies.

    Returns
    -------
    dict
        ``table``, ``triplets`` and the keys of ``years``, each an `AssetFile` for publishing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    frames = {"table": _with_points(table), "triplets": pa.Table.from_pandas(triplets, preserve_index=False)}
    described = {
        "table": table_properties(table, recipe),
        "triplets": _fields(_columns(triplets, recipe), len(triplets)),
    }
    for key, values in (years or {}).items():
        frames[key] = pa.Table.from_pandas(values, preserve_index=False)
        described[key] = _fields(_columns(values, recipe), len(values))
    assets, titles = {}, TITLES | YEAR_TITLES
    for key, frame in frames.items():
        file = folder / f"{key}.parquet"
        pq.write_table(frame, file)
        fields = {"title": titles[key], "type": PARQUET_MEDIA_TYPE, "roles": ["data"], **described[key]}
        assets[key] = AssetFile(file, ".parquet", fields)
    return assets


def read_tables(item: pystac.Item) -> dict[str, pd.DataFrame]:
    """Read the tables of a match-up item, as they were before they were written.

    Parameters
    ----------
    item
        An item of the collection ``matchups``.

    Returns
    -------
    dict
        ``table`` (match-ups, without the column of points) and ``triplets``; and ``plain`` and ``sums``, where the
        item has them.
    """
    import pandas as pd

    keys = [*TITLES, *(key for key in YEAR_TITLES if key in item.assets)]
    tables = {key: pd.read_parquet(table_file(asset_address(item, key))) for key in keys}
    return {key: table.drop(columns=GEOMETRY, errors="ignore") for key, table in tables.items()}


def _with_points(table: pd.DataFrame) -> pa.Table:
    """Return a table as GeoParquet 1.1: with a column of WKB points and the metadata about it."""
    import pandas as pd
    import pyarrow as pa

    places = pd.MultiIndex.from_frame(table[["lon", "lat"]])
    codes, known = places.factorize()
    points = pa.array([struct.pack("<BIdd", 1, 1, lon, lat) for lon, lat in known], pa.binary()).take(pa.array(codes))
    frame = pa.Table.from_pandas(table, preserve_index=False).append_column(GEOMETRY, points)
    lon, lat = table["lon"], table["lat"]
    bbox = [float(edge) for edge in (lon.min(), lat.min(), lon.max(), lat.max())] if len(table) else None
    column = {"encoding": "WKB", "geometry_types": ["Point"], **({"bbox": bbox} if bbox else {})}
    geo = {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
    return frame.replace_schema_metadata({**frame.schema.metadata, b"geo": json.dumps(geo).encode()})


def _fields(columns: Sequence[Mapping[str, str]], rows: int) -> dict[str, Any]:
    return {"table:columns": list(columns), "table:row_count": rows}


def _columns(table: pd.DataFrame, recipe: Recipe) -> list[dict[str, str]]:
    """Return name, type and meaning of every column."""
    sources = {feature.name: _meaning(feature.collection, feature.asset) for feature in recipe.features}
    derived = {name: VARIABLES[name].description for name in recipe.derived}
    known = {**sources, **derived, **_DESCRIPTIONS}
    found = []
    for name, kind in table.dtypes.items():
        text = {"description": known[str(name)]} if str(name) in known else {}
        found.append({"name": str(name), "type": "string" if kind.kind == "O" else str(kind), **text})
    return found


def _meaning(collection: str, asset: str) -> str:
    known = VARIABLES.get(asset)
    return f"{f'{known.description}, {known.unit}' if known else asset}, from {collection}"


def _geometry_column() -> dict[str, str]:
    return {"name": GEOMETRY, "type": "binary", "description": _DESCRIPTIONS[GEOMETRY]}
