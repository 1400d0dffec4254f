"""The honest report of a model: one page that needs nothing else, and its numbers as JSON. Same input, same bytes."""

from __future__ import annotations

from pathlib import Path

from stac_sm.report.given import NOMINAL, Report

__all__ = ["NOMINAL", "Report", "write_report"]


def write_report(folder: Path, report: Report) -> dict[str, Path]:
    """Write ``report.html`` and ``metrics.json``.

    Parameters
    ----------
    folder
        An existing folder; files of these names are replaced.
    report
        What to tell.

    Returns
    -------
    dict
        ``report`` and ``metrics``: where the two files lie.

    Raises
    ------
    InputError
        If intervals belong to no scored row.
    """
    from matplotlib.style import context

    from stac_sm.report.findings import Findings
    from stac_sm.report.page import page
    from stac_sm.tables import to_json

    findings = Findings(report)
    files = {"report": folder / "report.html", "metrics": folder / "metrics.json"}
    files["metrics"].write_text(to_json(findings.to_dict()) + "\n", encoding="utf-8", newline="\n")
    with context("default"):  # a matplotlibrc of the user must not change the page
        text = page(findings)
    files["report"].write_text(text, encoding="utf-8", newline="\n")
    return files
