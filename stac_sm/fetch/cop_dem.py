"""Copernicus DEM GLO-90 from its public bucket on AWS, which anybody may read without an account."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from stac_sm.core.errors import InputError
from stac_sm.core.places import BBox
from stac_sm.fetch.era5_land import areas
from stac_sm.fetch.request import Listing, Request, Say, Selection
from stac_sm.fetch.transfer import s3_errors, s3_opener, save
from stac_sm.storage.retry import AttemptError, FaultKind
from stac_sm.storage.s3.session import public_client

BUCKET, REGION = "copernicus-dem-90m", "eu-central-1"
ENDPOINT_VARIABLE = "STAC_SM_COP_DEM_ENDPOINT"
"""Variable of the environment: another endpoint that has the bucket."""

_THREADS = 8
_MARGIN = 0.02  # degrees around a box: slope and averages look at neighbours


@dataclass(frozen=True)
class CopDemSource:
    """Tiles of one degree, GeoTIFF."""

    collections: tuple[str, ...] = ("cop-dem",)
    """Where its files go."""

    def listing(self, selection: Selection) -> Listing:
        """Return one request for each tile; there is none of the sea, which the bucket is asked for."""
        client = public_client(os.environ.get(ENDPOINT_VARIABLE, ""), REGION)
        there = {item.id for box in selection.boxes for item in selection.catalog.items("cop-dem", bbox=box)}
        names = [name for name in tile_names(areas(selection.boxes)) if name.removesuffix("_DEM") not in there]
        held = len(tile_names(areas(selection.boxes))) - len(names)
        with ThreadPoolExecutor(_THREADS) as pool:
            states = list(pool.map(partial(_state, client), names))
        requests = [
            Request(
                "cop-dem",
                name,
                selection.folder / f"{name}.tif",
                partial(_carry_out, client, name, size, checksum),
                size=size,
            )
            for name, (size, checksum) in zip(names, states, strict=True)
            if size
        ]
        sea = len(names) - len(requests)
        return Listing(requests, held, (f"{sea} tiles of one degree have no land",) if sea else ())


def tile_names(boxes: Iterable[BBox]) -> list[str]:
    """Return the names of the tiles that meet boxes, whether they exist or not.

    Parameters
    ----------
    boxes
        West, south, east, north in degrees, west below east.

    Returns
    -------
    list of str
        Such as ``Copernicus_DSM_COG_30_N46_00_E011_00_DEM``, in order.
    """
    corners = {
        (south, west)
        for box in boxes
        for south in range(max(-90, math.floor(box[1] - _MARGIN)), min(90, math.ceil(box[3] + _MARGIN)))
        for west in range(max(-180, math.floor(box[0] - _MARGIN)), min(180, math.ceil(box[2] + _MARGIN)))
    }
    return [
        f"Copernicus_DSM_COG_30_{'N' if south >= 0 else 'S'}{abs(south):02d}_00_"
        f"{'E' if west >= 0 else 'W'}{abs(west):03d}_00_DEM"
        for south, west in sorted(corners)
    ]


def _state(client: Any, name: str) -> tuple[int, str]:
    """Return size and checksum of a tile; 0 where there is none."""
    try:
        with s3_errors():
            found = client.head_object(Bucket=BUCKET, Key=f"{name}/{name}.tif")
    except AttemptError as error:
        if error.fault is FaultKind.MISSING:
            return 0, ""
        raise InputError(
            f"bucket {BUCKET}: cannot be asked ({error.detail}): check the network, then run again"
        ) from None
    etag = str(found.get("ETag", "")).strip('"')
    return int(found["ContentLength"]), f"md5:{etag}" if len(etag) == 32 else ""


def _carry_out(client: Any, name: str, size: int, checksum: str, file: Path, say: Say) -> None:
    save(file, s3_opener(client, BUCKET, f"{name}/{name}.tif"), size=size, checksum=checksum)
