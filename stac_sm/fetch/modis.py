"""Tiles of MODIS land products: granules of the project's tiles and days that the catalogue lacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stac_sm.core.errors import InputError
from stac_sm.core.period import Period
from stac_sm.fetch.earthdata import Granule, search_granules
from stac_sm.fetch.request import Listing, Request, Selection

PRODUCTS: Mapping[str, tuple[str, ...]] = {
    "modis-11A1": ("MOD11A1", "MYD11A1"),
    "modis-15A2H": ("MCD15A2H",),
    "modis-15A3H": ("MCD15A3H",),
    "mcd43a3": ("MCD43A3",),
}
"""Products that are fetched, by collection without its version. Of MOD15A2H, MYD15A2H and MCD15A2H the last has both
satellites in one file."""

VERSIONS = ("061", "006")


@dataclass(frozen=True)
class ModisSource:
    """Granules of the archive of NASA and the USGS (LP DAAC)."""

    collections: tuple[str, ...] = tuple(f"{id}-{version}" for id in PRODUCTS for version in VERSIONS)
    """Where its files go."""

    def listing(self, selection: Selection) -> Listing:
        """Return one request for each granule; the repository is asked which there are."""
        ids = [id for id in self.collections if id in selection.assets]
        if not ids:
            raise InputError(
                f"modis: the recipe takes none of {', '.join(PRODUCTS)} from the project's own catalogue (features "
                "with `catalog` are read in place): nothing to fetch"
            )
        requests, held, notes = list[Request](), 0, list[str]()
        for id in ids:
            collection, version = id.rsplit("-", 1)
            there = _held(selection, id)
            for product in PRODUCTS[collection]:
                patterns = [f"*.{tile}.*" for tile in selection.modis_tiles]
                spans = selection.spans(id)
                found = [one for span in spans for one in search_granules(product, version, span, patterns)]
                ours = [one for one in newest(found) if _stem(one.name) not in there]
                held += len(newest(found)) - len(ours)
                requests += [_request(selection, one) for one in ours]
                if not found:
                    notes.append(_nothing(product, version, spans))
        return Listing(requests, held, tuple(notes))


def newest(granules: list[Granule]) -> list[Granule]:
    """Return the latest production of each tile and day: names differ in its time stamp only.

    Parameters
    ----------
    granules
        In any order.

    Returns
    -------
    list of Granule
        In the order of their names.
    """
    latest: dict[str, Granule] = {}
    for one in sorted(granules, key=lambda one: one.name):
        latest[_stem(one.name)] = one
    return list(latest.values())


def _stem(name: str) -> str:
    """Return the id of the item that a granule becomes: its name without the time of production."""
    return name.removesuffix(".hdf").rpartition(".")[0]


def _held(selection: Selection, id: str) -> set[str]:
    found = set[str]()
    for box in selection.boxes:
        for span in selection.spans(id):
            found |= {item.id for item in selection.catalog.items(id, period=span, bbox=box)}
    return found


def _request(selection: Selection, one: Granule) -> Request:
    return Request("modis", _stem(one.name), selection.folder / one.name, one.carry_out, size=one.size)


def _nothing(product: str, version: str, spans: Sequence[Period]) -> str:
    return f"{product} {version}: the archive has no granule of these tiles in {' and '.join(map(str, spans))}"
