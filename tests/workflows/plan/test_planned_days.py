"""Tasks of a plan: one tile and month each; months with few days are put together, and have names that say so."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from stac_sm.product.item import ProductDay
from stac_sm.workflows.plan.planned_days import PlannedDay, PlannedDays
from stac_sm.workflows.run.run_log import TaskRecord, read_task_records, write_task_record
from tests.support.fields import SMALL, new_catalog

START = date(2018, 1, 1)


def planned(tile: str, day: date) -> PlannedDay:
    return PlannedDay(ProductDay(tile, day, "001", "f"), "new")


def tasks_of(days):
    return list(PlannedDays.of([planned(tile, day) for tile, day in days]).tasks("m"))


@given(st.sets(st.tuples(st.sampled_from(["h00v00", "h01v01"]), st.integers(0, 800)), max_size=60))
def test_every_day_is_in_one_task_and_months_keep_together(chosen):
    days = sorted((tile, START + timedelta(at)) for tile, at in chosen)
    tasks = tasks_of(days)
    assert [(task.tile, made.day) for task in tasks for made in task.days] == days
    assert len({task.name for task in tasks}) == len(tasks)
    months = [{(task.tile, made.day.year, made.day.month) for made in task.days} for task in tasks]
    assert sum(map(len, months)) == len(set().union(*months))
    for task, held in zip(tasks, months, strict=True):
        if len(held) > 1:
            assert len(task.days) <= 8
            assert {(tile, year) for tile, year, _ in held} == {(task.tile, task.days[0].day.year)}
            assert max(sum(made.day.month == month for made in task.days) for _, _, month in held) <= 2


def test_scattered_days_make_few_tasks():
    """39 days over 24 months were 24 tasks."""
    days = [("h00v00", START + timedelta((2 * i + 1) * 730 // 78)) for i in range(39)]
    assert [(task.name, len(task.days)) for task in tasks_of(days)] == [
        ("h00v00 2018-01_2018-05", 8),
        ("h00v00 2018-06_2018-10", 8),
        ("h00v00 2018-11_2018-12", 3),
        ("h00v00 2019-01_2019-04", 7),
        ("h00v00 2019-05_2019-09", 8),
        ("h00v00 2019-10_2019-12", 5),
    ]


def test_a_task_of_one_month_has_the_name_that_it_had():
    (whole,) = tasks_of([("h01v01", START + timedelta(i)) for i in range(31)])
    (one,) = tasks_of([("h01v01", START)])
    assert whole.name == one.name == "h01v01 2018-01"
    assert one.words(SMALL).endswith(" 2018-01")
    (several,) = tasks_of([("h01v01", START), ("h01v01", date(2018, 3, 1))])
    assert several.words(SMALL).endswith(" 2018-01 to 2018-03")


def test_the_record_of_several_months_is_found_from_each(tmp_path):
    store = new_catalog(tmp_path / "p").store
    for name in ("h01v01 2018-02", "h01v01 2018-03_2018-05", "h00v00 2018-04_2018-06"):
        write_task_record(store, TaskRecord(name, "p", "r"))
    assert sorted(file.name for file in (tmp_path / "p/runs/2018-03").iterdir()) == ["h01v01.p.r.to-2018-05.json"]
    found = {
        month: [record.task for record in read_task_records(store, f"2018-0{month}", tile="h01v01", plan="p")]
        for month in range(1, 7)
    }
    several = ["h01v01 2018-03_2018-05"]
    assert found == {1: [], 2: ["h01v01 2018-02"], 3: several, 4: several, 5: several, 6: []}
    assert [record.task for record in read_task_records(store, "2018-06")] == ["h00v00 2018-04_2018-06"]
    assert not list(read_task_records(store, "2019-03"))
