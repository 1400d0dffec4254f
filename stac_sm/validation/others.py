"""Product against other products, on their own cells: tile by tile and day by day, so that memory is bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from odc.geo.geobox import GeoBox

from stac_sm.catalog import BBox, Catalog, ItemSearch
from stac_sm.cube import build
from stac_sm.errors import CatalogError
from stac_sm.grid import TileGrid, footprint, transform_points
from stac_sm.period import Period
from stac_sm.product_reader import newest_of_version
from stac_sm.products import COLLECTION
from stac_sm.readers.source import raster_source
from stac_sm.recipe import Feature, Recipe
from stac_sm.regrid import Target
from stac_sm.resolution import Resolution, resolve
from stac_sm.validation.moments import Moments, joined

if TYPE_CHECKING:
    import pystac
    from numpy.typing import NDArray

_EMPTY = Moments.nothing(2, 0)


@dataclass(frozen=True)
class Other:
    """Another product, which is held beside ours."""

    collection: str
    """Its collection."""

    asset: str
    """Its asset, m3 m-3."""

    cells: str
    """Size of its cells, in words."""

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return f"{self.collection} {self.cells}"


OTHERS = (
    Other("esa-cci-sm", "cci_sm", "0.25 degrees"),
    Other("smap", "smap_sm", "36 km"),
    Other("smap-s1", "smap_s1_sm_3km", "3 km"),
    Other("smap-s1", "smap_s1_sm", "1 km"),
)
"""Of SMAP/Sentinel-1, 3 km are what its makers have validated."""

VALIDATED = OTHERS[:3]
"""Without what its makers have not validated."""

THIRDS = (OTHERS[1], OTHERS[2])
"""What makes three with the product and ESA CCI, averaged over the cells of ESA CCI."""


@dataclass(frozen=True, eq=False)
class Block:
    """Cells of another product whose centres lie in one tile."""

    tile: str
    """Tile id."""

    cells: GeoBox
    """All cells that meet the tile."""

    inside: NDArray[np.bool_]
    """Which of them have their centre in the tile, (y, x): so every cell counts once."""

    resolution: Resolution
    """Which files make their values: ``product``, ``other`` and perhaps ``third``."""

    @property
    def centres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Degrees east and north of the centres of the cells, (y, x)."""
        return centres(self.cells)


@dataclass(frozen=True, eq=False)
class Measured:
    """What came of one tile: moments of its cells in the order of `Block.inside`."""

    block: Block
    """The cells."""

    pair: Moments
    """Of the product and the other."""

    triple: Moments | None
    """Of the two and a third."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The product beside another one."""

    other: Other
    """Which."""

    days: int
    """Days of the period."""

    parts: tuple[Measured, ...]
    """Tile by tile."""

    third: Other | None = None
    """What makes three."""

    @property
    def pair(self) -> Moments:
        """Of all cells."""
        return joined([one.pair for one in self.parts] or [_EMPTY])

    @property
    def triple(self) -> Moments | None:
        """Of all cells, of three products."""
        found = [one.triple for one in self.parts if one.triple is not None]
        return joined(found) if found else None


@dataclass(frozen=True)
class Published:
    """A catalogue in which of each tile-day there is one item: of one version of the product, and not retracted."""

    catalog: Catalog
    """Where the items are."""

    version: str
    """Product version."""

    @property
    def root(self) -> str:
        """Of the catalogue."""
        return str(self.catalog.root)

    def items(self, collection: str, *, period: Period | None = None, bbox: BBox | None = None) -> list[pystac.Item]:
        """As the catalogue's own."""
        found = self.catalog.items(collection, period=period, bbox=bbox)
        return newest_of_version(found, self.version) if collection == COLLECTION else list(found)


def blocks(
    catalog: ItemSearch, grid: TileGrid, other: Other, tiles: Iterable[str], period: Period, third: Other | None = None
) -> list[Block]:
    """What there is to compare, from metadata alone; tiles that the other product has not seen are left out."""
    found = (_block(catalog, grid, other, tile, period, third) for tile in tiles)
    return [one for one in found if one is not None]


def compare(
    other: Other,
    found: Sequence[Block],
    period: Period,
    third: Other | None = None,
    *,
    step: Callable[[], None] = lambda: None,
) -> Comparison:
    """Gather the moments of all blocks; ``step`` is called after each."""
    return Comparison(other, len(period), tuple(_measured(found, step)), third)


def centres(cells: GeoBox) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Degrees east and north of the centres of cells, (y, x)."""
    rows, columns = np.mgrid[: cells.shape[0], : cells.shape[1]] + 0.5
    affine = cells.affine
    lon, lat = transform_points(str(cells.crs), "OGC:CRS84", affine.a * columns + affine.c, affine.e * rows + affine.f)
    return lon, lat


def _block(
    catalog: ItemSearch, grid: TileGrid, other: Other, tile: str, period: Period, third: Other | None
) -> Block | None:
    geobox = grid.geobox(tile)
    outline = footprint(geobox)
    if outline is None:
        return None
    try:
        items = list(catalog.items(other.collection, period=period, bbox=outline.bounds))
    except CatalogError:  # no such collection
        return None
    first = next((item for item in items if other.asset in item.assets), None)
    if first is None:
        return None
    cells = raster_source(first, other.asset).geobox.enclosing(geobox.geographic_extent)
    inside = _inside(cells, geobox)
    if not inside.any():
        return None
    return Block(tile, cells, inside, resolve(catalog, _recipe(other, third), cells, period))


def _inside(cells: GeoBox, tile: GeoBox) -> NDArray[np.bool_]:
    x, y = transform_points("OGC:CRS84", str(tile.crs), *centres(cells))
    column, row = ~tile.affine * (x, y)
    return np.asarray((column >= 0) & (column < tile.shape[1]) & (row >= 0) & (row < tile.shape[0]))


def _recipe(other: Other, third: Other | None) -> Recipe:
    features = [
        Feature("product", COLLECTION, "sm", "average", missing="nan"),
        Feature("other", other.collection, other.asset, "nearest", missing="nan"),
    ]
    if third is not None:
        features.append(Feature("third", third.collection, third.asset, "average", missing="nan"))
    return Recipe(tuple(features))


def _measured(found: Sequence[Block], step: Callable[[], None]) -> Iterator[Measured]:
    for block in found:
        number, has_third = int(block.inside.sum()), len(block.resolution.recipe.features) > 2
        pair = Moments.nothing(2, number)
        triple = Moments.nothing(3, number) if has_third else None
        for day in block.resolution.days:
            if not block.resolution.missing(day) or _both(block.resolution, day):
                values = _day(block, day)
                pair.add(values[:2])
                if triple is not None:
                    triple.add(values)
        yield Measured(block, pair, triple)
        step()


def _both(resolution: Resolution, day: Any) -> bool:
    return not {"product", "other"} & set(resolution.missing(day))


def _day(block: Block, day: Any) -> NDArray[np.float32]:
    """Values of a day, (series, cell)."""
    cube = build(replace(block.resolution, days=(day,)), Target(block.cells)).compute(scheduler="threads")
    names = [feature.name for feature in block.resolution.recipe.features]
    return np.stack([cube[name].values[0][block.inside] for name in names])
