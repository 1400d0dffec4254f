"""Compare the product with other products on their own cells, tile by tile and day by day, so that memory is bounded.

`validate` calls it. `Moments` gathers what the scores of many cells need to know, one day at a time; it reads and
writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.core.errors import CatalogError, InputError
from stac_sm.core.footprints import footprint
from stac_sm.core.grid import TileGrid
from stac_sm.core.metrics import Scores, truth_correlation
from stac_sm.core.parallel import own_threads
from stac_sm.core.period import Period
from stac_sm.core.projections import transform_points
from stac_sm.core.variables import VOLUMETRIC, canonical_unit
from stac_sm.features.cube import build
from stac_sm.features.inputs import ResolvedInputs, resolve_inputs
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.product.read import items_of_version
from stac_sm.raster.precedence import in_precedence
from stac_sm.raster.resample import TargetPixels
from stac_sm.raster.source import BadItemError, RasterSource, raster_source
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.catalogs.search import BBox, ItemSearch, item_period

if TYPE_CHECKING:
    import pystac
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

Float64Array = "NDArray[np.float64]"

_MIDDLE = 0.25  # m3 m-3: sums are of what is above it, so that little is lost when their squares are subtracted
_CONSTANT = 1e-14  # (m3 m-3)**2: a variance below it is rounding, since files hold steps of 1e-4


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over the days on which all of some series have a value, in every cell."""

    n: NDArray[np.int64]
    """Days, (cell)."""

    first: NDArray[np.float64]
    """Sums of values, (series, cell)."""

    second: NDArray[np.float64]
    """Sums of products of two values, (series, series, cell)."""

    @classmethod
    def nothing(cls, series: int, cells: int) -> Moments:
        """Return moments without a day.

        Parameters
        ----------
        series
            Number of series.
        cells
            Number of cells.

        Returns
        -------
        Moments
            All sums are 0.
        """
        return cls(np.zeros(cells, np.int64), np.zeros((series, cells)), np.zeros((series, series, cells)))

    def add(self, values: NDArray[np.float32]) -> None:
        """Add a day: dims (series, cell), m3 m-3, NaN where there is no value."""
        common = np.isfinite(values).all(axis=0)
        above = np.where(common, values.astype(np.float64) - _MIDDLE, 0.0)
        self.n[...] += common
        self.first[...] += above
        self.second[...] += above[:, None] * above[None]

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean of each series, (series, cell), NaN without a day."""
        with np.errstate(all="ignore"):
            return np.where(self.n > 0, self.first / self.n + _MIDDLE, np.nan)

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Covariances (ddof 0), (cell, series, series), NaN without a day."""
        with np.errstate(all="ignore"):
            mean = np.where(self.n > 0, self.first / self.n, np.nan)
            q = np.where(self.n > 0, self.second / self.n, np.nan) - mean[:, None] * mean[None]
        return np.moveaxis(q, -1, 0)

    @property
    def scores(self) -> dict[str, NDArray[np.float64]]:
        """Scores of the first series against the second in every cell: ``r``, ``rmse``, ``ubrmse``, ``bias``.

        As `stac_sm.core.metrics.agreement_scores` has them; NaN where there are too few days.
        """
        q, (prediction, observation) = self.covariance, self.means[:2]
        bias = prediction - observation
        with np.errstate(all="ignore"):
            spread = q[:, 0, 0] + q[:, 1, 1] - 2 * q[:, 0, 1]
            ubrmse = np.where(self.n > 1, np.sqrt(np.maximum(spread, 0)), np.nan)
            varied = (self.n > 1) & (q[:, 0, 0] > _CONSTANT) & (q[:, 1, 1] > _CONSTANT)
            r = np.where(varied, np.clip(q[:, 0, 1] / np.sqrt(q[:, 0, 0] * q[:, 1, 1]), -1, 1), np.nan)
            rmse = np.sqrt(np.maximum(spread, 0) + bias**2)
        return {"r": r, "rmse": rmse, "ubrmse": ubrmse, "bias": bias}

    @property
    def pooled(self) -> Scores:
        """Scores of all cells and days at once."""
        whole = Moments(self.n.sum(keepdims=True), self.first.sum(1, keepdims=True), self.second.sum(2, keepdims=True))
        found = whole.scores
        return Scores(n=int(whole.n[0]), **{name: float(found[name][0]) for name in ("r", "rmse", "ubrmse", "bias")})

    def errors(self, least_days: int) -> NDArray[np.float64]:
        """Compute the random error of each of three series by triple collocation.

        Parameters
        ----------
        least_days
            A cell with fewer days has no value.

        Returns
        -------
        numpy.ndarray
            (series, cell): ``error_std`` of `stac_sm.core.metrics.triple_collocation`, in the units of the first
            series; NaN where it is refused.
        """
        q = self.covariance
        found = np.full((3, len(self.n)), np.nan)
        with np.errstate(all="ignore"):
            scale = (1.0, q[:, 0, 2] / q[:, 1, 2], q[:, 0, 1] / q[:, 1, 2])
            for i in range(3):
                order = [i, (i + 1) % 3, (i + 2) % 3]
                known = truth_correlation(q[:, order][:, :, order])
                found[i] = np.sqrt(self._sample * q[:, i, i] * (1 - known**2)) * scale[i]
        return np.where((self.n >= max(least_days, 2)) & np.isfinite(found).all(axis=0), found, np.nan)

    @property
    def _sample(self) -> NDArray[np.float64]:
        """Factor from the variance of these days to that of all (ddof 1)."""
        return self.n / np.maximum(self.n - 1, 1)


def join_moments(parts: Iterable[Moments]) -> Moments:
    """Join the cells of several moments, one after another."""
    found = list(parts)
    return Moments(
        np.concatenate([one.n for one in found]),
        np.concatenate([one.first for one in found], axis=-1),
        np.concatenate([one.second for one in found], axis=-1),
    )


_LONGEST_ORBIT = 3
"""Days: an item that covers more is a mean."""

_EMPTY = Moments.nothing(2, 0)

_TITLES = {"esa-cci-sm": "ESA CCI", "smap": "SMAP", "smap-s1": "SMAP/Sentinel-1"}
"""Collection to its name for readers; others go by their id."""


@dataclass(frozen=True)
class OtherProduct:
    """Another product, with which ours is compared."""

    collection: str
    """Its collection."""

    asset: str
    """Its asset, m3 m-3."""

    cells: str
    """Size of its cells, in words."""

    means: bool = False
    """Whether its items are means over several days: then means of the product over the same days are compared."""

    label: str = ""
    """Name for readers of what makes triplets beside stations and product (`DATA_SETS`); empty of others."""

    column: str = ""
    """Name of its column in triplets; empty of others."""

    @property
    def name(self) -> str:
        """Name that differs from those of the other products."""
        return f"{self.collection} {self.cells}"

    @property
    def title(self) -> str:
        """Name for readers, with the size of the cells."""
        return f"{_TITLES.get(self.collection, self.collection)} ({self.cells})"

    @property
    def key(self) -> str:
        """What the names of its files and tables end with: for products that are always compared, their asset."""
        return self.asset if self in OTHER_PRODUCTS else f"{self.collection}-{self.asset}"


OTHER_PRODUCTS = (
    OtherProduct("esa-cci-sm", "cci_sm", "0.25 degrees", label="ESA CCI", column="cci"),
    OtherProduct("smap", "smap_sm", "36 km", label="SMAP", column="smap"),
    OtherProduct("smap-s1", "smap_s1_sm_3km", "3 km"),
    OtherProduct("smap-s1", "smap_s1_sm", "1 km"),
)
"""What the product is always compared with. Of SMAP/Sentinel-1, 3 km are what its makers have validated."""

DATA_SETS = (
    OtherProduct("era5-land", "swvl1", "0.1 degrees", label="ERA5-Land", column="era5land"),
    *(one for one in OTHER_PRODUCTS if one.label),
)
"""What makes triplets beside stations and product, in this order; ERA5-Land, an input, is no validation alone."""

VALIDATED_PRODUCTS = OTHER_PRODUCTS[:3]
"""Without what its makers have not validated."""

THIRD_PRODUCTS = (OTHER_PRODUCTS[1], OTHER_PRODUCTS[2])
"""What makes three with the product and ESA CCI, averaged over the cells of ESA CCI."""


def other_product(catalog: ItemSearch, name: str, period: Period) -> OtherProduct:
    """Find the soil moisture of a collection, to compare the product with it.

    Parameters
    ----------
    catalog
        Catalogue with the collection.
    name
        Its id, or ``ID/ASSET`` where several assets are in m3 m-3.
    period
        UTC days that are compared: its items are described by those of these days.

    Returns
    -------
    OtherProduct
        Collection, asset and size of its cells; one of `OTHER_PRODUCTS` where it is that.

    Raises
    ------
    CatalogError
        If there is no such collection, or no item in the period.
    InputError
        If it is the product itself, has no asset in m3 m-3 or several ones, or its items are means of which none lies
        wholly in the period.
    """
    collection, _, asset = name.partition("/")
    known = [one for one in OTHER_PRODUCTS if one.collection == collection and asset in ("", one.asset)]
    if known:
        return known[0]
    if collection == PRODUCT_COLLECTION:
        raise InputError(f"--against {name}: another collection than that of the product is required")
    units, cells, spans = dict[str, str](), "", set[Period]()
    for item in catalog.items(collection, period=period, left_out={}):
        spans.add(item_period(item))
        for key in item.assets:
            if (source := _source(item, key)) is not None:
                units.setdefault(key, canonical_unit(source.unit))
                cells = cells or (_cell_size(source.geobox) if asset in ("", key) else "")
    found = _volumetric_asset(name, asset, units, period)
    kind = _kind_of_means(name, spans, period)
    return (
        OtherProduct(collection, found, f"{cells}, {kind}", means=True)
        if kind
        else OtherProduct(collection, found, cells)
    )


def _kind_of_means(name: str, spans: Iterable[Period], period: Period) -> str:
    """Return over what the items of a collection are means, in words; empty for items of days.

    An orbit may cross midnight, so an item of a few days is no mean.
    """
    long = {one for one in spans if len(one) > _LONGEST_ORBIT}
    if not long:
        return ""
    if len(long) < len(set(spans)):
        raise InputError(
            f"--against {name}: items of days and means found, one of the two is required: keep them apart"
        )
    whole = [one for one in long if _holds(period, one)]
    if not whole:
        raise InputError(
            f"--against {name}: means over {min(long)} found, none lies wholly in {period}: give --period a whole one"
        )
    lengths = {len(one) for one in whole}
    names = (({365, 366}, "annual means"), ({28, 29, 30, 31}, "monthly means"))
    return next((text for known, text in names if lengths <= known), f"means over {max(lengths)} days")


def _holds(period: Period, one: Period) -> bool:
    return period.start <= one.start and one.end <= period.end


def _volumetric_asset(name: str, asset: str, units: Mapping[str, str], period: Period) -> str:
    """Return the asset of soil moisture among those of a collection, by their units."""
    fitting = [key for key, unit in units.items() if unit == VOLUMETRIC and asset in ("", key)]
    if len(fitting) == 1:
        return fitting[0]
    if not units:
        raise CatalogError(f"--against {name}: no item found on {period}: choose other days, or ingest them")
    if fitting:
        raise InputError(
            f"--against {name}: assets {', '.join(fitting)} in {VOLUMETRIC} found, one is required: --against "
            f"{name}/{fitting[0]}"
        )
    found = ", ".join(f"{key} in {unit or 'no unit'}" for key, unit in units.items())
    raise InputError(
        f"--against {name}: {found} found, an asset in {VOLUMETRIC} is required: convert percent by volume when it is "
        f"ingested, by --scale 0.01 --unit {VOLUMETRIC!r}"
    )


def _cell_size(cells: GeoBox) -> str:
    width = abs(cells.affine.a)
    geographic = cells.crs is not None and cells.crs.geographic
    return f"{width:.3g} degrees" if geographic else f"{width / 1000:.3g} km"


@dataclass(frozen=True, eq=False)
class TileCells:
    """Cells of another product whose centres lie in one tile."""

    tile: str
    """Tile id."""

    cells: GeoBox
    """All cells that meet the tile."""

    inside: NDArray[np.bool_]
    """Which of them have their centre in the tile, (y, x): so every cell counts once."""

    resolution: ResolvedInputs
    """Which files make their values: ``product``, ``other`` and perhaps ``third``."""

    periods: tuple[Period, ...] = ()
    """Days of each mean of the other product; none where days are compared."""

    @property
    def centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Degrees east and north of the centres of the cells, (y, x)."""
        return cell_centres(self.cells)


@dataclass(frozen=True, eq=False)
class TileMoments:
    """Moments of one tile, of its cells in the order of `TileCells.inside`."""

    block: TileCells
    """The cells."""

    pair: Moments
    """Of the product and the other."""

    triple: Moments | None
    """Of the two and a third."""


@dataclass(frozen=True, eq=False)
class ProductComparison:
    """Comparison of the product with another one."""

    other: OtherProduct
    """Which."""

    days: int
    """Days of the period; means in it where means are compared."""

    parts: tuple[TileMoments, ...]
    """Tile by tile."""

    third: OtherProduct | None = None
    """What makes three."""

    @property
    def pair(self) -> Moments:
        """Of all cells."""
        return join_moments([one.pair for one in self.parts] or [_EMPTY])

    @property
    def triple(self) -> Moments | None:
        """Of all cells, of three products."""
        found = [one.triple for one in self.parts if one.triple is not None]
        return join_moments(found) if found else None


@dataclass(frozen=True)
class VersionedCatalog:
    """Catalogue in which each tile-day has one item: of one version of the product, and not withdrawn."""

    catalog: WritableCatalog
    """Where the items are."""

    version: str
    """Product version."""

    @property
    def root(self) -> str:
        """Of the catalogue."""
        return str(self.catalog.root)

    def items(
        self,
        collection: str,
        *,
        period: Period | None = None,
        bbox: BBox | None = None,
        left_out: dict[str, str] | None = None,
    ) -> list[pystac.Item]:
        """Return items as the catalogue's own method does."""
        found = self.catalog.items(collection, period=period, bbox=bbox, left_out=left_out)
        return items_of_version(found, self.version) if collection == PRODUCT_COLLECTION else list(found)


def cells_to_compare(
    catalog: ItemSearch,
    grid: TileGrid,
    other: OtherProduct,
    tiles: Iterable[str],
    period: Period,
    third: OtherProduct | None = None,
) -> list[TileCells]:
    """Return the cells that can be compared, from metadata alone; tiles that the other product lacks are left out.

    Parameters
    ----------
    catalog
        Catalogue with both products.
    grid
        Tile grid.
    other
        The other product.
    tiles
        Tile ids.
    period
        UTC days.
    third
        A third product for triple collocation; None: without.

    Returns
    -------
    list of TileCells
        In the order of tiles.
    """
    found = (_block(catalog, grid, other, tile, period, third) for tile in tiles)
    return [one for one in found if one is not None]


def compare_products(
    other: OtherProduct,
    found: Sequence[TileCells],
    period: Period,
    third: OtherProduct | None = None,
    *,
    step: Callable[[], None] = lambda: None,
) -> ProductComparison:
    """Compute the moments of all blocks.

    Parameters
    ----------
    other
        The other product.
    found
        Cells of each tile.
    period
        UTC days.
    third
        A third product for triple collocation; None: without.
    step
        Called after each block.

    Returns
    -------
    ProductComparison
        Tile by tile.
    """
    fields = max((len(one.periods) for one in found), default=0) or len(period)
    return ProductComparison(other, fields, tuple(_measured(found, step)), third)


def cell_centres(cells: GeoBox) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return degrees east and north of the centres of cells, (y, x)."""
    rows, columns = np.mgrid[: cells.shape[0], : cells.shape[1]] + 0.5
    affine = cells.affine
    lon, lat = transform_points(str(cells.crs), "OGC:CRS84", affine.a * columns + affine.c, affine.e * rows + affine.f)
    return lon, lat


def _block(
    catalog: ItemSearch, grid: TileGrid, other: OtherProduct, tile: str, period: Period, third: OtherProduct | None
) -> TileCells | None:
    geobox = grid.geobox(tile)
    outline = footprint(geobox)
    if outline is None:
        return None
    try:  # what is left out is named by `resolve_inputs`
        items = list(catalog.items(other.collection, period=period, bbox=outline.bounds, left_out={}))
    except CatalogError:  # no such collection
        return None
    sources = in_precedence(one for item in items if (one := _source(item, other.asset)) is not None)
    if not sources:
        return None
    cells = sources[0].geobox.enclosing(geobox.geographic_extent)
    inside = _inside(cells, geobox)
    if not inside.any():
        return None
    spans = sorted({item_period(item) for item in items if other.asset in item.assets}) if other.means else []
    periods = tuple(one for one in spans if _holds(period, one))
    if other.means and not periods:
        return None
    return TileCells(tile, cells, inside, resolve_inputs(catalog, _recipe(other, third), cells, period), periods)


def _source(item: pystac.Item, asset: str) -> RasterSource | None:
    """Return an asset; None of an item without it, or with metadata that cannot be right."""
    try:
        return raster_source(item, asset) if asset in item.assets else None
    except BadItemError:
        return None


def _inside(cells: GeoBox, tile: GeoBox) -> NDArray[np.bool_]:
    x, y = transform_points("OGC:CRS84", str(tile.crs), *cell_centres(cells))
    column, row = ~tile.affine * (x, y)
    return np.asarray((column >= 0) & (column < tile.shape[1]) & (row >= 0) & (row < tile.shape[0]))


def _recipe(other: OtherProduct, third: OtherProduct | None) -> Recipe:
    features = [
        Feature("product", PRODUCT_COLLECTION, "sm", "average", missing="nan"),
        Feature("other", other.collection, other.asset, "nearest", missing="nan"),
    ]
    if third is not None:
        features.append(Feature("third", third.collection, third.asset, "average", missing="nan"))
    return Recipe(tuple(features))


def _measured(found: Sequence[TileCells], step: Callable[[], None]) -> Iterator[TileMoments]:
    for block in found:
        number, has_third = int(block.inside.sum()), len(block.resolution.recipe.features) > 2
        pair = Moments.nothing(2, number)
        triple = Moments.nothing(3, number) if has_third else None
        for days in block.periods:
            pair.add(_means(block, days))
        for day in () if block.periods else block.resolution.days:
            if not block.resolution.missing(day) or _both(block.resolution, day):
                values = _day(block, day)
                pair.add(values[:2])
                if triple is not None:
                    triple.add(values)
        yield TileMoments(block, pair, triple)
        step()


def _means(block: TileCells, days: Period) -> NDArray[np.float32]:
    """Return the mean of the product over the days of a mean of the other, and that one: (series, cell).

    A cell of which the product has less than half of the days has no mean.
    """
    ours, theirs = (_only(block, name) for name in ("product", "other"))
    total, count = np.zeros(int(block.inside.sum())), np.zeros(int(block.inside.sum()), np.int64)
    for day in days.days:
        if not ours.resolution.missing(day):
            values = _day(ours, day)[0]
            count += np.isfinite(values)
            total += np.where(np.isfinite(values), values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(2 * count >= len(days), total / count, np.nan)
    if theirs.resolution.missing(days.start):
        return np.full((2, mean.size), np.nan, np.float32)
    return np.stack([mean.astype(np.float32), _day(theirs, days.start)[0]])


def _only(block: TileCells, name: str) -> TileCells:
    """Return the cells with one of their series alone."""
    whole = block.resolution
    one = replace(whole, recipe=whole.recipe.only([name]), by_feature={name: whole.by_feature[name]})
    return replace(block, resolution=one)


def _both(resolution: ResolvedInputs, day: Any) -> bool:
    return not {"product", "other"} & set(resolution.missing(day))


def _day(block: TileCells, day: Any) -> NDArray[np.float32]:
    """Return the values of a day, (series, cell)."""
    with own_threads() as here:
        cube = build(replace(block.resolution, days=(day,)), TargetPixels(block.cells)).compute(**here)
    names = [feature.name for feature in block.resolution.recipe.features]
    return np.stack([cube[name].values[0][block.inside] for name in names])
