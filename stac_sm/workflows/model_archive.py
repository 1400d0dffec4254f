"""Move a model between projects: one file that holds its item and all that prediction needs.

``stac-sm model export`` calls `export_model`, and ``model import`` calls `import_model`. The archive is a ZIP file of
the item's JSON and its assets under their keys. Assets that may not be passed on (station time series) stay behind, and
so do links into the project that the model comes from. What is imported is checked as `Model.from_item` checks a model,
and published as training publishes one, so that `audit` finds nothing.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stac_sm.core.asset_file import AssetFile
from stac_sm.core.errors import InputError
from stac_sm.model.item import MODELS_COLLECTION
from stac_sm.model.model import Model, read_asset, read_item
from stac_sm.stac.items import ItemDict, item_folder, item_json, with_location
from stac_sm.stac.links import refresh
from stac_sm.stac.publish import FINGERPRINT_PROPERTY, PublishOutcome, make_once
from stac_sm.stac.visibility import VISIBILITY_FIELD, Visibility
from stac_sm.storage.address import is_absolute
from stac_sm.storage.store import multihash, sha256
from stac_sm.storage.update import read_if_there
from stac_sm.workflows.project import Project

_ITEM = "item.json"
_MOST_BYTES = 2 * 10**9  # of one file in an archive: far more than any model, far less than fills a disk
_WHEN = (1980, 1, 1, 0, 0, 0)  # of every file in the archive, so that one model gives the same bytes
_LOCATION = ("href", "file:size", "file:checksum")


@dataclass(frozen=True)
class ExportedModel:
    """What an archive holds."""

    id: str
    """Id of the model."""

    file: Path
    """The archive."""

    assets: tuple[str, ...]
    """Keys of the assets in it."""

    left_behind: tuple[str, ...]
    """Keys of the assets that may not be passed on."""


@dataclass(frozen=True)
class ImportedModel:
    """A model that a project has taken over."""

    item: ItemDict
    """Its item in the project."""

    new: bool
    """Whether it was not there before."""

    notes: tuple[str, ...]
    """What the project must have or do before the model makes products, a sentence each."""


def export_model(href: str, file: Path) -> ExportedModel:
    """Write a model of a project into one file.

    Parameters
    ----------
    href
        Item of the model, in the collection ``sm-models`` of a project.
    file
        New ``.zip`` file, in a folder that exists.

    Returns
    -------
    ExportedModel
        What is in the file.

    Raises
    ------
    CatalogError, ModelError
        If there is no such model, or a file of it is missing or changed.
    InputError
        If the model is one of a table, or the file is there already or has another suffix.
    """
    if file.suffix.lower() != ".zip":
        raise InputError(f"--out {file}: {file.suffix or 'no'} suffix found; .zip is required")
    if file.exists():
        raise InputError(f"--out {file}: there is a file already; name a new one, or remove it")
    if not file.parent.is_dir():
        raise InputError(f"--out {file}: there is no folder {file.parent}; make it first")
    item, model = read_item(href), Model.from_item(href)
    if model.recipe is None or item.collection_id != MODELS_COLLECTION:
        raise InputError(
            f"model {item.id!r} was trained on a table and belongs to no project: copy its folder, which "
            "`evaluate` and `predict-table` take anywhere"
        )
    document = json.loads(json.dumps(item.to_dict(include_self_link=False, transform_hrefs=False)))
    kept = {
        key: asset
        for key, asset in document["assets"].items()
        if asset.get(VISIBILITY_FIELD) != str(Visibility.RESTRICTED)
    }
    contents = {key: read_asset(item, key) for key in kept}
    document["links"] = [link for link in document["links"] if is_absolute(str(link["href"])) and link["rel"] != "self"]
    document["assets"] = {key: {**asset, "href": f"./{_name(key, asset)}"} for key, asset in kept.items()}
    scratch = file.with_name(f".{os.getpid()}.{file.name}")
    try:
        with zipfile.ZipFile(scratch, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(_ITEM, _WHEN), item_json(document), zipfile.ZIP_DEFLATED)
            for key, content in contents.items():
                archive.writestr(zipfile.ZipInfo(_name(key, kept[key]), _WHEN), content, zipfile.ZIP_DEFLATED)
        scratch.replace(file)
    finally:
        scratch.unlink(missing_ok=True)
    behind = tuple(key for key in item.assets if key not in kept)
    return ExportedModel(item.id, file, tuple(kept), behind)


def import_model(project: Project, file: Path) -> ImportedModel:
    """Publish the model of an archive in a project; one that is there already is left alone.

    Parameters
    ----------
    project
        Its catalogue takes the model, in ``sm-models``.
    file
        As `export_model` writes it.

    Returns
    -------
    ImportedModel
        The item as it is in the project.

    Raises
    ------
    InputError
        If the file is no such archive, is not complete, or was changed; or if the project has another model of that
        id. Nothing is written then.
    ConflictError
        If the model was withdrawn in this project, or another writer publishes it at the same time.
    """
    catalog = project.catalog
    with tempfile.TemporaryDirectory(prefix="stac-sm-") as folder:
        document, files = _unpacked(file, Path(folder))
        item = {**document, "collection": MODELS_COLLECTION, "assets": {}}
        path = f"{item_folder(catalog.layout(MODELS_COLLECTION), item)}/{item['id']}.json"
        _refuse_clash(read_if_there(catalog.store, path), document, file)
        model = Model.from_item(str(Path(folder) / _ITEM))

        def make(_: Path) -> Mapping[str, AssetFile]:
            return {key: AssetFile(at, at.suffix, _described(document["assets"][key])) for key, at in files.items()}

        new = make_once(catalog, item, make) is not PublishOutcome.DONE
    if new:
        refresh(catalog.store, MODELS_COLLECTION)
    published = read_if_there(catalog.store, path) or b"{}"
    return ImportedModel(dict(json.loads(published)), new, tuple(_notes(project, model)))


def _name(key: str, asset: Mapping[str, Any]) -> str:
    """Return the name of an asset in the archive: its key, with the suffix of its file."""
    return f"{key}{Path(str(asset['href'])).suffix}"


def _described(asset: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asset.items() if name not in _LOCATION}


def _unpacked(file: Path, folder: Path) -> tuple[ItemDict, dict[str, Path]]:
    """Return the item of an archive and its files by key, in a folder, after checking all of them."""
    required = "a file that `stac-sm model export` wrote is required"
    try:
        with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as archive:
            document = json.loads(_member(archive, _ITEM, None))
            id, properties, assets = str(document["id"]), document["properties"], dict(document["assets"])
            fingerprint = str(properties[FINGERPRINT_PROPERTY])
            if document.get("collection") != MODELS_COLLECTION or not id.endswith(f"-{fingerprint[:12]}"):
                raise InputError(f"{file}: holds {id!r}, which is no model of a project: {required}")
            files = {}
            for key, asset in assets.items():
                name = _name(key, asset)
                if asset["href"] != f"./{name}" or Path(name).name != name:
                    found = f"asset {key!r} lies at {asset['href']!r}"
                    raise InputError(f"{file}: {found}, ./{name} is required: {required}")
                content = _member(archive, name, int(asset["file:size"]))
                if multihash(sha256(content)) != asset["file:checksum"]:
                    raise InputError(f"{file}: {name} was changed after the export: export the model again")
                files[key] = folder / name
                files[key].write_bytes(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: is no archive of a model ({error}): {required}") from error
    located = {key: with_location(_described(assets[key]), f"./{at.name}", size=at.stat().st_size, sha256=sha256(at))
               for key, at in files.items()}  # fmt: skip
    (folder / _ITEM).write_bytes(item_json({**document, "assets": located}))
    document["links"] = [link for link in document.get("links", []) if is_absolute(str(link.get("href", "")))]
    return document, files


def _member(archive: zipfile.ZipFile, name: str, size: int | None) -> bytes:
    """Return a file of an archive, which must have the size that the item states."""
    found = archive.getinfo(name).file_size
    if found > _MOST_BYTES or (size is not None and found != size):
        raise ValueError(f"{name} has {found} bytes, {size or f'at most {_MOST_BYTES}'} expected")
    return archive.read(name)


def _refuse_clash(there: bytes | None, document: ItemDict, file: Path) -> None:
    """Refuse a model whose id the project has given to another one."""
    if there is None:
        return
    held = json.loads(there)
    same = {
        key: (asset["file:checksum"], document["assets"].get(key, {}).get("file:checksum"))
        for key, asset in held["assets"].items()
        if key in document["assets"]
    }
    changed = [key for key, (ours, theirs) in same.items() if ours != theirs]
    if held["properties"][FINGERPRINT_PROPERTY] != document["properties"][FINGERPRINT_PROPERTY] or changed:
        differs = f"in {', '.join(changed)}" if changed else "in its fingerprint"
        raise InputError(
            f"{file}: the project has a model {held['id']!r} already, which differs {differs}: "
            "import into another project"
        )


def _notes(project: Project, model: Model) -> list[str]:
    """Return what a project lacks to make products with a model."""
    recipe, notes = model.recipe, []
    if recipe is None:
        return []
    known = set(project.catalog.collections)
    missing = sorted({feature.collection for feature in recipe.sources if not feature.catalog} - known)
    if missing:
        notes.append(f"the catalogue has no collection {', '.join(missing)}, which the recipe of the model reads")
    if recipe.checksum != project.recipe.checksum:
        notes.append(
            "the recipe of the model is not [recipe] of the project: products are made with the recipe of the model, "
            "and `stac-sm train` trains another model with that of the project"
        )
    return notes
