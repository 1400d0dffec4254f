"""Files of a validation: the page, its numbers, scores at stations, scores of every cell, maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.text import to_json
from stac_sm.stac.items import PARQUET_MEDIA_TYPE
from stac_sm.stac.visibility import PUBLIC, RESTRICTED
from stac_sm.workflows.reporting.page import page_fields
from stac_sm.workflows.validation import figures
from stac_sm.workflows.validation.page import (
    ValidationFindings,
    validation_page,
    validation_series_page,
)
from stac_sm.workflows.validation.products import (
    ProductComparison,
)
from stac_sm.workflows.validation.qa4sm_file import (
    Location,
    scores_csv,
    triplets_csv,
    write_qa4sm_file,
)
from stac_sm.workflows.validation.triplets import (
    PRODUCT,
    STATION,
)

if TYPE_CHECKING:
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

    assets = _score_files(findings, folder)
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
            title = f"Against {findings.others[0].other.title}"
            contents["maps"] = (
                picture,
                ".png",
                _fields(title, "image/png", "metadata"),
            )  # no thumbnail: maps would stretch it
    for key, (content, suffix, fields) in contents.items():
        file = folder / f"{key}{suffix}"
        file.write_bytes(content)
        assets[key] = AssetFile(file, suffix, fields)
    return assets | {f"cells-{one.other.key}": _cells(findings, one, folder) for one in findings.others if one.parts}


def _score_files(findings: ValidationFindings, folder: Path) -> dict[str, AssetFile]:
    """Write the scores at stations as CSV and NetCDF; nothing where there are none."""
    if not findings.scores:
        return {}
    tables = [(PRODUCT, role, table) for role, table in findings.scores.items()]
    tables += [(name, "", table) for name, table in findings.reference_scores.items()]
    (folder / "scores.csv").write_bytes(scores_csv(tables))
    write_qa4sm_file(folder / "scores-qa4sm.nc", findings.data_sets, _locations(findings), findings.qa4sm)
    assets = {}
    if findings.triplets is not None and findings.triplets.sites:
        (folder / "triplets.csv").write_bytes(triplets_csv(findings.triplets.sites))
        fields = _fields("Triple collocation at stations", "text/csv", "data")
        assets["triplets"] = AssetFile(folder / "triplets.csv", ".csv", fields)
    return assets | {
        "scores": AssetFile(folder / "scores.csv", ".csv", _fields("Scores at stations", "text/csv", "data")),
        "scores-qa4sm": AssetFile(
            folder / "scores-qa4sm.nc",
            ".nc",
            _fields("Scores at stations, in the layout of QA4SM", "application/netcdf", "data"),
        ),
    }


def _locations(findings: ValidationFindings) -> list[Location]:
    """Return what is known of each site for the NetCDF file, in the order of their ids."""
    of_product = {one.name: one for table in findings.scores.values() for one in table.stations}
    others = {name: {one.name: one for one in table.stations} for name, table in findings.reference_scores.items()}
    names = {STATION: findings.data_sets[0].name, PRODUCT: findings.data_sets[1].name}
    names |= {one.pretty_name: one.name for one in findings.data_sets[2:]}
    found = []
    for site in sorted(of_product):
        station, depths = findings.stations[site]
        triplets = findings.triplets.sites.get(site, ()) if findings.triplets is not None else ()
        pairs = {names[PRODUCT]: of_product[site]}
        pairs |= {names[name]: sites[site] for name, sites in others.items() if site in sites}
        keyed = {tuple(names[name] for name in one.names): one for one in triplets}
        ends = (min(top for top, _ in depths), max(end for _, end in depths)) if depths else (np.nan, np.nan)
        found.append(Location(station, pairs, keyed, ends))  # type: ignore[arg-type]
    return found


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
    return AssetFile(file, ".parquet", _fields(f"Cells of {found.other.title}", PARQUET_MEDIA_TYPE, "data") | about)


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
