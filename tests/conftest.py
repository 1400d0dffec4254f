"""What all tests share: hypothesis profiles, schemas without a network, and a small known catalogue."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pyproj
import pystac
import pystac.validation
import pytest
from odc.geo.geobox import GeoBox
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.fingerprint import digest
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.variables import VARIABLES
from stac_sm.raster.cog import CogProfile, verify_cog, write_cog
from stac_sm.stac.catalogs.catalog import Catalog, create_skeleton, open_catalog
from stac_sm.stac.items import ItemDict, item_folder, raster_asset, raster_item
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, publish
from stac_sm.storage.store import open_store

SHARED = Path(__file__).parents[2] / "shared"
"""Real data and schemas beside the checkout."""

IN_CI = bool(os.environ.get("CI"))

hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if IN_CI else "dev")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data and schemas; without it a test is skipped at home and fails in CI."""
    return need_shared()


def need_shared() -> Path:
    """The folder of real data and schemas, or the end of the test that asks for it."""
    if not (SHARED / "schemas").is_dir():
        message = f"no real data and schemas at {SHARED}: put the folder `shared` beside the checkout"
        pytest.fail(message) if IN_CI else pytest.skip(message)
    return SHARED


class OfflineValidator(JsonSchemaSTACValidator):
    """Validates against the schemas in `shared/schemas`; one that is not there fails the test."""

    def __init__(self) -> None:
        super().__init__()
        self._filled = False

    def _get_schema(self, schema_uri: str) -> dict[str, Any]:
        if not self._filled:
            self.schema_cache |= local_schemas(need_shared() / "schemas")
            self._filled = True
        if schema_uri not in self.schema_cache:
            raise AssertionError(f"schema {schema_uri} is not in {SHARED}/schemas: nothing is validated by a guess")
        return self.schema_cache[schema_uri]


def local_schemas(folder: Path) -> dict[str, dict[str, Any]]:
    """Schemas of STAC extensions and PROJJSON by their URI."""
    files = {f"https://{file.relative_to(folder).as_posix()}": file for file in folder.rglob("*.json")}
    texts = {uri: file.read_text() for uri, file in files.items()}
    # classification 2.0.0 could not be had: 1.1.0 stands in for it, which asks for more (every class has a name)
    old, new = (f"https://stac-extensions.github.io/classification/v{n}/schema.json" for n in ("1.1.0", "2.0.0"))
    texts.setdefault(new, texts[old].replace(old, new))
    projjson = Path(pyproj.datadir.get_data_dir(), "projjson.schema.json").read_text()
    for uri in re.findall(r"https://proj\.org/schemas/v[0-9.]+/projjson\.schema\.json", "".join(texts.values())):
        texts[uri] = re.sub(r"https://proj\.org/schemas/v[0-9.]+/projjson\.schema\.json", uri, projjson)
    return {uri: json.loads(text) for uri, text in texts.items()}


@pytest.fixture(scope="session", autouse=True)
def _offline_validation() -> None:
    """Every `validate()` of pystac goes to local schemas."""
    pystac.validation.set_validator(OfflineValidator())


@pytest.fixture(scope="session")
def validate(shared: Path) -> Callable[[Any], list[Any]]:
    """Validates an item, a collection or a catalogue, as an object or as JSON, with all its extensions."""

    def check(thing: Any) -> list[Any]:
        document = thing if isinstance(thing, dict) else thing.to_dict(include_self_link=False)
        checked = pystac.validation.validate_dict(document)
        assert len(checked) == 1 + len(document.get("stac_extensions", []))
        return checked

    return check


@pytest.fixture
def project_root(tmp_path: Path) -> Path:
    """Folder of an empty catalogue."""
    root = tmp_path / "project"
    create_skeleton(open_store(root), title="Test")
    return root


@dataclass(frozen=True)
class KnownRaster:
    """A raster item that can be published, and what its pixels are."""

    item: ItemDict
    """The item, without assets."""

    assets: dict[str, AssetFile]
    """Its asset ``sm`` in a local file."""

    values: np.ndarray
    """What a reader must find; NaN where there is no data."""

    geobox: GeoBox
    """Where the pixels lie."""

    @property
    def folder(self) -> str:
        """Where the item goes below the root."""
        return item_folder("year/month/day", self.item)

    @property
    def path(self) -> str:
        """Where the item's JSON goes below the root."""
        return f"{self.folder}/{self.item['id']}.json"

    def publish(self, catalog: Catalog) -> str:
        """Publish it; what came of it."""
        return publish(catalog, self.item, self.assets)


def coordinate_image(geobox: GeoBox, angle: float = 0.3) -> np.ndarray:
    """Pixels that hold their own place along a rotated axis, so that a flip or a shift shows; a corner is NaN."""
    rows, columns = np.mgrid[: geobox.shape[0], : geobox.shape[1]]
    along = np.cos(angle) * columns + np.sin(angle) * rows
    image = np.round((0.05 + 0.5 * along / along.max()) * 2**13) / 2**13  # a step that float32 holds exactly
    image[:3, -5:] = np.nan
    return image.astype(np.float32)


def known_raster(
    folder: Path,
    *,
    tile: str = "h18v04",
    day: date = date(2018, 7, 1),
    shape: tuple[int, int] = (40, 60),
    version: str = "a",
    angle: float = 0.3,
) -> KnownRaster:
    """Raster item on the upper left part of a tile, its COG written below a folder."""
    geobox = MODIS_SINUSOIDAL_1KM.geobox(tile)[: shape[0], : shape[1]]
    values, profile = coordinate_image(geobox, angle), CogProfile(step=2**-13)
    item = raster_item(
        id=f"SM1KM.A{day:%Y%j}.{tile}.v001",
        collection="sm-1km-daily",
        geobox=geobox,
        start=utc_instant(day),
        end=utc_instant(Period.of_day(day).end),
        properties={
            "grid:code": MODIS_SINUSOIDAL_1KM.grid_code(tile),
            FINGERPRINT_PROPERTY: digest([tile, str(day), version]),
        },
        extensions=["grid"],
    )
    file = folder / f"{item['id']}.{version}.{angle}.tif"
    write_cog(values, file, geobox=geobox, profile=profile)
    verify_cog(values, file, profile=profile)
    fields = raster_asset(VARIABLES["sm"], dtype="float32", nodata=-9999.0)
    return KnownRaster(item, {"sm": AssetFile(file, ".tif", fields)}, values, geobox)


@dataclass(frozen=True)
class Published:
    """A catalogue with one known raster item."""

    root: Path
    """Folder of the catalogue."""

    raster: KnownRaster
    """What was published."""

    @property
    def item(self) -> pystac.Item:
        """The item as a reader finds it."""
        return open_catalog(self.root).item("sm-1km-daily", self.raster.item["id"])


@pytest.fixture
def published(project_root: Path, tmp_path: Path) -> Published:
    """A catalogue with one known raster item, published and linked."""
    from stac_sm.stac.links import refresh

    raster = known_raster(tmp_path)
    raster.publish(open_catalog(project_root))
    refresh(open_store(project_root), "sm-1km-daily")
    return Published(project_root, raster)
