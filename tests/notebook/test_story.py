"""The notebook of the whole story runs on the demo, and prints and draws what it holds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support.demo_project import demo_project
from tests.support.notebooks import run_cells
from tests.support.readme_blocks import page_text

pytestmark = pytest.mark.xdist_group("demo")

STORY = Path(__file__).with_name("story.ipynb")


def printed(cells: Iterable[dict[str, Any]]) -> str:
    """What cells print: numbers, their signs and spaces do not count, since another release grows other trees."""
    text = "".join("".join(one.get("text", [])) for cell in cells for one in cell["outputs"])
    return re.sub(r"\s+", " ", re.sub(r"[-+]?\d+(?:\.\d+)?", "0", text))


def pictures(cells: Iterable[dict[str, Any]]) -> list[int]:
    return [sum(one["output_type"] == "display_data" for one in cell["outputs"]) for cell in cells]


def test_the_notebook_runs_on_the_demo_and_shows_what_it_holds():
    demo, _ = demo_project()
    held = [one for one in json.loads(STORY.read_text())["cells"] if one["cell_type"] == "code"]
    made = run_cells(STORY, demo.parent)
    assert printed(made) == printed(held)
    assert pictures(made) == pictures(held) == [0, 1, 1, 1, 0, 1]
    r, rmse = re.search(r"R (0\.\d+), RMSE (0\.\d+)", "".join(made[-1]["outputs"][0]["text"])).groups()
    assert float(r) > 0.4
    assert float(rmse) < 0.07


def test_the_notebook_has_the_format_that_programs_require():
    """4.5: each cell has an id of its own and its source in lines."""
    story = json.loads(STORY.read_text())
    assert (story["nbformat"], story["nbformat_minor"]) == (4, 5)
    cells = story["cells"]
    assert len({one["id"] for one in cells}) == len(cells)
    assert {one["cell_type"] for one in cells} == {"markdown", "code"}
    assert all({"execution_count", "outputs"} <= set(one) for one in cells if one["cell_type"] == "code")


def test_the_readme_leads_to_the_notebook():
    assert f"](tests/notebook/{STORY.name})" in page_text("README.md")
