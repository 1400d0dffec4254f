"""Make the item and the assets of one tile and day of the product.

`workflows.run.task` predicts soil moisture and calls this module; `stac.publish` puts what it returns into the
catalogue. The profiles of the files are here, too: they are part of every product's provenance fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.errors import InputError
from stac_sm.core.fingerprint import ALGORITHM_VERSIONS, Fingerprints, digest
from stac_sm.core.grid import TileGrid
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.variables import FLAG_CLASSES, PUBLISHED_FLAGS, VARIABLES, QualityFlag, Variable
from stac_sm.features.recipe import Recipe
from stac_sm.product.file_text import file_text
from stac_sm.product.product_id import ProductId
from stac_sm.product.quicklook import quicklook_assets
from stac_sm.raster.cog import CogProfile, write_asset
from stac_sm.stac.items import COG_MEDIA_TYPE, ItemDict, item_folder, raster_asset, raster_item
from stac_sm.stac.publish import FINGERPRINT_PROPERTY
from stac_sm.stac.simulated import SIMULATED_FIELD, simulated_title

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

PRODUCT_COLLECTION = "sm-1km-daily"
PRELIMINARY_PROPERTY = "stac_sm:preliminary"
"""Ids of the inputs of a tile-day that were preliminary when it was made; left out where none was."""

SM_PROFILE = CogProfile(step=2.0**-13, level=6)
QA_PROFILE = CogProfile(nodata=None, overviews="mode", level=6)
UNCERTAINTY_PROFILE = CogProfile(step=2.0**-11, level=6)  # 0.0005 m3 m-3: a hundredth of a usual half width
PROFILES: Mapping[str, CogProfile] = {"sm": SM_PROFILE, "qa": QA_PROFILE, "uncertainty": UNCERTAINTY_PROFILE}
"""How the rasters of a tile-day are written, by asset.

To add an asset, give it a profile here and write it in `write_product_assets`, and declare it among the ``item_assets``
of ``catalog/sm-1km-daily/collection.json``; if it is a field that the model has to predict beside soil moisture,
``workflows.run.task`` hands it over, too. Every product made before is out of date then.
"""

OUTPUT_PROFILE_NUMBER = 2
"""Raised whenever the files of the product change for the same values, so that all of them become stale together.

1: until November 2026. The files of 2 have the encoder of `raster.cog_encoder`, too.
"""

OUTPUT_PROFILE_REASONS: Mapping[int, str] = {
    2: "files name their band, unit, time and CRS; the asset visual, one colour map; versions of libraries in items",
}
"""Why `OUTPUT_PROFILE_NUMBER` was raised, by number: ``stac-sm doctor`` says it."""

OUTPUT_PROFILE: Mapping[str, Any] = {
    "profile": OUTPUT_PROFILE_NUMBER,
    **{asset: profile.fingerprint_fields() for asset, profile in PROFILES.items()},
}
"""Part of every fingerprint."""

_FORMER_PROFILES = {"c61d82fc": 1}  # digest among the parts of a fingerprint -> number


def tile_fingerprints(
    grid: TileGrid, tile: str, *, recipe: Recipe, model: str, simulated: bool = False
) -> Fingerprints:
    """Return the fingerprints of the days of a tile: the one place that says what a tile-day is made from.

    Parameters
    ----------
    grid
        Tile grid; its definition counts, not its name alone.
    tile
        Tile id.
    recipe
        Features and masks of the model.
    model
        Checksum of the model.
    simulated
        Whether the files say that they are simulated; it is part of the fingerprint only if so.

    Returns
    -------
    Fingerprints
        Computes the fingerprint of a day from the ids and checksums of its inputs.
    """
    return Fingerprints(
        algorithm=ALGORITHM_VERSIONS["product"],
        grid=digest(grid.fingerprint_fields()),  # its name alone would let another grid of this name pass for it
        tile=tile,
        recipe=recipe.fingerprint_fields(),
        model=model,
        output={**OUTPUT_PROFILE, "simulated": True} if simulated else OUTPUT_PROFILE,
    )


def describe_output_change(before: str, *, simulated: bool = False) -> str:
    """Return which output profile a stale item has, and which one it would have now.

    Parameters
    ----------
    before
        Digest of the part ``output`` of the fingerprint of the item.
    simulated
        Whether the item would say now that it is simulated.

    Returns
    -------
    str
        Such as ``output profile 1, now 2``; ``output`` where the number is not known.
    """
    if simulated and before == digest(OUTPUT_PROFILE)[:8]:
        return "output does not say that it is simulated"
    number = _FORMER_PROFILES.get(before)
    return "output" if number is None else f"output profile {number}, now {OUTPUT_PROFILE_NUMBER}"


@dataclass(frozen=True)
class ProductDay:
    """Name of a tile-day: its tile, day and version, and the fingerprint of what it is made from."""

    tile: str
    """Tile id."""

    day: date
    """UTC day."""

    version: str
    """Product version, e.g. ``001``."""

    fingerprint: str
    """Fingerprint of all that it is made from; empty where it is not known."""

    @property
    def id(self) -> str:
        """Item id, e.g. ``SM1KM.A2018182.h03v06.v001``."""
        return str(ProductId.of_day(self.tile, self.day, self.version))

    @classmethod
    def of_id(cls, id: str) -> ProductDay:
        """Return the tile, day and version of an item id, without a fingerprint.

        Parameters
        ----------
        id
            Such as ``SM1KM.A2018182.h03v06.v001``.

        Returns
        -------
        ProductDay
            Its fingerprint is empty.

        Raises
        ------
        InputError
            If it is no id of a tile-day.
        """
        found = ProductId.parse(id)
        if len(found.span) > 1:
            raise InputError(f"item {id!r}: the id of a day is required, this is the mean of {found.span}")
        return cls(found.tile, found.span.start, found.version, "")

    def path(self, layout: str) -> str:
        """Return the path of its item JSON in a collection of this layout.

        Parameters
        ----------
        layout
            Template of the sub-catalogues, as the collection states it.

        Returns
        -------
        str
            Below the root of the catalogue.
        """
        times = {"start_datetime": self.day.isoformat(), "grid:code": self.tile}
        folder = item_folder(layout, {"id": self.id, "collection": PRODUCT_COLLECTION, "properties": times})
        return f"{folder}/{self.id}.json"


def product_item(
    made: ProductDay,
    grid: TileGrid,
    *,
    model_id: str,
    recipe_checksum: str,
    properties: Mapping[str, Any],
    simulated: bool = False,
) -> ItemDict:
    """Make the item of a tile-day, without assets and links.

    Parameters
    ----------
    made
        Tile, UTC day, product version and fingerprint.
    grid
        Tile grid, which places the item.
    model_id
        Id of the model item.
    recipe_checksum
        Checksum of the model's feature recipe.
    properties
        More properties; they replace those of the same name.
    simulated
        Whether it is of a simulated Earth: its title and ``stac_sm:simulated`` say so then.

    Returns
    -------
    ItemDict
        STAC item as JSON; it covers the whole UTC day, from midnight to the next.
    """
    start, end = utc_instant(made.day), utc_instant(Period.of_day(made.day).end)
    own = {
        "grid:code": grid.grid_code(made.tile),
        "version": made.version,
        "stac_sm:model": model_id,
        "stac_sm:recipe": recipe_checksum,
        FINGERPRINT_PROPERTY: made.fingerprint,
        **({SIMULATED_FIELD: True} if simulated else {}),
    }
    title = simulated_title(f"Soil moisture, {made.tile}, {made.day}", simulated)
    return raster_item(
        id=made.id,
        collection=PRODUCT_COLLECTION,
        geobox=grid.geobox(made.tile),
        start=start,
        end=end,
        properties={"title": title, **own, **properties},
        extensions=["grid", "version", "classification"],
    )


def write_product_assets(
    sm: np.ndarray,
    qa: np.ndarray,
    geobox: GeoBox,
    folder: Path,
    *,
    made: ProductDay | None = None,
    uncertainty: np.ndarray | None = None,
    coverage: float = 0.9,
    simulated: bool = False,
) -> dict[str, AssetFile]:
    """Write and verify the assets of a tile-day: ``sm``, ``qa``, ``visual``, ``thumbnail``, and ``uncertainty`` if it
    is known.

    Parameters
    ----------
    sm
        (y, x) float32, m3 m-3, NaN where there is no value.
    qa
        (y, x) uint8, bits of `QualityFlag`.
    geobox
        Pixels of the tile, shape (y, x).
    folder
        Existing folder for the files.
    made
        Tile, day and version, which the files state; None: they do not.
    uncertainty
        (y, x) float32, half width of the prediction interval in m3 m-3, NaN where ``sm`` is; None where the model has
        no intervals.
    coverage
        Share of the truth that the intervals are to hold, 0 to 1.
    simulated
        Whether the files say that they are simulated.

    Returns
    -------
    dict of str to AssetFile
        Asset key -> local file and the fields of the asset in the item.

    Raises
    ------
    ReadError
        If a file that was written does not give back the same pixels.
    """
    fields = {
        "sm": raster_asset(VARIABLES["sm"], dtype="float32", nodata=SM_PROFILE.nodata),
        "qa": _qa_fields(),
        "uncertainty": _uncertainty_fields(coverage),
    }
    rasters = {"sm": sm, "qa": qa} | ({} if uncertainty is None else {"uncertainty": uncertainty})
    id = ProductId.of_day(made.tile, made.day, made.version) if made else None
    assets = {
        key: write_asset(
            values,
            folder / f"{key}.tif",
            geobox=geobox,
            profile=PROFILES[key],
            fields=fields[key],
            text=file_text(key, id, simulated=simulated),
        )
        for key, values in rasters.items()
    }
    return assets | quicklook_assets(sm, geobox, folder, id, simulated=simulated)


def links_to_inputs(hrefs: Sequence[tuple[str, str, str]]) -> list[dict[str, str]]:
    """Return the ``derived_from`` links of an item.

    Parameters
    ----------
    hrefs
        (href, title, media type) of each input.

    Returns
    -------
    list of dict
        STAC links, in the same order.
    """
    return [
        {"rel": "derived_from", "href": href, "type": media_type, "title": title} for href, title, media_type in hrefs
    ]


def _uncertainty_fields(coverage: float) -> dict[str, Any]:
    """Return the fields of the asset of half widths, which is no variable of the cube: nothing is predicted from it."""
    known = Variable("uncertainty", VARIABLES["sm"].unit, "Half width of the prediction interval", (0.0, 1.0))
    title = f"Half width of the {coverage:.0%} prediction interval"
    nodata = UNCERTAINTY_PROFILE.nodata
    return raster_asset(known, dtype="float32", nodata=nodata, roles=["data", "uncertainty"], title=title)


def _qa_fields() -> dict[str, Any]:
    return {
        "title": "Quality flags",
        "type": COG_MEDIA_TYPE,
        "roles": ["quality"],
        "bands": [{"name": "qa", "data_type": "uint8"}],
        "classification:bitfields": [_bitfield(flag) for flag in PUBLISHED_FLAGS],
    }


def _bitfield(flag: QualityFlag) -> dict[str, Any]:
    name = (flag.name or "").lower()
    return {
        "name": name,
        "description": FLAG_CLASSES[flag][1][1],
        "offset": flag.value.bit_length() - 1,
        "length": 1,
        "classes": [
            {"value": value, "name": named, "description": text}
            for value, (named, text) in enumerate(FLAG_CLASSES[flag])
        ],
    }
