"""Published stations whose readings are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.fingerprint import digest
from stac_sm.core.period import ONE_DAY, utc_instant
from stac_sm.stac.items import PARQUET_MEDIA_TYPE, build_item
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, publish
from tests.support.product_days import FIRST


def put_station(catalog, folder: Path, id: str, sm, lon: float, lat: float) -> None:
    """Publish a station NETWORK.NAME with one sensor at 0 to 5 cm: 24 readings a day from FIRST on, of ``sm``."""
    network, name = id.split(".")
    times = pd.date_range(str(FIRST), periods=24 * len(sm), freq="h")
    readings = pd.DataFrame(
        {"time": times, "sensor": "A", "depth_from": 0.0, "depth_to": 0.05, "sm": np.repeat(sm, 24), "flag": "G"}
    )
    sensors = [{"name": "A", "depth_from": 0.0, "depth_to": 0.05, "n": len(readings)}]
    own = {"stac_sm:network": network, "stac_sm:station": name, "stac_sm:sensors": sensors}
    item = build_item(
        id=id, collection="ismn-stations", geometry={"type": "Point", "coordinates": [lon, lat]},
        bbox=[lon, lat, lon, lat], start=utc_instant(FIRST), end=utc_instant(FIRST + len(sm) * ONE_DAY),
        extensions=[], properties={**own, FINGERPRINT_PROPERTY: digest([id, *map(float, sm)])},
    )  # fmt: skip
    file = folder / f"{id}.parquet"
    readings.to_parquet(file)
    publish(catalog, item, {"series": AssetFile(file, ".parquet", {"type": PARQUET_MEDIA_TYPE, "roles": ["data"]})})
    refresh(catalog.store, "ismn-stations")
