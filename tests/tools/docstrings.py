"""Check the docstrings that readers from other folders meet, by numpydoc.

    python tests/tools/docstrings.py [FOLDER ...] [--json]

Public is what ``stac_sm`` exports and every function, class and public method of a class that a module of another
folder imports. Of these numpydoc's GL08 (there is one), SS05 (the first sentence is no third person), PR01 (every
parameter is documented) and RT01 (what is returned is documented) must hold; and a parameter's text must say more than
its name and type. Exit code 1 if something is found.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "stac_sm"
CODES = ("GL08", "SS05", "PR01", "RT01")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one docstring."""

    name: str
    """Dotted name of the object."""

    code: str
    """Of numpydoc, or ``EMPTY`` for a parameter text that only repeats name and type."""

    text: str
    """What is wrong."""


def _folder(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def public_names() -> dict[str, set[str]]:
    """Return the names of each module that another folder imports, or that ``stac_sm`` exports."""
    found: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        for node in ast.walk(ast.parse(file.read_text())):
            ours = isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stac_sm.")
            if ours and _folder(node.module) != _folder(module):
                found.setdefault(node.module, set()).update(alias.name for alias in node.names)
    return found


def documented_objects(folders: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield the dotted name of each public function, class and method of a class, and the object."""
    for module, names in sorted(public_names().items()):
        if folders and _folder(module) not in folders:
            continue
        loaded = importlib.import_module(module)
        for name in sorted(names):
            one = getattr(loaded, name, None)
            if getattr(one, "__module__", None) != module:
                continue  # a constant or a type alias
            if inspect.isfunction(one):
                yield f"{module}.{name}", one
            elif inspect.isclass(one):
                yield f"{module}.{name}", one
                for member, value in vars(one).items():
                    function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
                    if not member.startswith("_") and inspect.isfunction(function):
                        yield f"{module}.{name}.{member}", function


def check(name: str, one: Any) -> Iterator[Finding]:
    """Yield what is wrong with the docstring of one object."""
    from numpydoc.validate import validate

    for code, text in validate(name)["errors"]:
        if code in CODES and not (code in {"PR01", "RT01"} and inspect.isclass(one)):
            yield Finding(name, code, text)
    for parameter, text in _parameter_texts(inspect.getdoc(one) or ""):
        words = set(re.findall(r"[a-z0-9]+", text.lower())) - {"the", "a", "an", "of", "this"}
        if not words - set(re.findall(r"[a-z0-9]+", parameter.lower().replace("_", " "))):
            yield Finding(name, "EMPTY", f"parameter {parameter}: {text!r} says no more than its name")


def _parameter_texts(doc: str) -> Iterator[tuple[str, str]]:
    section = re.search(r"Parameters\n-{10}\n(.*?)(?:\n\n\w+\n-{3,}\n|\Z)", doc, re.DOTALL)
    if section:
        for match in re.finditer(r"(?m)^(\S[^\n]*)\n((?: +[^\n]*\n?|\n)*)", section[1] + "\n"):
            yield match[1].partition(" :")[0], " ".join(match[2].split())


def main(arguments: list[str]) -> int:
    """Print what is found; 1 if there is something."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="folders of stac_sm; all unless given")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    objects = list(documented_objects(asked.folders))
    found = [finding for name, one in objects for finding in check(name, one)]
    if asked.json:
        print(json.dumps({"objects": len(objects), "findings": [vars(one) for one in found]}, indent=1))
    else:
        for one in found:
            print(f"{one.name}: {one.code} {one.text}")
        print(f"{len(objects)} public objects, {len(found)} findings")
    return bool(found)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))
