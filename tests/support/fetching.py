"""A project to fetch for, and what a fetch of one of its sources did."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from stac_sm.core.period import Period
from stac_sm.ingest.pipeline import ingest_sorted
from stac_sm.workflows.fetch import FetchResult, carry_out, plan_fetch
from stac_sm.workflows.project import Project, create_project

TODAY = date(2018, 7, 20)
BOX = (11.0, 46.0, 11.2, 46.2)

FEATURE = """
[[recipe.features]]
name = "{name}"
collection = "{collection}"
asset = "{asset}"
time = "{time}"
resampling = "{resampling}"
"""


def project_with(folder: Path, *features: tuple[str, ...], more: str = "") -> Project:
    """A project whose recipe has features of (collection, asset, time)."""
    text = "[recipe]\n" + "".join(
        FEATURE.format(name=f"f{i}", collection=collection, asset=asset, time=time, resampling="bilinear")
        for i, (collection, asset, time) in enumerate(features)
    )
    return create_project(folder, text + more)


def listed(project: Project, source: str, period: str = "2018-06-01/2018-06-03", today: date = TODAY, **place):
    """What a source is asked for."""
    return plan_fetch(project, source, period=Period.parse(period), today=today, **(place or {"bbox": BOX}))


def fetched(project: Project, source: str, *args, **place) -> list[FetchResult]:
    """What came of it."""
    return carry_out(listed(project, source, *args, **place))


def taken_in(project: Project, results: list[FetchResult]) -> list[str]:
    """Outcome of each file that was fetched, when it is ingested."""
    done = ingest_sorted(project.catalog, [one.request.file for one in results if one.has_file])
    assert [one.error for one in done if one.error] == []
    return [one.status for one in done if not one.unused]
