"""Represent planned tile-days: records to work with, kept in columns, since there may be millions of them.

`tile_planner` makes the columns, `plan` and `plan_file` keep them, and `workflows.run` takes tasks from them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING, Any, overload

from stac_sm.core.grid import TileGrid
from stac_sm.product.item import ProductDay
from stac_sm.product.product_id import product_ids

if TYPE_CHECKING:
    import pyarrow as pa

STATES = ("new", "done", "stale", "blocked", "retracted")

_FEW_DAYS = 2  # of a month that is put together with others; months with more are tasks of their own
_DAYS_TOGETHER = 8  # a graph of so many days shares nearly all that a month would (`workflows.run.memory`)

InputChecksums = tuple[tuple[str, str], ...]
InputsLoader = Callable[[], "pa.Array"]
"""Reads the inputs of some rows: a list of (id, checksum) a row."""


@dataclass(frozen=True)
class PlannedDay:
    """One tile-day that is to be there, and its state."""

    made: ProductDay
    """Tile, day, version and the fingerprint that it should have."""

    state: str
    """``new``, ``done``, ``stale`` (there, but made from something else), ``blocked`` (an input is missing) or
    ``retracted`` (withdrawn by hand: counts as up to date)."""

    blocked_by: tuple[str, ...] = ()
    """Features without input."""

    inputs: InputChecksums = ()
    """Id and checksum of every input file, frozen."""

    redo: bool = False
    """Whether it takes the place of a withdrawal notice."""

    predecessor: str = ""
    """Id of the same tile-day in an older version of the product; empty if there is none."""

    changed: tuple[str, ...] = ()
    """Of a stale day: parts of the fingerprint that differ (``inputs``, ``model``, …), and inputs that came
    (``+ID``) or went (``-ID``); empty where its item does not state them."""


@dataclass(frozen=True)
class Task:
    """One tile and month, or several months with few days: what a worker needs, by name."""

    model: str
    """Id of the model item."""

    tile: str
    """Tile id."""

    planned: tuple[PlannedDay, ...]
    """The days to make, in order, without their inputs: a worker finds these itself, and checks the fingerprint."""

    @property
    def days(self) -> tuple[ProductDay, ...]:
        """Days to make, in order."""
        return tuple(one.made for one in self.planned)

    @property
    def name(self) -> str:
        """Short name, e.g. ``h18v04 2019-07``, or ``h18v04 2019-03_2019-09`` of several months."""
        return f"{self.tile} {'_'.join(dict.fromkeys((self._month(0), self._month(-1))))}"

    def words(self, grid: TileGrid) -> str:
        """Return the words by which a message names the task: its tile with its box in degrees, and its months.

        Parameters
        ----------
        grid
            The grid of the tile.

        Returns
        -------
        str
            One line.
        """
        return f"{grid.describe(self.tile)} {' to '.join(dict.fromkeys((self._month(0), self._month(-1))))}"

    def _month(self, at: int) -> str:
        return f"{self.planned[at].made.day:%Y-%m}"


def days_schema() -> pa.Schema:
    """Return the columns of planned days without their inputs; few values occur often in most of them.

    Returns
    -------
    pyarrow.Schema
        One row a tile-day.
    """
    import pyarrow as pa

    text, few = pa.string(), pa.dictionary(pa.int32(), pa.string())
    columns = [("tile", few), ("day", pa.date32()), ("version", few), ("state", few), ("redo", pa.bool_())]
    columns += [("predecessor", text), ("blocked_by", pa.list_(text)), ("changed", pa.list_(text))]
    return pa.schema([*columns, ("fingerprint", text)])


def inputs_type() -> pa.DataType:
    """Return the type of the column of inputs.

    Returns
    -------
    pyarrow.DataType
        A list of (id, checksum).
    """
    import pyarrow as pa

    return pa.list_(pa.struct([("id", pa.string()), ("checksum", pa.string())]))


@dataclass(frozen=True)
class InputsChunk:
    """Some rows of planned days whose inputs lie together."""

    rows: int
    """How many."""

    load: InputsLoader
    """Reads their inputs."""


class PlannedDays(Sequence[PlannedDay]):
    """Planned days in columns; each is made when it is asked for, and its inputs are read then.

    Parameters
    ----------
    table
        Columns of `days_schema`.
    parts
        Where the inputs are, for all rows in their order; none where they are not needed.
    """

    def __init__(self, table: pa.Table, parts: Sequence[InputsChunk] = ()) -> None:
        self.table, self.parts = table, tuple(parts)

    @classmethod
    def of(cls, days: Iterable[PlannedDay]) -> PlannedDays:
        """Return the columns of records.

        Parameters
        ----------
        days
            Planned days, with their inputs.

        Returns
        -------
        PlannedDays
            In the same order.
        """
        import pyarrow as pa

        if isinstance(days, PlannedDays):
            return days
        rows = list(days)
        table = pa.Table.from_pylist([_row(day) for day in rows], schema=days_schema())
        pairs = [[{"id": id, "checksum": checksum} for id, checksum in day.inputs] for day in rows]
        inputs = pa.array(pairs, inputs_type())
        return cls(table, [InputsChunk(len(rows), lambda: inputs)])

    def only(self, states: Sequence[str]) -> PlannedDays:
        """Return the days in some states, without their inputs.

        Parameters
        ----------
        states
            Such as ``new`` and ``stale``.

        Returns
        -------
        PlannedDays
            In the same order.
        """
        return self._only("state", states)

    def of_tiles(self, tiles: Collection[str]) -> PlannedDays:
        """Return the days on some tiles, without their inputs.

        Parameters
        ----------
        tiles
            Tile ids.

        Returns
        -------
        PlannedDays
            In the same order.
        """
        return self._only("tile", tiles)

    def _only(self, column: str, values: Collection[str]) -> PlannedDays:
        import pyarrow as pa
        import pyarrow.compute as pc

        found = self.table[column].cast(pa.string())
        return PlannedDays(self.table.filter(pc.is_in(found, value_set=pa.array(list(values), pa.string()))))

    def made(self) -> Iterator[ProductDay]:
        """Yield tile, day, version and fingerprint of each.

        Yields
        ------
        ProductDay
            In their order.
        """
        for batch in self.table.select(["tile", "day", "version", "fingerprint"]).to_batches(4096):
            yield from map(ProductDay, *(column.to_pylist() for column in batch.columns))

    def ids(self) -> Iterator[list[str]]:
        """Yield item ids, of some thousand days at a time.

        Yields
        ------
        list of str
            In their order.
        """
        for batch in self.table.select(["tile", "day", "version"]).to_batches(8192):
            tiles, days, versions = (column.to_pylist() for column in batch.columns)
            rows = zip(tiles, days, versions, strict=True)
            runs = groupby(rows, key=lambda row: (row[0], row[2]))
            yield [id for (tile, version), run in runs for id in product_ids(tile, [row[1] for row in run], version)]

    def tasks(self, model: str) -> Iterator[Task]:
        """Yield the days in units of one tile and one month, without inputs.

        Months of a tile and year with one or two days each are put together while they have at most eight: they share
        what is read and looked up once a task.

        Parameters
        ----------
        model
            Id of the model item.

        Yields
        ------
        Task
            In their order.
        """
        bare = (_planned(row, ()) for row in _rows(self.table))
        few: tuple[PlannedDay, ...] = ()
        for (tile, year, _), days in groupby(bare, key=lambda d: (d.made.tile, d.made.day.year, d.made.day.month)):
            month = tuple(days)
            joins = few and (tile, year) == (few[0].made.tile, few[0].made.day.year)
            if few and not (joins and len(month) <= _FEW_DAYS and len(few) + len(month) <= _DAYS_TOGETHER):
                yield Task(model, few[0].made.tile, few)
                few = ()
            if len(month) > _FEW_DAYS:
                yield Task(model, tile, month)
            else:
                few += month
        if few:
            yield Task(model, few[0].made.tile, few)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[PlannedDay]:
        if not self.parts:
            yield from (_planned(row, ()) for row in _rows(self.table))
        first = 0
        for part in self.parts:
            rows = _rows(self.table.slice(first, part.rows))
            yield from (_planned(row, inputs) for row, inputs in zip(rows, _pairs(part.load()), strict=True))
            first += part.rows

    @overload
    def __getitem__(self, at: int) -> PlannedDay: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[PlannedDay]: ...
    def __getitem__(self, at: int | slice) -> PlannedDay | Sequence[PlannedDay]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        at = at + len(self) if at < 0 else at
        if not 0 <= at < len(self):
            raise IndexError(f"day {at} of {len(self)}")
        (row,) = _rows(self.table.slice(at, 1))
        return _planned(row, self._inputs(at))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlannedDays) and len(self) == len(other) and all(a == b for a, b in zip(self, other))  # noqa: B905

    __hash__ = None  # type: ignore[assignment]

    def _inputs(self, at: int) -> InputChecksums:
        for part in self.parts:
            if at < part.rows:
                return _pairs(part.load().slice(at, 1))[0]
            at -= part.rows
        return ()


def _rows(table: pa.Table) -> Iterator[Mapping[str, Any]]:
    for batch in table.to_batches(4096):
        yield from batch.to_pylist()


def _pairs(inputs: pa.Array) -> list[InputChecksums]:
    return [tuple((one["id"], one["checksum"]) for one in row) for row in inputs.to_pylist()]


def _row(day: PlannedDay) -> dict[str, Any]:
    made = day.made
    return {
        "tile": made.tile,
        "day": made.day,
        "version": made.version,
        "state": day.state,
        "redo": day.redo,
        "predecessor": day.predecessor,
        "blocked_by": list(day.blocked_by),
        "changed": list(day.changed),
        "fingerprint": made.fingerprint,
    }


def _planned(row: Mapping[str, Any], inputs: InputChecksums) -> PlannedDay:
    day: date = row["day"]
    return PlannedDay(
        ProductDay(row["tile"], day, row["version"], row["fingerprint"]),
        row["state"],
        tuple(row["blocked_by"]),
        inputs,
        row["redo"],
        row["predecessor"],
        tuple(row["changed"]),
    )
