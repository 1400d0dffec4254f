"""What the package imports is what pyproject.toml declares: nothing by chance, nothing unused."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.support.readme_blocks import blocks_of

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


TAKEN_BY_OTHERS = {"httptools", "uvloop"}
"""Packages that nobody of ours imports: uvicorn takes them where they are installed."""


PAGES_OF_USERS = ("README.md", "catalog/README.md", "stac_sm/README.md", "infra/README.md")


def imported():
    """Names of the distributions that the modules of the package import, at the top or within a function."""
    return distributions(file.read_text() for file in (ROOT / "stac_sm").rglob("*.py"))


def documented():
    """Those that the Python in the pages for users imports."""
    blocks = [block for page in PAGES_OF_USERS for block in blocks_of(page) if block.language == "python"]
    assert len(blocks) > 4
    return distributions(block.text for block in blocks)


def distributions(programs):
    """Names of the distributions that programs import."""
    found = set()
    for text in programs:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    others = {name for name in found if name.split(".")[0] not in {*sys.stdlib_module_names, "stac_sm"}}
    known = packages_distributions()
    return {min(_providers(name, known), key=len) for name in others}


def _providers(name, known):
    """Distributions that a module may come from; of a namespace, the one that is called like its part."""
    top, _, rest = name.partition(".")
    found = {_canonical(one) for one in known.get(top, [top])}
    part = {one for one in found if rest and one == f"{top}-{rest.split('.')[0]}".replace("_", "-")}
    return part or found


def _canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements):
    return {_canonical(re.match(r"[\w.-]+", one)[0]) for one in requirements}


def test_imports_are_declared_and_the_other_way_round():
    extras = declared(one for listed in PROJECT["optional-dependencies"].values() for one in listed)
    always, found = declared(PROJECT["dependencies"]), imported()
    assert found - always - extras == set(), "imported, and not declared in pyproject.toml"
    assert always - found - documented() == TAKEN_BY_OTHERS, "declared in pyproject.toml, and imported nowhere"


def test_a_plain_install_has_what_the_documented_python_imports():
    assert documented() - declared(PROJECT["dependencies"]) == set()


def test_every_requirement_has_a_lower_bound():
    assert [one for one in PROJECT["dependencies"] if not re.search(r">=|==", one)] == []
