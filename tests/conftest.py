"""What all tests share: hypothesis profiles, schemas without a network, and a small known catalogue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pystac
import pystac.validation
import pytest

from stac_sm.stac.catalogs.catalog import create_skeleton, open_catalog
from stac_sm.storage.store import open_store
from tests.support.checkout import need_shared
from tests.support.examples import EXAMPLES
from tests.support.missing import IN_CI
from tests.support.rasters import Published, known_raster
from tests.support.schemas import OfflineValidator

pytest_plugins = [
    "tests.support.long_files",
    "tests.support.skips",
    "tests.support.parallel_run",
    "tests.support.processor_seconds",
]

hypothesis.settings.register_profile("dev", deadline=None, max_examples=EXAMPLES)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=EXAMPLES, derandomize=True)
hypothesis.settings.load_profile("ci" if IN_CI else "dev")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data; without it a test is skipped at home and fails in CI."""
    return need_shared()


@pytest.fixture(scope="session", autouse=True)
def _offline_validation() -> None:
    """Every `validate()` of pystac goes to local schemas."""
    pystac.validation.set_validator(OfflineValidator())


@pytest.fixture(scope="session")
def validate() -> Callable[[Any], list[Any]]:
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


@pytest.fixture
def published(project_root: Path, tmp_path: Path) -> Published:
    """A catalogue with one known raster item, published and linked."""
    from stac_sm.stac.links import refresh

    raster = known_raster(tmp_path)
    raster.publish(open_catalog(project_root))
    refresh(open_store(project_root), "sm-1km-daily")
    return Published(project_root, raster)
