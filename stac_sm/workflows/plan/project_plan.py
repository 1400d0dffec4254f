"""Plan a project: its model, tiles and days become a plan file, with an estimate of what making the plan takes.

`plan_project` is what ``stac-sm plan`` does, for Python callers, too: it opens the model, compares tile by tile
(`plan.make_plan`), writes the plan while it is made (`plan_file.PlanWriter`), and estimates reads, writes and cost from
metadata and earlier runs (`workflows.run.cost`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stac_sm.core.errors import InputError
from stac_sm.core.land import land_tiles
from stac_sm.core.period import Period, day_ranges
from stac_sm.core.progress import ProgressCallback
from stac_sm.features.inputs import describe_history, other_depths
from stac_sm.model.item import MODELS_COLLECTION
from stac_sm.model.model import Model
from stac_sm.model.skill import skill_sentences, unskilled
from stac_sm.product.collection_grid import require_grid
from stac_sm.stac.simulated import is_simulated, mark_simulated
from stac_sm.workflows.plan.plan import Plan, make_plan
from stac_sm.workflows.plan.plan_file import PLANS_FOLDER, PlanWriter, note_place
from stac_sm.workflows.project import Project
from stac_sm.workflows.run.cost import Estimate, estimate_run, speed_of

_MANY = 20_000  # tile-days from which several processes are worth their start


@dataclass(frozen=True)
class ProjectPlan:
    """A plan that was written, and what making it takes."""

    plan: Plan
    """The tile-days and their states."""

    model: Model
    """Model that makes them."""

    cost: Estimate
    """Files, bytes, requests, time and money."""

    href: str
    """Where the plan file lies."""

    other_depths: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Static input without which tile-days are blocked -> assets that its collection has of the same quantity at other
    depths. Only those of which there are any."""

    simulated: bool = False
    """Whether the catalogue holds a simulated Earth."""

    @property
    def missing_inputs(self) -> list[dict[str, Any]]:
        """Every input without which tile-days are blocked, most tile-days first: ``input`` (name), ``collection``,
        ``asset``, ``climatology`` (its period; None without one), ``tile_days`` and their ``days``, as ranges on which
        any tile is blocked; ``other_depths`` where the collection has the quantity at other depths; ``history`` where
        an average has too few days, with the days found and required."""
        sources, short = {one.name: one for one in self.model.cube_recipe().sources}, self.plan.days_found
        return [
            {
                "input": name,
                "collection": sources[name].collection,
                "asset": sources[name].asset,
                "climatology": found.period if (found := sources[name].climatology) else None,
                "tile_days": days,
                "days": list(map(str, day_ranges(self.plan.blocked_days[name]))),
                **({"other_depths": list(self.other_depths[name])} if name in self.other_depths else {}),
                **({"history": describe_history(sources[name], *short[name])} if name in short else {}),
            }
            for name, days in self.plan.blocked_by.items()
        ]


def plan_project(
    project: Project,
    tiles: Sequence[str] | None = None,
    period: Period | None = None,
    *,
    model: str | None = None,
    redo_retracted: bool = False,
    max_cost: float | None = None,
    accept_unskilled: bool = False,
    workers: int = 1,
    out: str | None = None,
    progress: ProgressCallback = lambda total: None,
) -> ProjectPlan:
    """Compare the required tile-days with the catalogue, and write the plan.

    Parameters
    ----------
    project
        Its project file says which tiles and days are planned by default.
    tiles
        Tile ids; by default those of the project file, or all with land.
    period
        Days; by default those of the project file.
    model
        Id of the model item; by default the only one of the project.
    redo_retracted
        Whether withdrawn tile-days are to be made again.
    max_cost
        US dollars: a plan that costs more is refused, and not written. None refuses none.
    accept_unskilled
        Whether a model is planned with that is worse than its own input at unseen sites.
    workers
        Processes; few tile-days are planned in this one.
    out
        Where the plan file goes; by default ``plans/ID.parquet`` of the project. Of another place, the project notes
        the address.
    progress
        Called with the number of parts, whenever one is done.

    Returns
    -------
    ProjectPlan
        The plan, its model, what making it takes, and where it lies.

    Raises
    ------
    InputError
        If there are no models or several and none is named, the model is worse than its own input, the plan costs too
        much, or the collection of products holds tiles of another grid.
    CatalogError
        If the model is not there.
    """
    chosen = list(tiles) if tiles is not None else default_tiles(project)
    days = period or project.product_period
    require_grid(project.catalog, project.grid)
    if project.about.simulated:
        mark_simulated(project.catalog.store)
    simulated = is_simulated(project.catalog)
    made_by = Model.from_item(project.catalog.item(MODELS_COLLECTION, model or only_model(project)).self_href)
    if unskilled(made_by.skill or ()) and not accept_unskilled:
        raise InputError(
            f"model {made_by.id}: {skill_sentences(made_by.skill or ())[0]}: use the input itself, train on more "
            "stations or with other features, or give --accept-unskilled; nothing was written"
        )
    with PlanWriter(made_by.id, project.grid) as file:
        made = make_plan(
            project.catalog,
            made_by,
            chosen,
            days,
            grid=project.grid,
            version=project.about.version,
            redo_retracted=redo_retracted,
            workers=workers if len(chosen) * len(days) >= _MANY else 1,
            progress=progress,
            each=file.add,
        )
        speed = speed_of(project.catalog, project.grid, len(made_by.cube_recipe().names))
        cost = estimate_run(made, rates=project.costs, speed=speed, grid=project.grid)
        if max_cost is not None and cost.cost > max_cost:
            raise InputError(
                f"plan: making {cost.items} tile-days costs about {cost.cost:.2f} USD, at most {max_cost:g} are "
                "allowed: plan fewer tiles or days, or raise --max-cost; nothing was written"
            )
        href = file.place(out or f"{project.folder}/{PLANS_FOLDER}/{made.id}.parquet")
    if out:
        note_place(project.catalog.store, made.id, href)
    return ProjectPlan(made, made_by, cost, href, _other_depths(project, made_by, made.blocked_by), simulated)


def _other_depths(project: Project, model: Model, names: Iterable[str]) -> dict[str, list[str]]:
    """Return assets such as ``sand_5-15cm`` of a static input that days are blocked by, by its name."""
    catalog = project.catalog
    found = {one.name: other_depths(catalog, one) for one in model.cube_recipe().sources if one.name in names}
    return {name: keys for name, keys in found.items() if keys}


def default_tiles(project: Project) -> list[str]:
    """Return the tiles that a project plans unless others are named.

    Parameters
    ----------
    project
        The project.

    Returns
    -------
    list of str
        Tile ids of the project file, or all tiles with land.
    """
    return list(project.product.tiles) or land_tiles(project.grid)


def only_model(project: Project) -> str:
    """Return the id of the only model of a project.

    Parameters
    ----------
    project
        The project.

    Returns
    -------
    str
        Id of its item.

    Raises
    ------
    InputError
        If there are none or several.
    """
    models = [item.id for item in project.catalog.items(MODELS_COLLECTION)]
    if len(models) != 1:
        raise InputError(
            f"{len(models)} models found ({', '.join(models) or 'none'}), one is required: "
            + (
                "name one with --model"
                if models
                else "`stac-sm train` makes one; `stac-sm doctor` lists missing inputs"
            )
        )
    return models[0]
