"""Retract tile-days: withdrawal notices take their place, and the index follows.

An operator calls this, by ``stac-sm retract`` or from Python; no run does. The files of what was withdrawn become
unreferenced: `workflows.audit.repair` removes them. `workflows.plan` plans a withdrawn tile-day again only on request.
"""

from __future__ import annotations

from collections.abc import Sequence

from stac_sm.product.item import PRODUCT_COLLECTION, ProductDay
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.index.update import update_index
from stac_sm.stac.retract import Retraction, retract


def retract_products(catalog: WritableCatalog, ids: Sequence[str], reason: str) -> list[Retraction]:
    """Put withdrawal notices in the place of tile-days, and bring the index in line.

    Parameters
    ----------
    catalog
        Catalogue of the product, in a folder or on S3.
    ids
        Ids of the items, each of which must be there.
    reason
        Why, for those who used the data.

    Returns
    -------
    list of Retraction
        One an item: ``retracted``, or ``done`` if it was withdrawn before.

    Raises
    ------
    InputError
        If an id names no tile-day, an item is not there, or no reason is given: nothing is changed then.
    ConflictError
        If an item is being changed by another writer.
    """
    layout = catalog.layout(PRODUCT_COLLECTION)
    days = {id: ProductDay.of_id(id) for id in ids}
    found = retract(catalog, PRODUCT_COLLECTION, ids, reason, path=lambda id: days[id].path(layout))
    months = {f"{made.day:%Y-%m}" for made in days.values()}
    update_index(catalog.store, PRODUCT_COLLECTION, layout=layout, months=months)
    return found
