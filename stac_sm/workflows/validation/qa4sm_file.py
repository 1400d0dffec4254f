"""Write the scores of a validation as CSV, and as NetCDF in the layout of the QA4SM service.

The NetCDF file has the dimensions, names and attributes of a result of QA4SM (release 2, metric calculator ``tcol``),
so that programs for such files read it. Only scores are in it, no values of stations. Its bias is station minus
product, as QA4SM has it: the sign is opposite to that of the page.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.core.scores.groups import GroupScores, ScoreTable
from stac_sm.core.scores.resampling import NO_INTERVAL
from stac_sm.core.scores.triplets import DataSetErrors, TripletResult

if TYPE_CHECKING:
    from stac_sm.stations.records import Station

_PAIR_FIGURES = (  # name in QA4SM, name of ours, sign
    ("R", "r", 1), ("p_R", "p_r", 1), ("BIAS", "bias", -1), ("RMSD", "rmse", 1), ("mse", "mse", 1),
    ("RSS", "rss", 1), ("mse_corr", "mse_corr", 1), ("mse_bias", "mse_bias", 1), ("urmsd", "ubrmse", 1),
    ("mse_var", "mse_var", 1), ("rho", "rho", 1), ("p_rho", "p_rho", 1),
)  # fmt: skip
_INTERVALS = (
    "BIAS", "urmsd", "R", "rho", "mse_var", "mse_corr", "mse_bias", "RMSD", "mse", "RSS",
)  # fmt: skip
_TRIPLET_FIGURES = (("snr", "snr_db"), ("err_std", "error_std"), ("beta", "beta"))
_LOCATION: Mapping[str, Mapping[str, Any]] = {  # of the coordinates
    "lon": {"long_name": "location longitude", "standard_name": "longitude", "units": "degrees_east",
            "valid_range": np.array([-180, 180]), "axis": "X"},
    "lat": {"long_name": "location latitude", "standard_name": "latitude", "units": "degrees_north",
            "valid_range": np.array([-90, 90]), "axis": "Y"},
    "idx": {"long_name": "observation point index", "standard_name": "idx", "units": "timeseries_id"},
}  # fmt: skip


@dataclass(frozen=True)
class ComparedDataSet:
    """A data set as the file names it."""

    name: str
    """Name in the file, e.g. ``ERA5_LAND``."""

    pretty_name: str
    """Name for readers."""

    version: str
    """Its version."""

    variable: str
    """Name of the variable, e.g. ``swvl1``."""


@dataclass(frozen=True)
class Location:
    """A site, its scores against every data set, and its triplets."""

    station: Station
    """The station; its first one where several lie in a pixel."""

    pairs: Mapping[str, GroupScores]
    """`ComparedDataSet.name` to the scores of the site; data sets without a common day are left out."""

    triplets: Mapping[tuple[str, str, str], TripletResult]
    """Names of data sets, the station first, to the triplet."""

    depth: tuple[float, float]
    """Upper and lower end of the sensors that count, m."""


def write_qa4sm_file(
    path: Path, data_sets: Sequence[ComparedDataSet], locations: Sequence[Location], attributes: Mapping[str, Any]
) -> None:
    """Write scores in the layout of QA4SM.

    Parameters
    ----------
    path
        File to write.
    data_sets
        The stations first, which are the reference.
    locations
        One a site.
    attributes
        Attributes of the file beside those of the data sets: ``val_interval_from`` and so on.
    """
    import netCDF4

    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("loc", None)
        file.createDimension("obs", None)
        file.setncatts({**attributes, **_data_set_attributes(data_sets)})
        write = _Writer(file, len(locations))
        stations = [one.station for one in locations]
        for name, values in (("lon", [one.lon for one in stations]), ("lat", [one.lat for one in stations])):
            write.number(name, values, "f8", _LOCATION[name], linked=False)
        write.number("idx", list(range(len(locations))), "i8", _LOCATION["idx"], linked=False)
        sample = {"long_name": "number of timestamps for this loc", "sample_dimension": "obs"}
        write.number("_row_size", [0] * len(locations), "i8", sample)
        _write_stations(write, stations)
        names = [f"{i:02}-{one.name}" for i, one in enumerate(data_sets)]
        for i, data_set in enumerate(data_sets[1:], 1):
            pair = f"between_{names[0]}_and_{names[i]}"
            _write_depths(write, pair, locations)
            _write_pair(write, pair, [one.pairs.get(data_set.name) for one in locations])
        first = [one.pairs.get(data_sets[1].name) if len(data_sets) > 1 else None for one in locations]
        write.number("n_obs", [one.scores.n if one else 0 for one in first], "i4")
        for i, j in combinations(range(1, len(data_sets)), 2):
            members = (0, i, j)
            label = "between_" + "_and_".join(names[one] for one in members)
            key = (data_sets[0].name, data_sets[i].name, data_sets[j].name)
            _write_depths(write, label, locations)
            _write_triplet(write, label, [names[one] for one in members], [one.triplets.get(key) for one in locations])


def scores_csv(tables: Sequence[tuple[str, str, ScoreTable]]) -> bytes:
    """Return scores as CSV: a line a group, of every data set and role of the stations.

    Parameters
    ----------
    tables
        Data set, role and scores.

    Returns
    -------
    bytes
        UTF-8 with a line of names first; an empty cell stands for no value.
    """
    rows = [
        {"data_set": data_set, "role": role, **group.row} for data_set, role, table in tables for group in table.groups
    ]
    return _csv(rows)


def triplets_csv(sites: Mapping[str, Sequence[TripletResult]]) -> bytes:
    """Return triple collocation as CSV: a line a site, triplet and data set, with the ends of every interval.

    Parameters
    ----------
    sites
        Triplets of each site.

    Returns
    -------
    bytes
        UTF-8 with a line of names first; an empty cell stands for no value. ``dependent`` says why the errors of a
        triplet are not independent, and is empty where they are.
    """
    rows = []
    for site, found in sites.items():
        for one in found:
            flat = {key: value for key, value in one.row.items() if key not in ("errors", "pairwise_r")}
            flat["data_sets"] = ", ".join(one.names)
            rows += [{"site": site, **flat, **of_data_set} for of_data_set in one.row["errors"]]
    return _csv(rows)


def _csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: "" if value != value else value for name, value in row.items()})
    return text.getvalue().encode()


class _Writer:
    """Variables of the file, all along locations."""

    def __init__(self, file: Any, size: int) -> None:
        self._file, self._size = file, size

    def number(
        self,
        name: str,
        values: Sequence[float],
        kind: str = "f4",
        attributes: Mapping[str, Any] | None = None,
        *,
        linked: bool = True,
    ) -> None:
        fill = np.nan if kind.startswith("f") else None
        variable = self._file.createVariable(name, kind, ("loc",), zlib=True, complevel=4, fill_value=fill)
        variable.setncatts({**(attributes or {}), **({"coordinates": "idx lat lon"} if linked else {})})
        if self._size:
            variable[:] = np.asarray(values, dtype=kind)

    def text(self, name: str, values: Sequence[str]) -> None:
        variable = self._file.createVariable(name, str, ("loc",), zlib=True, complevel=4)
        variable.setncatts({"coordinates": "idx lat lon"})
        if self._size:
            variable[:] = np.array(values, dtype=object)


def _data_set_attributes(data_sets: Sequence[ComparedDataSet]) -> dict[str, str]:
    found = {"val_ref": "val_dc_dataset0", "val_scaling_ref": "val_dc_dataset0"}
    for i, one in enumerate(data_sets):
        found |= {
            f"val_dc_dataset{i}": one.name,
            f"val_dc_version{i}": one.version,
            f"val_dc_variable{i}": one.variable,
            f"val_dc_dataset_pretty_name{i}": one.pretty_name,
            f"val_dc_version_pretty_name{i}": one.version,
            f"val_dc_variable_pretty_name{i}": one.variable,
        }
    return found


def _write_stations(write: _Writer, stations: Sequence[Station]) -> None:
    """Write what is known of the ground; land cover is that of the newest map, and stands for 2010."""
    write.number("gpi", list(range(len(stations))), "i4")
    for year in ("2010", "2005", "2000"):
        cover = [float(one.land_cover) if one.land_cover and year == "2010" else np.nan for one in stations]
        write.number(f"lc_{year}", cover)
    write.text("network", [one.network for one in stations])
    write.text("station", [one.name for one in stations])
    write.number("elevation", [one.elevation for one in stations])
    write.text("instrument", [", ".join(one.instruments) for one in stations])
    write.text("climate_KG", [one.climate for one in stations])
    for name in ("saturation", "organic_carbon", "silt_fraction", "sand_fraction", "clay_fraction"):
        write.number(name, [one.soil.get(name, np.nan) for one in stations])


def _write_depths(write: _Writer, label: str, locations: Sequence[Location]) -> None:
    for i, end in enumerate(("from", "to")):
        write.number(f"instrument_depth{end}_{label}", [one.depth[i] for one in locations])


def _write_pair(write: _Writer, pair: str, found: Sequence[GroupScores | None]) -> None:
    for name, ours, sign in _PAIR_FIGURES:
        write.number(f"{name}_{pair}", [sign * _figure(one, ours) for one in found])
    for name in _INTERVALS:
        ours, sign = next((ours, sign) for other, ours, sign in _PAIR_FIGURES if other == name)
        ends = [sorted(sign * end for end in _interval(one, ours)) for one in found]
        for i, end in enumerate(("lower", "upper")):
            write.number(f"{name}_ci_{end}_{pair}", [one[i] for one in ends])


def _figure(found: GroupScores | None, name: str) -> float:
    if found is None:
        return np.nan
    scores = found.scores
    return float(scores.mse * scores.n if name == "rss" else getattr(scores, name))


def _interval(found: GroupScores | None, name: str) -> tuple[float, float]:
    one = found.intervals.get(name, NO_INTERVAL) if found is not None else NO_INTERVAL
    return one.low, one.high


def _write_triplet(write: _Writer, label: str, names: Sequence[str], found: Sequence[TripletResult | None]) -> None:
    for figure, ours in _TRIPLET_FIGURES:
        for i, name in enumerate(names):
            write.number(f"{figure}_{name}_{label}", [_of_triplet(one, i, ours) for one in found])
    for figure, ours in _TRIPLET_FIGURES:
        for i, name in enumerate(names):
            ends = [_triplet_interval(one, i, ours) for one in found]
            for end, values in zip(("lower", "upper"), zip(*ends, strict=True) if ends else ((), ()), strict=True):
                write.number(f"{figure}_ci_{end}_{name}_{label}", values)


def _of_triplet(found: TripletResult | None, i: int, name: str) -> float:
    return float(getattr(found.data_sets[i], name)) if found is not None else np.nan


def _triplet_interval(found: TripletResult | None, i: int, name: str) -> tuple[float, float]:
    one: DataSetErrors | None = found.data_sets[i] if found is not None else None
    interval = one.intervals.get(name, NO_INTERVAL) if one is not None else NO_INTERVAL
    return interval.low, interval.high


def qa4sm_attributes(
    title: str, first_day: str, last_day: str, scaling: str, depth: float, window_days: float = 0.5
) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a file beside those of its data sets.

    Parameters
    ----------
    title
        Name of the validation.
    first_day, last_day
        Of the period, both included.
    scaling
        One of `stac_sm.core.scores.series.SCALINGS`.
    depth
        Deepest lower end of a sensor, m.
    window_days
        Half the temporal window, days.

    Yields
    ------
    tuple
        Name and value, in the order of QA4SM.
    """
    yield from (
        ("id", title),
        ("date_created", "see the property created of the item"),  # so that the same scores give the same bytes
        ("val_interval_from", first_day),
        ("val_interval_to", last_day),
        ("val_scaling_method", {"none": "None", "mean-std": "mean_std", "cdf": "cdf_match"}[scaling]),
        ("val_anomalies", "False"),
        ("val_metric_calculator_name", "tcol"),
        ("val_metrics_between_non_refs", "False"),
        ("val_temp_window", str(window_days)),
        ("val_subset_metrics_adapter_sets", "None"),
        ("val_tc_bootstrap_ci", "True"),
        ("val_ignore_errors", "True"),
        ("val_filter_landcover", "None"),
        ("val_filter_climate", "None"),
        ("ismn_min_depth", np.float64(0)),
        ("ismn_max_depth", np.float64(depth)),
    )
