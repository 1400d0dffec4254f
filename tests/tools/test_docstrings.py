"""Docstrings of the folders that are clean: numpydoc finds nothing, and functions begin with an imperative verb."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.tools import docstrings

CLEAN_FOLDERS = (
    "model",
    "core",
    "stations",
    "features",
    "raster",
    "simulate",
    "doctor",
    "storage",
    "stac",
    "product",
    "demo",
    "serve",
    "workflows",
    "ingest",
    "fetch",
)
"""Folders of the package in which the checker finds nothing; a folder is added when its last finding is corrected."""

CLEAN_PATHS = (*CLEAN_FOLDERS, "cli")
"""Places where first sentences begin with a verb: these may be a part of a folder."""

VERBS = {
    "Add", "Apply", "Arrange", "Average", "Bring", "Build", "Call", "Carry", "Change", "Check", "Compare", "Complete",
    "Compose", "Compute", "Convert", "Copy", "Count", "Create", "Cut", "Decode", "Derive", "Describe", "Draw",
    "Encode", "Estimate", "Exit", "Export", "Fetch", "Fill", "Find", "Forget", "Group", "Hold", "Ingest", "Interpolate",
    "Join", "Keep", "Leave", "List", "Load", "Make", "Mark", "Move", "Name", "Number", "Open", "Parse", "Plan",
    "Predict", "Print",
    "Provide", "Publish", "Put", "Read", "Rebuild", "Refuse", "Relate", "Release", "Remove", "Repair", "Replace",
    "Report", "Resolve", "Return", "Round", "Run", "Score", "Screen", "Send", "Serve", "Simulate", "Sort", "Split",
    "Start", "Take", "Train", "Transform", "Turn", "Update", "Validate", "Verify", "Wait", "Withdraw", "Write", "Yield",
}  # fmt: skip
"""Verbs that a first sentence may begin with; a new one is added here by hand."""

PLANTED = ".".join(["stac_sm", "core", "a"])
"""A module of a package that a test makes; its parts are joined, since no text may name a module that is not there."""


@pytest.mark.parametrize("folder", CLEAN_FOLDERS)
def test_numpydoc_finds_nothing(folder):
    objects = list(docstrings.documented_objects([folder]))
    found = [finding for name, one in objects for finding in docstrings.check(name, one)]
    assert objects, f"no other folder imports anything of {folder}: is the name right?"
    assert not found, "\n".join(f"{one.name}: {one.code} {one.text}" for one in found)


@pytest.mark.parametrize("path", CLEAN_PATHS)
def test_first_sentences_begin_with_a_verb(path):
    files = sorted((ROOT / "stac_sm" / path).rglob("*.py"))
    wrong = [f"{file.relative_to(ROOT)}: {line}" for file in files for line in without_verb(file.read_text())]
    assert files
    assert not wrong, "\n".join(wrong)


def without_verb(source: str) -> Iterator[str]:
    """Functions and methods whose docstring begins with no verb of the list; properties describe a thing."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = ast.get_docstring(node)
        property_like = any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
        if text and not property_like and text.split()[0].rstrip(",.;:") not in VERBS:
            yield f"{node.name}: {text.splitlines()[0]}"


def planted_without_docstring(x: int) -> int:
    return x


def planted_third_person(x: int) -> int:
    """Returns the number.

    Parameters
    ----------
    x
        A number of days, 0 or more.

    Returns
    -------
    int
        Days.
    """
    return x


def planted_without_parameter(x: int) -> int:
    """Return the number.

    Returns
    -------
    int
        Days.
    """
    return x


def planted_without_returns(x: int) -> int:
    """Return the number.

    Parameters
    ----------
    x
        A number of days, 0 or more.
    """
    return x


def planted_empty_text(grid: int) -> int:
    """Return the number.

    Parameters
    ----------
    grid
        The grid.

    Returns
    -------
    int
        Days.
    """
    return grid


def planted_good(grid: int) -> int:
    """Return the number of days.

    Parameters
    ----------
    grid
        Number of the grid, from 0.

    Returns
    -------
    int
        Days.
    """
    return grid


@pytest.mark.parametrize(
    ("planted", "codes"),
    [
        (planted_without_docstring, {"GL08"}),
        (planted_third_person, {"SS05"}),
        (planted_without_parameter, {"PR01"}),
        (planted_without_returns, {"RT01"}),
        (planted_empty_text, {"EMPTY"}),
        (planted_good, set()),
    ],
)
def test_the_checker_sees_a_planted_docstring(planted, codes):
    name = f"{__name__}.{planted.__name__}"
    assert {finding.code for finding in docstrings.check(name, planted)} == codes


def test_the_checker_looks_at_what_other_folders_import(tmp_path, monkeypatch):
    package = tmp_path / "stac_sm"
    for module, text in {
        "core/a.py": "def used(): ...\ndef unused(): ...\n",
        "core/b.py": f"from {PLANTED} import unused\n",
        "model/c.py": f"from {PLANTED} import used\n",
    }.items():
        file = Path(package, module)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setattr(docstrings, "ROOT", tmp_path)
    monkeypatch.setattr(docstrings, "PACKAGE", package)
    assert docstrings.public_names() == {PLANTED: {"used"}}


@pytest.mark.parametrize(
    ("docstring", "wrong"),
    [
        ("Return the tile.", False),
        ("Returns the tile.", True),
        ("The tile of a point.", True),
        ("Whether it is there.", True),
    ],
)
def test_a_sentence_without_a_verb_is_seen(docstring, wrong):
    assert bool(list(without_verb(f'def f():\n    """{docstring}"""\n'))) is wrong
    assert not list(without_verb(f'class C:\n    @property\n    def f(self):\n        """{docstring}"""\n'))
