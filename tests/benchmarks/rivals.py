"""What others would write for a tile-month, each to the same output profile as ours: sm, and the whole item.

They get more than they would have: which files make which day and with what weight is told to them (our own search is
in our time), sea is left out before they predict, static layers and climatologies are read once a month, a field that
serves several features of a day is loaded once, and the area of applicability and the picture are made by our own code.
Exponential means are xarray's weighted means on the grid of the files, which are read once a month, and are warped
once a day.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from stac_sm.core.projections import crs_wkt
from stac_sm.core.variables import QualityFlag
from stac_sm.features.inputs import ResolvedInputs
from stac_sm.features.recipe import OF_MANY_YEARS, Feature
from stac_sm.model.model import Model
from stac_sm.product.item import QA_PROFILE, SM_PROFILE, UNCERTAINTY_PROFILE
from stac_sm.product.quicklook import encode_png, thinned_picture

Fields = dict[str, np.ndarray]
Load = Callable[[Any, str, GeoBox], np.ndarray]
Warp = Callable[[Any, str, GeoBox], np.ndarray]
"""From a float32 DataArray on any grid, NaN where there is no value, to a field on the tile."""
Predict = Callable[[int, np.ndarray], np.ndarray]
"""From the number of a booster and rows (row, feature) to predictions."""


@dataclass(frozen=True)
class Script:
    """One way to make a month: how files and arrays become fields, rows become values, and arrays become COGs."""

    load: Load
    warp: Warp
    predict: Predict
    write: Callable[[np.ndarray, Path, GeoBox, Any], None]

    def month(self, resolution: ResolvedInputs, model: Model, geobox: GeoBox, out: Path, *, whole: bool) -> None:
        """Make all days, one after another."""
        known = _Known()
        for day in resolution.days:
            known.today.clear()
            self._day(self.fields(resolution, day, geobox, known), model, geobox, out / f"{day:%Y%j}", whole)

    def fields(self, resolution: ResolvedInputs, day: date, geobox: GeoBox, known: _Known) -> Fields:
        """Features and variables of masks of a day, on the tile."""
        found: Fields = {}
        for feature in resolution.recipe.sources:
            made_of = resolution.by_feature[feature.name][day]
            normal = self._sum(made_of.climatology, feature, geobox, known.always)
            if feature.statistic in OF_MANY_YEARS:
                found[feature.name] = normal
                continue
            if feature.exponential:
                value = self._exponential(resolution, feature, day, geobox, known)
            else:
                kept = known.always if feature.time == "static" else known.today
                value = self._sum(made_of.fields_by_day[0], feature, geobox, kept)
            found[feature.name] = value - normal if feature.statistic == "anomaly" else value
        angle = np.float32(2 * np.pi * (day.timetuple().tm_yday - 1) / 365.25)
        year = {"doy_sin": np.sin(angle), "doy_cos": np.cos(angle)}
        return found | {name: np.full(geobox.shape, year[name]) for name in resolution.recipe.derived}

    def _sum(self, layers: Sequence[Any], feature: Feature, geobox: GeoBox, kept: dict[Any, Any]) -> Any:
        parts = []
        for layer in layers:
            (source,) = layer.sources
            key = source, feature.resampling
            if key not in kept:
                kept[key] = self.load(source, feature.resampling, geobox)
            parts.append(np.float32(layer.weight) * kept[key] if len(layers) > 1 else kept[key])
        return sum(parts[1:], parts[0]) if parts else None

    def _exponential(
        self, resolution: ResolvedInputs, feature: Feature, day: date, geobox: GeoBox, known: _Known
    ) -> np.ndarray:
        key = feature.collection, feature.asset, feature.exponential, feature.window
        if key not in known.today:
            series = known.series(resolution, feature)
            days = resolution.by_feature[feature.name][day].fields_by_day
            there = {age: layers[0].sources[0].href for age, layers in enumerate(days) if layers}
            mean = exponential_mean(
                series.sel(file=list(there.values())), np.array(list(there)), feature.exponential, feature.window
            )
            known.today[key] = self.warp(mean.astype(np.float32), feature.resampling, geobox)
        return known.today[key]

    def _day(self, fields: Fields, model: Model, geobox: GeoBox, folder: Path, whole: bool) -> None:
        folder.mkdir(parents=True)
        masked = {
            QualityFlag.FROZEN: fields["frozen"] < 273.15,
            QualityFlag.SNOW: fields["snow"] > 0.01,
            QualityFlag.WATER: np.isnan(fields["water"]),
        }
        missing = np.any([np.isnan(fields[name]) for name in model.features], axis=0)
        wanted = ~(np.any(list(masked.values()), axis=0) | missing)
        rows = np.stack([fields[name][wanted] for name in model.features], axis=1)
        sm = np.full(wanted.shape, np.nan, np.float32)
        raw = self.predict(0, rows)
        sm[wanted] = np.clip(raw, 0, 1)
        self.write(_rounded(sm, SM_PROFILE.step), folder / "sm.tif", geobox, SM_PROFILE)
        if not whole:
            return
        columns = dict(zip(model.features, rows.T, strict=True))
        width = np.full(wanted.shape, np.nan, np.float32)
        width[wanted] = model.intervals.of_spread(self.predict(1, rows), raw)
        qa = np.where(missing, np.uint8(QualityFlag.INPUT_MISSING), np.uint8(0))
        for flag, pixels in masked.items():
            qa[pixels] |= np.uint8(flag)
        qa[wanted] |= np.where(model.applicability.outside(columns), np.uint8(QualityFlag.NOT_APPLICABLE), np.uint8(0))
        self.write(_rounded(width, UNCERTAINTY_PROFILE.step), folder / "uncertainty.tif", geobox, UNCERTAINTY_PROFILE)
        self.write(qa, folder / "qa.tif", geobox, QA_PROFILE)
        (folder / "thumbnail.png").write_bytes(encode_png(thinned_picture(sm)))
        _item(folder, geobox)


@dataclass
class _Known:
    """What a script keeps: fields of the month, fields of the day, and arrays of many days."""

    always: dict[Any, np.ndarray] = field(default_factory=dict)
    today: dict[Any, np.ndarray] = field(default_factory=dict)
    _series: dict[Any, Any] = field(default_factory=dict)

    def series(self, resolution: ResolvedInputs, feature: Feature) -> Any:
        """Each file of the exponential means of an asset in the month, on its own grid: dims (file, y, x)."""
        import xarray as xr

        key = feature.collection, feature.asset
        if key not in self._series:
            same = [one for one in resolution.recipe.features if one.exponential and (one.collection, one.asset) == key]
            days = [made_of for one in same for made_of in resolution.by_feature[one.name].values()]
            layers = [layer for made_of in days for window in made_of.fields_by_day for layer in window]
            files = {source.href: source for layer in layers for source in layer.sources}
            opened = xr.concat([opened_file(source) for source in files.values()], "file", join="override")
            self._series[key] = opened.assign_coords(file=list(files))
        return self._series[key]


def exponential_mean(days: Any, ages: np.ndarray, scale: float, window: int) -> Any:
    """Weighted mean over dim ``file``, whose ages in days are given; NaN with less than a quarter of all weights."""
    import xarray as xr

    weighted = days.weighted(xr.DataArray(np.exp(-ages / scale), dims="file"))
    whole = np.exp(-np.arange(window) / scale).sum()
    return weighted.mean("file").where(weighted.sum_of_weights("file") >= 0.25 * whole)


def _rounded(field: np.ndarray, step: float) -> np.ndarray:
    stored = np.round(field / np.float32(step)) * np.float32(step)
    return np.where(np.isnan(stored), np.float32(-9999), stored)


def _item(folder: Path, geobox: GeoBox) -> None:
    """Re-open and decode what was written, and publish it with checksums."""
    import pystac
    import rasterio

    box = list(geobox.geographic_extent.boundingbox)
    item = pystac.Item(folder.name, None, box, _noon(folder.name), {})
    for file in sorted(folder.iterdir()):
        if file.suffix == ".tif":
            with rasterio.open(file) as opened:
                opened.read(1)
        content = file.read_bytes()
        told = {"file:checksum": "1220" + hashlib.sha256(content).hexdigest(), "file:size": len(content)}
        item.add_asset(file.stem, pystac.Asset(f"./{file.name}", extra_fields=told))
    (folder / "item.json").write_text(json.dumps(item.to_dict()))


def _noon(name: str) -> Any:
    from datetime import UTC, datetime

    return datetime.strptime(name, "%Y%j").replace(hour=12, tzinfo=UTC)


# ---- loading: from a file to a float32 field on the tile, NaN where there is no data


def opened_file(source: Any) -> Any:
    import rioxarray

    with rioxarray.open_rasterio(source.href, masked=True) as file:
        field = file[0].astype(np.float32) * np.float32(source.scale or 1.0) + np.float32(source.offset or 0.0)
        return field.rio.write_nodata(np.nan)


def by_rioxarray(source: Any, resampling: str, geobox: GeoBox) -> np.ndarray:
    return by_reproject_match(opened_file(source), resampling, geobox)


def by_reproject_match(array: Any, resampling: str, geobox: GeoBox) -> np.ndarray:
    from rasterio.enums import Resampling

    template = _georeferenced(np.zeros(geobox.shape, np.float32), geobox)
    return array.rio.write_nodata(np.nan).rio.reproject_match(template, resampling=Resampling[resampling]).values


def by_xr_reproject(array: Any, resampling: str, geobox: GeoBox) -> np.ndarray:
    from odc.geo.xr import xr_reproject

    return xr_reproject(array, geobox, resampling=resampling, dst_nodata=np.nan).values


def by_odc(source: Any, resampling: str, geobox: GeoBox) -> np.ndarray:
    from odc.stac import load

    from stac_sm.raster.readers import _item as alone

    data = load(
        [alone(source)], bands=[source.asset], geobox=geobox, resampling=resampling, chunks={"x": 600, "y": 600}
    )
    return _physical(data[source.asset].data[0].compute(scheduler="threads", num_workers=2), source)


def by_stackstac(source: Any, resampling: str, geobox: GeoBox) -> np.ndarray:
    """By the layer below `stackstac.stack`, which takes no grid without an EPSG code; warped by its VRTs."""
    from rasterio.enums import Resampling
    from stackstac.prepare import ASSET_TABLE_DT
    from stackstac.raster_spec import RasterSpec
    from stackstac.to_dask import items_to_dask

    box, dtype = geobox.boundingbox, np.dtype(source.dtype)
    bounds = (box.left, box.bottom, box.right, box.top)
    table = np.full((1, 1), None, dtype=ASSET_TABLE_DT)
    table["url"], table["bounds"], table["scale_offset"] = source.href, bounds, (1, 0)
    stack = items_to_dask(
        table,
        RasterSpec(crs_wkt(str(geobox.crs)), bounds, (geobox.affine.a, -geobox.affine.e)),
        chunksize=(1, 1, 600, 600),
        dtype=dtype,
        fill_value=dtype.type(source.nodata),
        rescale=False,
        resampling=Resampling[resampling],
    )
    return _physical(stack[0, 0].compute(scheduler="threads", num_workers=2), source)


def _physical(stored: np.ndarray, source: Any) -> np.ndarray:
    field = stored.astype(np.float32) * np.float32(source.scale or 1.0) + np.float32(source.offset or 0.0)
    return np.where(stored == np.asarray(source.nodata).astype(stored.dtype), np.float32(np.nan), field)


# ---- predicting: each booster on two threads


def _boosters(model: Model) -> list[tuple[Any, list[int]]]:
    members = [model.members[0], *([model.intervals.spread] if model.intervals else [])]
    found = []
    for member in members:
        member.trained.booster.set_param({"nthread": 2})
        found.append((member.trained.booster, [model.features.index(name) for name in member.features]))
    return found


def by_matrix(model: Model) -> Predict:
    import xgboost as xgb

    boosters = _boosters(model)

    def predict(number: int, rows: np.ndarray) -> np.ndarray:
        booster, columns = boosters[number]
        return booster.predict(xgb.DMatrix(rows[:, columns], feature_names=booster.feature_names, nthread=2))

    return predict


def in_place(model: Model) -> Predict:
    boosters = _boosters(model)

    def predict(number: int, rows: np.ndarray) -> np.ndarray:
        booster, columns = boosters[number]
        return booster.inplace_predict(rows[:, columns])

    return predict


def in_dask_blocks(model: Model) -> Predict:
    """Blocks of rows, mapped by dask; each with XGBoost's own two threads."""
    import dask.array as da

    alone = in_place(model)

    def predict(number: int, rows: np.ndarray) -> np.ndarray:
        blocks = da.from_array(rows, chunks=(360_000, -1))
        found = blocks.map_blocks(lambda part: alone(number, part), drop_axis=1, dtype=np.float32)
        return found.compute(scheduler="threads", num_workers=1)

    return predict


def compiled(model: Model, folder: Path) -> Predict:
    """Treelite's model as C, compiled by tl2cgen with gcc; kept in a folder.

    Raises
    ------
    ImportError
        If treelite or tl2cgen is not installed.
    """
    import tl2cgen
    import treelite

    predictors = []
    for booster, columns in _boosters(model):
        library = folder / f"{hashlib.sha256(booster.save_raw('ubj')).hexdigest()[:12]}.so"
        if not library.exists():
            known = treelite.frontend.from_xgboost(booster)
            tl2cgen.export_lib(known, toolchain="gcc", libpath=str(library), params={"parallel_comp": 8}, nthread=2)
        predictors.append((tl2cgen.Predictor(str(library), nthread=2), columns))

    def predict(number: int, rows: np.ndarray) -> np.ndarray:
        predictor, columns = predictors[number]
        return predictor.predict(tl2cgen.DMatrix(rows[:, columns])).ravel().astype(np.float32)

    return predict


# ---- writing


def by_rio(values: np.ndarray, file: Path, geobox: GeoBox, profile: Any) -> None:
    array = _georeferenced(values, geobox)
    if profile.nodata is not None:
        array = array.rio.write_nodata(profile.nodata)
    array.rio.to_raster(
        file, driver="COG", compress="DEFLATE", level=profile.level, blocksize=profile.block,
        predictor=3 if values.dtype.kind == "f" else 2, overview_resampling=profile.overviews,
    )  # fmt: skip


def _georeferenced(values: np.ndarray, geobox: GeoBox) -> Any:
    import rioxarray  # noqa: F401
    import xarray as xr

    (height, width), affine = geobox.shape, geobox.affine
    places = {
        "y": affine.f + affine.e * (np.arange(height) + 0.5),
        "x": affine.c + affine.a * (np.arange(width) + 0.5),
    }
    array = xr.DataArray(values, places, ("y", "x"))
    return array.rio.write_crs(crs_wkt(str(geobox.crs))).rio.write_transform(affine)


def by_odc_geo(values: np.ndarray, file: Path, geobox: GeoBox, profile: Any) -> None:
    from odc.geo.cog import write_cog
    from odc.geo.xr import wrap_xr

    array = wrap_xr(values, geobox, nodata=profile.nodata)
    write_cog(
        array, file, compress="DEFLATE", zlevel=profile.level, blocksize=profile.block,
        predictor=3 if values.dtype.kind == "f" else 2, overview_resampling=profile.overviews,
        overview_levels=[2, 4],
    )  # fmt: skip


def scripts(model: Model, folder: Path, names: Sequence[str]) -> tuple[Mapping[str, Script], Mapping[str, str]]:
    """The rivals wanted, and why some are left out."""
    found, absent = {}, {}
    makers: dict[str, Callable[[], Script]] = {
        "plain": lambda: Script(by_rioxarray, by_reproject_match, by_matrix(model), by_rio),
        "odc": lambda: Script(by_odc, by_xr_reproject, in_place(model), by_odc_geo),
        "stackstac": lambda: Script(by_stackstac, by_reproject_match, in_dask_blocks(model), by_rio),
        "odc-stats": lambda: Script(by_odc, by_xr_reproject, compiled(model, folder), by_odc_geo),
    }
    for name in names:
        try:
            found[name] = makers[name]()
        except ImportError as error:
            absent[name] = f"{error}: pip install treelite tl2cgen"
    return found, absent
