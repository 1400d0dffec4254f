"""Read and check the project file ``stac-sm.toml``; messages name the field that is wrong.

Every workflow starts from the `Project` that it describes. Each default stands beside the code that it tunes; this
module brings them together. The tables ``[slurm]`` and ``[costs]`` are defined here.
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pyproj.exceptions import CRSError

from stac_sm.core.errors import CatalogError, InputError, ProjectError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM, TileGrid
from stac_sm.core.period import Period
from stac_sm.core.projections import crs_wkt
from stac_sm.core.text import unknown_name_message
from stac_sm.features.recipe import Recipe
from stac_sm.ingest.registry import RASTER, provider_classes, source_class
from stac_sm.model.holdout import check_strategy
from stac_sm.model.train_settings import TrainSettings
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.catalogs.catalog import create_skeleton, open_writable_catalog
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.stac.items import check_id
from stac_sm.stac.links import skeleton_collections
from stac_sm.stac.simulated import mark_simulated
from stac_sm.stations.records import StationRules
from stac_sm.stations.screening_thresholds import ScreeningThresholds
from stac_sm.storage.address import is_remote, local_path
from stac_sm.storage.store import open_store
from stac_sm.storage.update import update


@dataclass(frozen=True)
class SlurmSettings:
    """Table ``[slurm]`` of the project file; names as in ``sbatch`` and dask-jobqueue."""

    queue: str | None = None
    """Partition; None is the cluster's own default."""

    account: str | None = None
    """Who pays."""

    walltime: str = "04:00:00"
    """Longest time of a job."""

    cores: int = 2
    """Cores of a job."""

    memory: str = "8G"
    """Memory of a job."""

    directives: tuple[str, ...] = ()
    """Further lines after ``#SBATCH``, e.g. ``--constraint=rome``."""

    prologue: tuple[str, ...] = ()
    """Commands before the worker starts, e.g. ``module load python``."""

    interface: str | None = None
    """Network interface between the nodes, e.g. ``ib0``."""

    logs: str = "slurm-logs"
    """Folder for what jobs print, where the command is given."""

    def to_jobqueue(self) -> dict[str, Any]:
        """Return the arguments of ``dask_jobqueue.SLURMCluster``: one worker of one thread a job.

        Tasks have threads of their own.

        Returns
        -------
        dict
            Keyword arguments.
        """
        return {
            "queue": self.queue,
            "account": self.account,
            "walltime": self.walltime,
            "cores": 1,
            "job_cpu": self.cores,
            "processes": 1,
            "memory": self.memory,
            "job_extra_directives": list(self.directives),
            "job_script_prologue": list(self.prologue),
            "interface": self.interface,
            "log_directory": self.logs,
            "python": sys.executable,
            "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
        }


@dataclass(frozen=True)
class FetchSettings:
    """Table ``[fetch]`` of the project file: what `stac-sm fetch` and `stac-sm update` do."""

    folder: str = "granules"
    """Where fetched files are kept, on this machine: below the folder of the project; of a project on S3, below the
    current folder."""

    queue_hours: float = 24.0
    """Hours that one request may wait at the Climate Data Store; the next fetch goes on with it."""

    def __post_init__(self) -> None:
        if not self.folder or is_remote(self.folder):
            raise InputError(f"[fetch] folder: found {self.folder!r}, a folder of this machine is required")
        if self.queue_hours <= 0:
            raise InputError(f"[fetch] queue_hours: found {self.queue_hours:g}, more than 0 is required")


@dataclass(frozen=True)
class Rates:
    """Table ``[costs]`` of the project file, in US dollars; by default what a cloud asked for in 2026."""

    core_hour: float = 0.02
    """One core for an hour, on Spot."""

    gb_read: float = 0.0
    """10^9 bytes read: nothing inside a region."""

    gb_month: float = 0.023
    """10^9 bytes kept for a month."""

    get_1000: float = 0.0004
    """1000 GET requests."""

    put_1000: float = 0.005
    """1000 PUT and LIST requests."""


FILE_NAME = "stac-sm.toml"
PROJECT_FORMAT = 1
"""Number of the format of project files; those that state none have it. Raise it when a key changes its meaning."""

PROJECT_FILES = (FILE_NAME, "catalog.json")
"""Files that make a folder a project; `create_project` writes those that are not there."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class ProjectInfo:
    """Title and version of a project."""

    title: str = "Soil moisture at 1 km"
    """Title of the catalogue."""

    version: str = "001"
    """Product version, part of every product id: raise it to keep old and new side by side."""

    simulated: bool = False
    """Whether inputs and stations are simulated: catalogue, products, pictures and exports say so then."""

    format: int = 1
    """Number of the format of the project file, `PROJECT_FORMAT` at most."""

    def __post_init__(self) -> None:
        if not 1 <= self.format <= PROJECT_FORMAT:
            raise InputError(
                f"[project] format: found {self.format}, {PROJECT_FORMAT} or less is required: a later stac_sm "
                "wrote it, install that one"
            )


@dataclass(frozen=True)
class MatchupRules:
    """Choice of the days that are matched up."""

    period: str = "2000/2020"
    """Days on which stations and features are brought together."""

    leave_out: tuple[str, ...] = ()
    """Networks that no model sees: `stac-sm validate` can hold the product against them."""


@dataclass(frozen=True)
class ScreeningSettings(ScreeningThresholds):
    """Thresholds of screening, and the third data set of the triple collocation.

    The third data set is part of the identity of the match-ups, which hold its values, not of these rules.
    """

    third: str = "esa-cci-sm"
    """Collection of the third data set, beside the stations and ERA5-Land."""

    third_asset: str = ""
    """Its asset, m3 m-3; empty where the collection has one of soil moisture only."""

    @property
    def series_names(self) -> tuple[str, str, str]:
        """What reasons call the station and the other two data sets."""
        station, second, third = super().series_names
        return station, second, third if self.third == ScreeningSettings.third else self.third

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.third in _DEPENDENT:
            raise InputError(
                f"[screening] third: found {self.third!r}, {_DEPENDENT[self.third]}; a data set with errors of its own "
                "is required, such as esa-cci-sm or smap"
            )


_DEPENDENT = {
    "era5-land": "which is the second data set already",
    PRODUCT_COLLECTION: "which is made with ERA5-Land by a model that learned from the stations",
}
"""Collections that cannot be the third data set of a triple collocation with stations and ERA5-Land."""


@dataclass(frozen=True)
class ProductRules:
    """Default tiles and days of `stac-sm plan`."""

    tiles: tuple[str, ...] = ()
    """Tile ids; none are all with land."""

    period: str = ""
    """Days; empty is the period of the match-ups."""


@dataclass(frozen=True)
class ValidationSettings:
    """Settings of hold-outs, by which models are scored on what they have not seen."""

    strategies: tuple[str, ...] = ("random", "site", "year", "network")
    """Ways to hold out: ``random``, ``site``, ``year``, ``network`` (left out where there is one only), ``block``."""

    folds: int = 5
    """Number of folds."""

    seed: int = 0
    """Of the split."""

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise InputError(f"[validation] folds: found {self.folds}, 2 or more are required")

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return what identifies the rules: explicit names, so that renaming a field makes no result stale."""
        return {
            "strategies": self.strategies,
            "folds": self.folds,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Project:
    """A folder with a project file and a catalogue."""

    folder: Path | str
    """Where ``stac-sm.toml`` and ``catalog.json`` lie: a folder, or ``s3://BUCKET/PREFIX``."""

    recipe: Recipe
    """Features and masks."""

    about: ProjectInfo = field(default_factory=ProjectInfo)
    """Title and product version."""

    grid: TileGrid = MODIS_SINUSOIDAL_1KM
    """Grid of the product."""

    stations: StationRules = field(default_factory=StationRules)
    """Which measurements count."""

    matchups: MatchupRules = field(default_factory=MatchupRules)
    """Which days are matched up."""

    screening: ScreeningSettings = field(default_factory=ScreeningSettings)
    """What a station must reach to be kept, and the third data set of the triple collocation."""

    training: TrainSettings = field(default_factory=TrainSettings)
    """How the trees grow."""

    validation: ValidationSettings = field(default_factory=ValidationSettings)
    """How models are scored."""

    product: ProductRules = field(default_factory=ProductRules)
    """Tiles and days that `plan` plans by default."""

    costs: Rates = field(default_factory=Rates)
    """Prices."""

    slurm: SlurmSettings = field(default_factory=SlurmSettings)
    """What a Slurm job of a run asks for."""

    fetch: FetchSettings = field(default_factory=FetchSettings)
    """Where fetched files are kept, and how long their requests may wait."""

    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Settings of each source, by its name."""

    def __post_init__(self) -> None:
        Period.parse(self.matchups.period)
        if self.product.period:
            Period.parse(self.product.period)
        for strategy in self.validation.strategies:
            check_strategy(strategy)
        try:
            check_id(f"v{self.about.version}")
        except InputError as error:
            raise InputError(f"[project] version: found {self.about.version!r}; {error}") from error

    @property
    def product_period(self) -> Period:
        """Days of the product unless others are named: those of ``[product]``, or else of the match-ups."""
        return Period.parse(self.product.period or self.matchups.period)

    @property
    def catalog(self) -> WritableCatalog:
        """Catalogue of the project; opened each time."""
        return open_writable_catalog(self.folder)


def find_project(start: Path | str) -> Project:
    """Find the project of the nearest ``stac-sm.toml`` in a folder or above it; on S3, of the prefix itself.

    Parameters
    ----------
    start
        A folder, or ``s3://BUCKET/PREFIX``.

    Returns
    -------
    Project
        With the settings of its file.

    Raises
    ------
    ProjectError
        If there is no such folder, no project in it or above, or a field of its file is wrong.
    """
    if is_remote(start):
        return read_project(start)
    if not local_path(start).exists():  # a misspelt folder in a project would be answered by that project
        raise ProjectError(
            f"project: there is no folder {local_path(start).absolute()}: check the path, or `stac-sm init` makes one"
        )
    folder = nearest_project_folder(start)
    if folder is None:
        raise ProjectError(
            f"no {FILE_NAME} in {local_path(start).absolute()} or above: `stac-sm init DIR` makes a project, "
            "--project DIR names one"
        )
    return read_project(folder)


def nearest_project_folder(start: Path | str) -> Path | None:
    """Return the folder of the nearest ``stac-sm.toml`` in a folder or above it.

    Parameters
    ----------
    start
        A folder of this machine.

    Returns
    -------
    Path or None
        None if there is no project.
    """
    start = local_path(start).absolute()
    return next((folder for folder in (start, *start.parents) if (folder / FILE_NAME).is_file()), None)


def read_project(folder: Path | str) -> Project:
    """Read the project of a folder, or of an ``s3://BUCKET/PREFIX``, with a ``stac-sm.toml``.

    Parameters
    ----------
    folder
        Where the file lies.

    Returns
    -------
    Project
        With the settings of its file.

    Raises
    ------
    ProjectError
        If the file is no TOML, or a field is unknown or has a wrong value.
    """
    store = open_store(folder)
    file = store.href(FILE_NAME)
    try:
        return _project(folder, tomllib.loads(store.read(FILE_NAME).decode()))
    except CatalogError as error:
        raise ProjectError(f"{file} cannot be read (it is not there): `stac-sm init DIR` makes a project") from error
    except OSError as error:
        raise ProjectError(f"{file} cannot be read ({error.strerror}): `stac-sm init DIR` makes a project") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProjectError(f"{file} is no TOML: {error}") from error
    except InputError as error:
        raise ProjectError(f"{file}: {error}") from error


def existing_files(folder: Path | str) -> list[str]:
    """Return which files of a project are there already, so that `create_project` leaves them alone.

    Parameters
    ----------
    folder
        Folder, which need not exist, or ``s3://BUCKET/PREFIX``.

    Returns
    -------
    list of str
        Of `PROJECT_FILES`.
    """
    store = open_store(folder)
    return [name for name in PROJECT_FILES if store.exists(name)]


def create_project(folder: Path | str, text: str) -> Project:
    """Write a project file and the catalogue's skeleton; a project that exists is left as it is.

    Parameters
    ----------
    folder
        New or existing folder, or ``s3://BUCKET/PREFIX``.
    text
        Content of the project file.

    Returns
    -------
    Project
        Of this folder.

    Raises
    ------
    ProjectError
        If the text is no valid project file: then nothing is written.
    """
    project = _checked(folder, text)
    store = open_store(folder)
    store.create(FILE_NAME, text.encode())
    create_skeleton(store, title=project.about.title)
    made = read_project(folder)
    if made.about.simulated:
        mark_simulated(store)
    return made


def _checked(folder: Path | str, text: str) -> Project:
    try:
        return _project(folder, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ProjectError(f"{folder}/{FILE_NAME} is no TOML: {error}") from error
    except InputError as error:
        raise ProjectError(f"{folder}/{FILE_NAME}: {error}") from error


def _project(folder: Path | str, content: Mapping[str, Any]) -> Project:
    known = [item.name for item in fields(Project) if item.name != "folder"]
    _refuse_unknown("table", content, ["project", *(name for name in known if name != "about")])
    if "recipe" not in content:
        raise InputError("table [recipe] is missing: `stac-sm init DIR` writes one to start from")
    _refuse_no_table(content)
    return Project(
        folder=folder if is_remote(folder) else local_path(folder).absolute(),
        recipe=Recipe.from_dict(content["recipe"]),
        about=_read(ProjectInfo, "project", content.get("project", {})),
        grid=_grid(content["grid"]) if "grid" in content else MODIS_SINUSOIDAL_1KM,
        stations=_read(StationRules, "stations", content.get("stations", {})),
        matchups=_read(MatchupRules, "matchups", content.get("matchups", {})),
        screening=_read(ScreeningSettings, "screening", content.get("screening", {})),
        training=_read(TrainSettings, "training", content.get("training", {})),
        product=_read(ProductRules, "product", content.get("product", {})),
        costs=_read(Rates, "costs", {**content.get("costs", {}), **_from_environment(Rates, "costs")}),
        slurm=_read(SlurmSettings, "slurm", {**content.get("slurm", {}), **_from_environment(SlurmSettings, "slurm")}),
        fetch=_read(FetchSettings, "fetch", {**content.get("fetch", {}), **_from_environment(FetchSettings, "fetch")}),
        validation=_read(ValidationSettings, "validation", content.get("validation", {})),
        sources=_sources(content.get("sources", {})),
    )


def _grid(table: Mapping[str, Any]) -> TileGrid:
    grid = _read(TileGrid, "grid", table)
    try:
        crs_wkt(grid.crs)
    except CRSError as error:
        raise InputError(f"[grid] crs: found {grid.crs!r}, which is no CRS; write e.g. 'EPSG:6933'") from error
    if min(*grid.pixel, *grid.tile_shape, *grid.tiles) <= 0:
        raise InputError("[grid]: found a pixel, tile_shape or tiles of 0 or less; numbers above 0 are required")
    return grid


def _sources(content: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the settings of the sources; each is a record, whose fields are known."""
    if not content:
        return content  # the providers' modules are not imported for nothing
    _refuse_no_table({f"sources.{name}": table for name, table in content.items()})
    known = provider_classes()
    own = [name for name, table in content.items() if name not in known and source_class(name, table) is not None]
    _refuse_unknown("table [sources], source", content, [*known, *own])
    for name, table in content.items():
        if name in own:
            check_series(name, table)
        else:
            _read(known[name], f"sources.{name}", table)  # type: ignore[arg-type]
    return content


def check_series(name: str, table: Mapping[str, Any]) -> None:
    """Refuse a raster series of the user's own whose id or settings cannot be.

    Parameters
    ----------
    name
        Its id, which must not be that of a provider or of a collection of the skeleton.
    table
        Its settings, as in the project file.

    Raises
    ------
    InputError
        Names the field.
    """
    if name == RASTER or name in provider_classes() or name in skeleton_collections():
        raise InputError(
            f"[sources.{name}]: the id {name} is taken, another one is required for a series of your own: rename it"
        )
    if "id" in table:
        raise InputError(f"[sources.{name}] id: found {table['id']!r}, the table's name is the id: leave it out")
    _read(source_class(name, table), f"sources.{name}", {"id": name, **table})  # type: ignore[arg-type]


def keep_source(folder: Path | str, name: str, settings: Mapping[str, Any]) -> bool:
    """Keep the settings of a source in the project file, behind all that stands there, so that no comment is lost.

    Parameters
    ----------
    folder
        Of the project: a folder, or ``s3://BUCKET/PREFIX``.
    name
        Of the source.
    settings
        Name to text, number, or a list of numbers.

    Returns
    -------
    bool
        False if the file has the same settings already.

    Raises
    ------
    InputError
        If the file has other settings of this source: they are edited there.
    ProjectError
        If the file with them would be no project file: then nothing is written.
    """
    lines = [f"{key} = {_toml(value)}" for key, value in settings.items()]
    table = "\n".join([f"[sources.{name}]", *lines, ""])

    def with_table(current: bytes | None) -> bytes | None:
        text = (current or b"").decode()
        held = tomllib.loads(text).get("sources", {}).get(name)
        if held is not None:
            check_kept(name, held, settings)
            return None
        longer = text + ("" if text.endswith("\n") or not text else "\n") + "\n" + table
        _checked(folder, longer)
        return longer.encode()

    return update(open_store(folder), FILE_NAME, with_table, must_exist=True)


def check_kept(name: str, held: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse settings of a source that are not those of the project file.

    Parameters
    ----------
    name
        Of the source.
    held
        Its table in the project file.
    settings
        What was given beside it.

    Raises
    ------
    InputError
        Names each setting that differs.
    """
    different = [key for key in (*settings, *held) if settings.get(key) != held.get(key)]
    if different:
        found = ", ".join(f"{key} {held.get(key, 'not set')!r}" for key in dict.fromkeys(different))
        given = ", ".join(f"{key} {settings.get(key, 'not set')!r}" for key in dict.fromkeys(different))
        raise InputError(
            f"[sources.{name}] in {FILE_NAME} has {found}; given were {given}: edit the file, then `stac-sm ingest "
            f"{name} PATHS` takes what it says"
        )


def _toml(value: Any) -> str:
    """Return a text, a number or a list of numbers as TOML; JSON writes these three alike."""
    return json.dumps(value, ensure_ascii=False)


def _refuse_no_table(content: Mapping[str, Any]) -> None:
    for key, table in content.items():
        if not isinstance(table, Mapping):
            raise InputError(f"[{key}]: found {table!r}, a table is required: write [{key}] on a line of its own")


def _read(kind: type[_T], name: str, table: Mapping[str, Any]) -> _T:
    """Return a settings record from a table of the project file."""
    _refuse_unknown(f"[{name}] field", table, [item.name for item in fields(kind)])  # type: ignore[arg-type]
    try:
        return TypeAdapter(kind).validate_python(dict(table))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "args")
        if first["type"] == "missing":
            raise InputError(f"[{name}] {where} is missing: write {where} = … into the table") from error
        raise InputError(f"[{name}] {where}: found {first['input']!r}, {first['msg'].lower()}") from error


def _from_environment(kind: type, name: str) -> dict[str, Any]:
    """Return the settings of a table that an operator gives as ``STAC_SM_SECTION_FIELD``, over those of the file."""
    prefix, found = f"STAC_SM_{name.upper()}_", dict[str, Any]()
    types = get_type_hints(kind)
    for variable, text in os.environ.items():
        if variable.startswith(prefix):
            key = variable.removeprefix(prefix).lower()
            _refuse_unknown(f"environment variable {variable}: [{name}] field", {key: text}, list(types))
            found[key] = text if types[key] in {str, str | None} else _toml_value(text)
    return found


def _toml_value(text: str) -> Any:
    """Return what a text stands for in the project file; the text itself where that is no TOML."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _refuse_unknown(what: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in table:
        if key not in known:
            raise InputError(unknown_name_message(what, key, known))
