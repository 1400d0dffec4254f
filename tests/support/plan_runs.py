"""Runs of plans whose tasks stay in this process, so that a test can patch what they do."""

from __future__ import annotations

import pytest

from stac_sm.workflows.run import run as runs
from stac_sm.workflows.run.run import run_plan
from stac_sm.workflows.run.task import run_task


def run_here(project, plan, **options):
    """`run_plan` with its tasks in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            runs,
            "task_records",
            lambda _, work: (run_task(work.folder, task, plan=work.plan, run=work.run) for task in work.tasks),
        )
        return run_plan(project, plan, **options)
