"""Fetch the inputs that a project lacks: its recipe says which variables and days, its catalogue what is there.

`stac-sm fetch` lists and carries out the requests of one source, `workflows.update` those of all sources of a recipe.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from stac_sm.core.errors import InputError, StacSmError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.core.places import BBox, sides_text, swapped_box
from stac_sm.features.inputs import search_period
from stac_sm.features.recipe import Feature
from stac_sm.fetch.registry import fetch_source, fetch_sources
from stac_sm.fetch.request import (
    AccountError,
    ByHand,
    EmptyAnswerError,
    Listing,
    Request,
    Selection,
    Source,
    StillQueuedError,
)
from stac_sm.ingest.registry import provider_classes
from stac_sm.stac.simulated import is_simulated
from stac_sm.storage.address import is_remote, local_path
from stac_sm.storage.log_lines import LOGGER, log_facts
from stac_sm.workflows.project import Project

ALL = "all"
"""What users type in the place of a source to have the sizes of all inputs added up (`workflows.input_sizes`)."""

_THREADS = 4
"""Requests at once: services ask not to be asked by more."""

SCREENED_BY = ("era5-land", "swvl1")
"""Second data set of the triple collocation."""


@dataclass(frozen=True)
class FetchResult:
    """What came of one request."""

    request: Request
    """The request."""

    status: str
    """``fetched``, ``there`` (it was), ``empty`` (the service has nothing), ``queued`` or ``failed``."""

    reason: str = ""
    """Why there is no file."""

    @property
    def has_file(self) -> bool:
        """Whether the file is there."""
        return self.status in {"fetched", "there"}

    def to_dict(self) -> dict[str, Any]:
        """Return the result, ready for JSON.

        Returns
        -------
        dict
            ``what``, ``file``, ``status``, ``bytes`` (None without a file) and ``reason`` (None with one).
        """
        size = self.request.file.stat().st_size if self.has_file else None
        return {
            "what": self.request.what,
            "file": str(self.request.file),
            "status": self.status,
            "bytes": size,
            "reason": self.reason or None,
        }


@dataclass(frozen=True)
class FetchPlan:
    """What a source is asked for, or what a person does."""

    source: str
    """Name of the source."""

    folder: Path
    """Where its files go."""

    today: date
    """Day on which it was listed."""

    listing: Listing = field(default_factory=lambda: Listing(()))
    """Requests; none where a person does it."""

    page: str = ""
    """Page that a person opens; empty where the source is fetched from."""

    steps: tuple[str, ...] = ()
    """What to select there."""

    why: str = ""
    """Why it cannot be fetched."""

    place: Mapping[str, Any] = field(default_factory=dict)
    """What was understood of the place: ``bbox`` (west, south, east, north in degrees) or ``tiles``."""

    notes: tuple[str, ...] = ()
    """What a user should know of the place before."""

    def to_dict(self) -> dict[str, Any]:
        """Return the plan, ready for JSON.

        Returns
        -------
        dict
            ``source``, ``place``, ``folder``, ``held``, ``notes`` and ``requests`` with their sizes in bytes; or of
            what a person does ``source``, ``place``, ``notes``, ``page``, ``why`` and ``steps``.
        """
        if self.page:
            return {
                "source": self.source,
                "place": dict(self.place),
                "notes": list(self.notes),
                "page": self.page,
                "why": self.why,
                "steps": list(self.steps),
            }
        return {
            "source": self.source,
            "place": dict(self.place),
            "folder": str(self.folder),
            "held": self.listing.held,
            "notes": [*self.notes, *self.listing.notes, *self.listing.why_again],
            "requests": [
                {
                    "what": one.what,
                    "file": str(one.file),
                    "bytes": one.size,
                    "estimated_bytes": one.estimate,
                    "there": one.is_there(self.today),
                }
                for one in self.listing.requests
            ],
        }


def source_names() -> tuple[list[str], list[str]]:
    """Return the names of all sources.

    Returns
    -------
    tuple of list of str
        Those that are fetched from, and those that a person fetches from.
    """
    table = fetch_sources()
    by_hand = {name for name, one in table.items() if isinstance(one, ByHand)}
    return sorted(set(table) - by_hand), sorted(by_hand)


def _source(name: str, **limits: float) -> Source | ByHand:
    """Return the source of a name; of one that is only ingested the error says so."""
    try:
        return fetch_source(name, **limits)
    except InputError:
        if name not in provider_classes():
            raise
    raise InputError(
        f"source {name!r} can be ingested, and stac_sm neither fetches it nor knows its page: download its files from "
        f"its provider, then `stac-sm ingest {name} FILES`"
    )


def today_utc() -> date:
    """Return the current day, UTC.

    Returns
    -------
    datetime.date
        By the clock of this machine.
    """
    return datetime.now(UTC).date()


def fetch_folder(project: Project) -> Path:
    """Return the folder of this machine where the files of a project are kept.

    Parameters
    ----------
    project
        Its table ``[fetch]`` names it.

    Returns
    -------
    pathlib.Path
        Absolute; need not exist.
    """
    below = Path.cwd() if is_remote(project.folder) else local_path(project.folder)
    return (below / Path(project.fetch.folder).expanduser()).absolute()


def plan_fetch(
    project: Project,
    source: str,
    *,
    period: Period | None = None,
    tiles: Sequence[str] = (),
    bbox: BBox | None = None,
    climatology: bool = False,
    today: date | None = None,
) -> FetchPlan:
    """List what a source is asked for, without what the catalogue has; ask the service for sizes.

    Parameters
    ----------
    project
        Its recipe says which variables, and which days before and after the period.
    source
        Name of the source.
    period
        Days of the product or of the match-ups; None: those of `default_period`.
    tiles
        Tile ids of the project's grid; none: ``bbox`` counts, or else those of the project file.
    bbox
        West, south, east, north in degrees.
    climatology
        Whether the years that climatologies of the recipe average are asked for, too.
    today
        Current day, UTC; None: the machine's.

    Returns
    -------
    FetchPlan
        Requests with their sizes, or what a person does.

    Raises
    ------
    InputError
        If there is no such source, no place is given, the project needs nothing of the source, the service refuses, or
        the project is simulated.
    CatalogError
        If the catalogue or the service cannot be read.
    """
    if project.about.simulated or is_simulated(project.catalog):
        raise InputError(
            f"fetch {source}: {project.folder} is a simulated project ([project] simulated = true), into which no real "
            "inputs go: make another project by `stac-sm init DIR`, and fetch there"
        )
    found = _source(source, longest_queue_s=project.fetch.queue_hours * 3600)
    day = today or today_utc()
    folder = fetch_folder(project) / source
    place = place_of(project, tiles, bbox)
    selection = _selection(project, period or default_period(project, source), place, folder, day)
    named: dict[str, Any] = {"tiles": list(place.tiles)} if place.tiles else {"bbox": list(place.boxes[0])}
    plan = FetchPlan(source, folder, day, place=named, notes=_notes_on_box(project, bbox))
    if isinstance(found, ByHand):
        steps = tuple(found.steps(_with_years(project, selection)))
        return replace(plan, page=found.page, steps=steps, why=found.why)
    return replace(plan, listing=found.listing(_with_years(project, selection) if climatology else selection))


def _notes_on_box(project: Project, bbox: BBox | None) -> tuple[str, ...]:
    """Return a note where no tile of the project meets a box: most often, longitude and latitude were swapped."""
    own = set(project.product.tiles)
    if bbox is None or not own or own & set(project.grid.tiles_in(bbox)):
        return ()
    swapped = swapped_box(bbox)
    hint = ""
    if swapped is not None and own & set(project.grid.tiles_in(swapped)):
        hint = f"; {','.join(f'{one:g}' for one in swapped)} would be in them: the longitude comes first"
    return (f"no tile of [product], {', '.join(sorted(own))}, meets the box {sides_text(bbox)}{hint}",)


def default_period(project: Project, source: str) -> Period:
    """Return the days for which a source is asked unless others are named.

    Parameters
    ----------
    project
        Its recipe and its project file.
    source
        Name of the source.

    Returns
    -------
    Period
        Days of the product; of what only the match-ups need (stations, the third data set of screening) theirs.
    """
    needed = {one.collection for one in own_features(project)}
    is_feature = not needed.isdisjoint(_source(source).collections)
    return project.product_period if is_feature else Period.parse(project.matchups.period)


@dataclass(frozen=True)
class LeftOutYears:
    """What a climatology of the recipe takes beyond a plan."""

    years: tuple[str, ...]
    """Periods that are averaged."""

    requests: int
    """Number of requests that the plan leaves out."""

    estimated_bytes: int
    """Their size, where services do not state it before compression."""

    @property
    def text(self) -> str:
        """What is left out, and the option by which it comes."""
        return (
            f"left out: the years {' and '.join(self.years)} that the recipe averages, {self.requests} more requests, "
            f"at most {self.estimated_bytes / 1e9:,.1f} GB: --climatology lists and fetches them, too; ingest them, "
            "then `stac-sm climatology`; a shorter `climatology` period in the recipe takes less"
        )


def left_out_years(
    project: Project,
    plan: FetchPlan,
    *,
    period: Period | None = None,
    tiles: Sequence[str] = (),
    bbox: BBox | None = None,
) -> LeftOutYears | None:
    """Return what a plan leaves out that climatologies of the recipe need; services are asked for sizes.

    Parameters
    ----------
    project
        Its recipe says which years.
    plan
        Made without them by `plan_fetch`.
    period, tiles, bbox
        As for that plan.

    Returns
    -------
    LeftOutYears or None
        None where nothing is left out.
    """
    years = averaged_years(project, _source(plan.source).collections)
    if plan.page or not years:
        return None
    whole = plan_fetch(project, plan.source, period=period, tiles=tiles, bbox=bbox, climatology=True, today=plan.today)
    known = {one.file for one in plan.listing.requests}
    more = [one for one in whole.listing.requests if one.file not in known and not one.is_there(plan.today)]
    if not more:
        return None
    periods = dict.fromkeys(str(one) for some in years.values() for one in some)
    return LeftOutYears(tuple(periods), len(more), sum(one.size or one.estimate or 0 for one in more))


def carry_out(
    plan: FetchPlan,
    *,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int], None] = lambda total: None,
) -> list[FetchResult]:
    """Carry out the requests of a plan, some at once; one that fails stops no other, unless it fails by the account.

    Parameters
    ----------
    plan
        From `plan_fetch`.
    say
        Called with a line about a request, such as its state in a queue.
    progress
        Called with the number of requests, whenever one has ended.

    Returns
    -------
    list of FetchResult
        One a request, in their order.
    """

    refused = list[str]()

    def fetched(request: Request) -> FetchResult:
        try:
            if request.is_there(plan.today):
                return FetchResult(request, "there")
            if refused:
                return FetchResult(request, "failed", refused[0])
            request.carry_out(request.file, lambda line: say(f"{request.what}: {line}"))
            return FetchResult(request, "fetched")
        except EmptyAnswerError as error:
            return FetchResult(request, "empty", str(error))
        except StillQueuedError as error:
            return FetchResult(request, "queued", str(error))
        except AccountError as error:
            refused.append(str(error))
            return FetchResult(request, "failed", refused[0])
        except StacSmError as error:
            return FetchResult(request, "failed", str(error))
        except OSError as error:
            return FetchResult(request, "failed", f"{request.file.name}: cannot be written ({error.strerror})")
        finally:
            progress(len(plan.listing.requests))

    def one(request: Request) -> FetchResult:
        with log_facts(request=request.what):
            found = fetched(request)
            level = logging.WARNING if found.status == "failed" else logging.INFO
            LOGGER.log(level, "%s: %s", request.what, ": ".join(filter(None, (found.status, found.reason))))
        return found

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(one, plan.listing.requests))


def own_features(project: Project) -> list[Feature]:
    """Return what the recipe reads from the project's own catalogue: features and masks.

    Parameters
    ----------
    project
        Its recipe.

    Returns
    -------
    list of Feature
        Without those that are read in place from another catalogue.
    """
    return [one for one in project.recipe.sources if not one.catalog]


def reasons(results: Iterable[FetchResult]) -> list[tuple[str, str, str]]:
    """Return why requests have no file, each reason once.

    Parameters
    ----------
    results
        From `carry_out`.

    Returns
    -------
    list of tuple of str
        Status, what has none (the request, or how many), and the reason.
    """
    alike: dict[tuple[str, str], list[FetchResult]] = {}
    for one in results:
        if one.reason:
            alike.setdefault((one.status, one.reason), []).append(one)
    return [
        (status, same[0].request.what if len(same) == 1 else f"{len(same)} requests", reason)
        for (status, reason), same in alike.items()
    ]


def averaged_years(project: Project, collections: Sequence[str]) -> dict[str, tuple[Period, ...]]:
    """Return the years that climatologies of the recipe average.

    Parameters
    ----------
    project
        Its recipe.
    collections
        Ids of those that count.

    Returns
    -------
    dict
        Periods by collection; without those that are not averaged.
    """
    found: dict[str, dict[Period, None]] = {}
    for one in own_features(project):
        if one.climatology is not None and one.collection in collections:
            found.setdefault(one.collection, {})[Period.parse(one.climatology.period)] = None
    return {id: tuple(periods) for id, periods in found.items()}


def _with_years(project: Project, selection: Selection) -> Selection:
    years = averaged_years(project, list(selection.assets))
    averaged = [one for one in own_features(project) if one.climatology is not None]
    assets = {id: tuple(dict.fromkeys(one.asset for one in averaged if one.collection == id)) for id in years}
    return replace(selection, years=years, year_assets=assets)


@dataclass(frozen=True)
class Place:
    """Where inputs are needed."""

    tiles: tuple[str, ...]
    """Ids of the project's grid; none where it is a box."""

    boxes: tuple[BBox, ...]
    """West, south, east, north in degrees."""

    modis_tiles: tuple[str, ...]
    """Tiles of the MODIS sinusoidal grid that meet it."""


def place_of(project: Project, tiles: Sequence[str], bbox: BBox | None) -> Place:
    """Return the place that options name, or else the project file.

    Parameters
    ----------
    project
        Its grid has the tiles.
    tiles
        Tile ids of the project's grid; none: ``bbox`` counts, or else those of the project file.
    bbox
        West, south, east, north in degrees.

    Returns
    -------
    Place
        With its boxes and MODIS tiles.

    Raises
    ------
    InputError
        If neither names one.
    """
    chosen = tuple(tiles) or (tuple(project.product.tiles) if bbox is None else ())
    if not chosen and bbox is None:
        raise InputError("no place found: --bbox W,S,E,N or --tiles is required, or tiles under [product]")
    grid = project.grid
    boxes = [bbox] if bbox is not None else [box for tile in chosen if (box := grid.bbox(tile)) is not None]
    if chosen and grid == MODIS_SINUSOIDAL_1KM:
        modis = list(chosen)
    else:
        modis = list(dict.fromkeys(tile for box in boxes for tile in MODIS_SINUSOIDAL_1KM.tiles_in(box)))
    return Place(chosen, tuple(boxes), tuple(modis))


def _selection(project: Project, period: Period, place: Place, folder: Path, today: date) -> Selection:
    assets: dict[str, list[str]] = {SCREENED_BY[0]: [SCREENED_BY[1]], project.screening.third: []}
    periods = {SCREENED_BY[0]: period}
    for one in own_features(project):
        assets.setdefault(one.collection, []).append(one.asset)
        needed = needed_period(one, period)
        if needed is not None:
            known = periods.get(one.collection, needed)
            periods[one.collection] = Period(min(known.start, needed.start), max(known.end, needed.end))
    return Selection(
        place.boxes,
        place.modis_tiles,
        period,
        periods,
        {id: tuple(dict.fromkeys(keys)) for id, keys in assets.items()},
        project.stations.max_depth,
        project.catalog,
        folder,
        today,
    )


def needed_period(feature: Feature, period: Period) -> Period | None:
    """Return the days whose items a feature needs for the days of a period.

    Parameters
    ----------
    feature
        Its time rule, lag and average say how far it looks.
    period
        Days of the product.

    Returns
    -------
    Period or None
        With days before, and for composites some after; None where time does not count.
    """
    searched = search_period(feature, period)
    if searched is None:
        return None
    after = searched.end - feature.days_back * ONE_DAY if feature.time == "composite" else period.end
    return Period(searched.start, max(after, period.end))
