"""Hooks of pytest: a skip is a failure in CI; elsewhere one line at the end says what was left out and how to run it.

Only a processor without some instructions is no fault of CI's: the reason of such a skip begins with ``hardware:``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.long_files import left_out
from tests.support.missing import IN_CI, MISSING, REAL_DATA

INSTALL = "bash tests/integration/install.sh"
"""Installs whatever tests need beside ``uv sync``, on Debian 12, as root or with sudo."""

_HARDWARE = "hardware:"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """Make a failure of a skip in CI."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail") and not _reason(report).startswith(_HARDWARE):
        reason = _reason(report)
        report.outcome, report.longrepr = "failed", f"{item.nodeid} is skipped, and in CI nothing may be: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[Any]:
    """Make a failure of a file that is skipped in CI."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome, report.longrepr = "failed", f"{collector.nodeid} is skipped, and in CI nothing may be"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was left out, and how to install or run it."""
    reasons = [_reason(report) for report in terminalreporter.stats.get("skipped", [])]
    missing = [reason.removeprefix(MISSING) for reason in reasons if reason.startswith(MISSING)]
    said = []
    data = [reason for reason in missing if reason.startswith(REAL_DATA)]
    if data:
        said.append(f"{len(data)} tests on real data ({data[0].partition(': ')[2]})")
    missing = [reason for reason in missing if reason not in data]
    if missing:
        names = ", ".join(sorted({reason.partition(":")[0] for reason in missing}))
        said.append(f"{len(missing)} tests that need {names} (`{INSTALL}` installs them)")
    if files := left_out():
        said.append(f"the {len(files)} files of tests that take longest (`uv run pytest --all` runs them)")
    if said:
        terminalreporter.write_line(f"left out: {'; '.join(said)}")


def _reason(report: Any) -> str:
    return str(report.longrepr[2]).removeprefix("Skipped: ")
