"""Files of a validation: the page, its numbers, the scores of every cell, a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.items import PARQUET
from stac_sm.publishing import AssetFile
from stac_sm.tables import to_json
from stac_sm.validation import figures
from stac_sm.validation.others import Comparison
from stac_sm.validation.page import Findings, page

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


def write_files(findings: Findings, members: bytes, folder: Path) -> dict[str, AssetFile]:
    """Write the assets of a validation: the same findings give the same bytes."""
    from matplotlib.style import context

    with context("default"):  # a matplotlibrc of the user must not change the page
        contents: dict[str, tuple[bytes, str, dict[str, Any]]] = {
            "report": (page(findings).encode(), ".html", _fields("Report", "text/html", "metadata")),
            "metrics": (
                (to_json(findings.to_dict()) + "\n").encode(),
                ".json",
                _fields("Metrics", "application/json", "metadata"),
            ),
            "members": (members, ".json", _fields("Tile-days that were validated", "application/json", "metadata")),
        }
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
    return assets | {f"cells-{one.other.asset}": _cells(findings, one, folder) for one in findings.others if one.parts}


def _fields(title: str, media_type: str, role: str) -> dict[str, Any]:
    return {"title": title, "type": media_type, "roles": [role]}


def _cells(findings: Findings, found: Comparison, folder: Path) -> AssetFile:
    """Parquet with a row a cell that has a day in common."""
    import pyarrow.parquet as pq

    table = cell_table(found, findings.least_days)
    file = folder / f"cells-{found.other.asset}.parquet"
    pq.write_table(table, file)
    columns = [
        {"name": name, "type": str(table.schema.field(name).type), "description": _COLUMNS[name]}
        for name in table.column_names
    ]
    about = {"table:columns": columns, "table:row_count": table.num_rows}
    return AssetFile(file, ".parquet", _fields(f"Cells of {found.other.name}", PARQUET, "data") | about)


def cell_table(found: Comparison, least_days: int) -> pa.Table:
    """Scores of every cell that has a day in common: the columns ``lon, lat, days, r, rmse, ubrmse, bias``, and where
    there is a third product ``error_product, error_other, error_third``.
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
