"""Write what a run has done for Prometheus: into a file that its node exporter reads, or to a push gateway."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Gauge, push_to_gateway, write_to_textfile

from stac_sm.core.errors import InputError
from stac_sm.storage.signing import without_secrets
from stac_sm.workflows.run.run import PlanSlice, RunReport

_JOB = "stac_sm_run"


def write_run_metrics(report: RunReport, target: str, part: PlanSlice | None = None) -> None:
    """Write the counts of a run, in the place of those of the run before; at a gateway, of the same slice.

    Parameters
    ----------
    report
        What became of the tile-days.
    target
        File whose name ends with ``.prom``, or the address of a push gateway, ``http://HOST:9091``.
    part
        Slice of the plan that was run; None: all of it.

    Raises
    ------
    InputError
        If the file cannot be written or the gateway does not take them; the run itself is done.
    """
    registry = CollectorRegistry()
    days = Gauge("stac_sm_run_tile_days", "Tile-days of the last run", ("outcome",), registry=registry)
    for outcome, number in {**report.outcomes, "failed": len(report.failures), "blocked": report.blocked}.items():
        days.labels(outcome).set(number)
    Gauge("stac_sm_run_tasks", "Tile-months of the last run", registry=registry).set(len(report.records))
    seconds = Gauge("stac_sm_run_task_seconds", "Time of its tasks, added up", registry=registry)
    seconds.set(sum(record.seconds for record in report.records))
    Gauge("stac_sm_run_ended_timestamp_seconds", "When it ended", registry=registry).set_to_current_time()
    try:
        if urlsplit(target).scheme in {"http", "https"}:
            place = {} if part is None else {"slice": str(part.index)}
            push_to_gateway(target, job=_JOB, registry=registry, grouping_key=place)
        else:
            write_to_textfile(str(Path(target)), registry)
    except (OSError, URLError) as error:
        raise InputError(
            f"--metrics {without_secrets(target)}: cannot be written ({error}); the run itself is done"
        ) from error
