"""Estimate the cost of making a plan: what it reads, writes, requests and costs in US dollars.

Reads and writes follow from metadata, computing time from what earlier runs measured. `workflows.plan.project_plan`
states the estimate with each plan.
"""

from __future__ import annotations

from dataclasses import dataclass

from stac_sm.core.grid import TileGrid
from stac_sm.product.item import PROFILES
from stac_sm.stac.catalogs.catalog_interface import WritableCatalog
from stac_sm.storage.store import Store
from stac_sm.workflows.plan.plan import Plan
from stac_sm.workflows.plan.tile_planner import ReadVolume
from stac_sm.workflows.project import Rates
from stac_sm.workflows.run.run_log import newest_task_records

_BLOCK = 8 << 20  # bytes in a GET of pixels
# From tests/benchmarks/tile_month.py, 2026-11-24: 31 days of 1.44 million pixels, 14 features and masks, 38 s on two
# cores (EPYC, AVX-512), most of it in reading and predicting, which grow with the features.
_SECONDS_A_PIXEL = 2e-7
_SECONDS_A_VALUE = 1.1e-7
_BYTES_A_PIXEL = 1.5  # all assets of a tile-day, half of it land
_FILES_AN_ITEM = len(PROFILES) + 3  # the rasters, two pictures and the item


@dataclass(frozen=True)
class Speed:
    """Time that one core takes for a tile-day."""

    seconds: float
    """Core-seconds."""

    items: int = 0
    """Tile-days of earlier runs that it was measured on; 0: a default, scaled by pixels and features."""


@dataclass(frozen=True)
class Estimate:
    """Reads, writes, requests, time and money that making a plan takes."""

    items: int
    """Tile-days to make."""

    reads: ReadVolume
    """Files and bytes to read."""

    bytes_written: int
    """Of assets and items."""

    gets: int
    """GET requests, of pixels and metadata."""

    puts: int
    """PUT requests."""

    lists: int
    """LIST requests."""

    core_hours: float
    """By the speed below."""

    speed: Speed
    """How long a tile-day takes."""

    cost: float
    """US dollars for making it."""

    cost_a_month: float
    """US dollars for keeping it."""


def estimate_run(plan: Plan, *, rates: Rates, speed: Speed, grid: TileGrid) -> Estimate:
    """Estimate what making the new and stale days of a plan takes.

    Parameters
    ----------
    plan
        From `make_plan`; one that was read from a file does not know what it reads.
    rates
        Prices.
    speed
        From `measured_speed` or `default_speed`.
    grid
        Tile grid of the plan.

    Returns
    -------
    Estimate
        For all its days together.
    """
    items, tasks = len(plan.to_do), sum(1 for _ in plan.tasks())
    reads = plan.reads or ReadVolume()
    written = int(items * grid.tile_shape[0] * grid.tile_shape[1] * _BYTES_A_PIXEL)
    gets = 2 * reads.files + -(-reads.bytes // _BLOCK)  # its item, its header, its pixels
    puts, lists = _FILES_AN_ITEM * items + tasks, tasks
    core_hours = items * speed.seconds / 3600
    cost = core_hours * rates.core_hour + reads.bytes / 1e9 * rates.gb_read
    cost += gets / 1000 * rates.get_1000 + (puts + lists) / 1000 * rates.put_1000
    month = written / 1e9 * rates.gb_month
    return Estimate(items, reads, written, gets, puts, lists, core_hours, speed, cost, month)


def speed_of(catalog: WritableCatalog, grid: TileGrid, features: int) -> Speed:
    """Return what earlier runs measured; a default where there is none.

    Parameters
    ----------
    catalog
        Catalogue with the records of tasks.
    grid
        Tile grid.
    features
        Number of features of the model.

    Returns
    -------
    Speed
        Core-seconds a tile-day.
    """
    return measured_speed(catalog.store) or default_speed(grid, features)


def measured_speed(store: Store) -> Speed | None:
    """Return the core-seconds of a tile-day by the newest records of tasks in a store; None if no task has made any.

    A task runs on one core at a time, but for reads and writes: its time counts as that of one core.

    Parameters
    ----------
    store
        Store of the catalogue.

    Returns
    -------
    Speed or None
        With the number of tile-days that it was measured on.
    """
    sound = [record for record in newest_task_records(store) if record.succeeded and record.made]
    items = sum(record.made for record in sound)
    return Speed(sum(record.seconds for record in sound) / items, items) if items else None


def default_speed(grid: TileGrid, features: int) -> Speed:
    """Return what the machine on which this was written would take, by pixels and features.

    Parameters
    ----------
    grid
        Tile grid.
    features
        Number of features of the model.

    Returns
    -------
    Speed
        Measured on no tile-day.
    """
    pixels = grid.tile_shape[0] * grid.tile_shape[1]
    return Speed(pixels * (_SECONDS_A_PIXEL + features * _SECONDS_A_VALUE))
