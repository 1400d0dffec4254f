"""Measure the house: how many modules, how they hang together, and how far one reads to change something.

    uv run python tests/tools/house.py [--tree CHECKOUT] [--python PYTHON] [--project FOLDER] [--json] [--stacks]

Prints one table for a checkout of this repository: this one, or an older one (the script looks up both names of what
has been renamed). The figures are there to be looked at, they are no targets. Each figure has its rule beside it, in
the docstring of the function that counts it.

The paths from `run_plan` to the kernel and to the item's bytes are measured, not read from the code: a copy of the
project in ``tests/support/project_4977fae`` loses one product item, which is planned and made again in one process and
one thread. They need an environment in which that checkout runs: ``--python``, by default its own ``.venv``.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2]
PROJECT = HERE / "tests" / "support" / "project_4977fae" / "project"
LOST = "SM1KM.A2019062.h01v01.v001"

# What the measured run needs, by its name today and by its name in commit 4977fae.
RUN_PLAN = [("stac_sm.workflows.run.run", "run_plan"), ("stac_sm.run", "run_plan")]
READ_PROJECT = [("stac_sm.workflows.project", "read_project"), ("stac_sm.config", "read_project")]
READ_PLAN = [("stac_sm.workflows.plan.plan_file", "read_plan"), ("stac_sm.plan_file", "read_plan")]
ONE_PROCESS = [
    ("stac_sm.workflows.run.workers", "SingleProcessWorkers"),
    ("stac_sm.run.workers", "ThisProcess"),
]
KERNEL = [("stac_sm.model.forest.kernel", "evaluate"), ("stac_sm.forest.kernel_numba", "evaluate")]
WORTH_IT = [("stac_sm.model.forest.ensemble", "_WORTH_IT"), ("stac_sm.forest.ensemble", "_WORTH_IT")]

_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def main(arguments: list[str] | None = None) -> int:
    """Print the figures of a checkout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tree", type=Path, default=HERE, help="checkout to measure; this one by default")
    parser.add_argument("--python", help="interpreter that runs the checkout; its .venv by default")
    parser.add_argument(
        "--project", type=Path, default=PROJECT, help="project with the product item that is made again"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--stacks", action="store_true", help="print the functions on the way, too")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)  # in the checkout's interpreter
    given = parser.parse_args(arguments)
    tree = given.tree.resolve()
    if given.measure:
        print(json.dumps(measured_ways(tree, given.project)))
        return 0
    found = figures(tree) | {"ways": _ways(tree, given.python, given.project.resolve())}
    print(json.dumps(found, indent=2) if given.json else as_text(found, stacks=given.stacks))
    return 0


def figures(tree: Path) -> dict[str, Any]:
    """Everything that is read from the files of a checkout."""
    package = Package(tree)
    return {
        "tree": str(tree),
        "commit": _commit(tree),
        "modules": len(package.files),
        "folders": len({file.parent for file in package.files.values()} - {package.folder}),
        "modules_in_the_root": len(list(package.folder.glob("*.py"))),
        "layers": layers(tree),
        "modules_with_one_importer": sum(len(by) == 1 for by in package.importers().values()),
        "statement_lines": sum(statement_lines(text) for text in package.texts.values()),
        "to_change": {what: sorted(rule(package)) for what, rule in RULES.items()},
        "address_tests": sum(_address_tests(node) for node in package.nodes()),
    }


def as_text(found: dict[str, Any], *, stacks: bool = False) -> str:
    """Figures as lines for people."""
    names = {
        "modules": "modules",
        "folders": "folders",
        "modules_in_the_root": "modules side by side in the package root",
        "modules_with_one_importer": "modules with exactly one importer",
        "statement_lines": "statement lines without docstrings",
        "address_tests": 'tests of "://" in an address',
    }
    lines = [f"{found['tree']} at {found['commit']}"]
    lines += [f"{found[key]:>8,}  {name}" for key, name in names.items()]
    total, single = found["layers"]["layers"], found["layers"]["of_one"]
    lines.append(f"{total:>8,}  layers of the import contract, {single} of them with one entry")
    lines += [f"{len(files):>8,}  files to open to {what}" for what, files in found["to_change"].items()]
    for end, way in found["ways"].items():
        if isinstance(way, str):
            lines.append(f"       -  from run_plan to {end}: {way}")
            continue
        lines.append(f"{way['calls']:>8,}  calls in {way['modules']} modules from run_plan to {end}")
        lines += [f"            {step}" for step in way["steps"] if stacks]
    if stacks:
        for what, files in found["to_change"].items():
            lines += [f"{what}:", *(f"            {file}" for file in files)]
    return "\n".join(lines)


class Package:
    """The modules of a checkout: names, files, texts and syntax trees without docstrings."""

    def __init__(self, tree: Path) -> None:
        self.tree, self.folder = tree, tree / "stac_sm"
        self.files = {_module_name(tree, file): file for file in sorted(self.folder.rglob("*.py"))}
        self.texts = {name: file.read_text(encoding="utf-8") for name, file in self.files.items()}
        self.trees = {name: without_docstrings(ast.parse(text)) for name, text in self.texts.items()}
        self.modules = [
            name for name, file in self.files.items() if file.name != "__init__.py" or self.trees[name].body
        ]

    def nodes(self) -> Iterator[ast.AST]:
        """All nodes of all modules."""
        for found in self.trees.values():
            yield from ast.walk(found)

    def path(self, module: str) -> str:
        """Path of a module below the checkout."""
        return self.files[module].relative_to(self.tree).as_posix()

    def imports(self, module: str) -> set[str]:
        """Modules of the package that a module imports, at its top or within a function."""
        found = set()
        for node in ast.walk(self.trees[module]):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= {name if name in self.files else node.module for name in inner}
        return {name for name in found if name in self.files and name != module}

    def importers(self) -> dict[str, set[str]]:
        """Modules that import each module, by its name; `__init__` of the package, which only lists names, left out."""
        found: dict[str, set[str]] = {name: set() for name in self.modules if name != "stac_sm"}
        for module in self.files:
            for other in self.imports(module):
                if other in found:
                    found[other].add(module)
        return found


def layers(tree: Path) -> dict[str, int]:
    """Count the layers of the import contracts of type ``layers``, and those with one entry."""
    settings = tomllib.loads((tree / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    listed = [layer for contract in contracts if contract["type"] == "layers" for layer in contract["layers"]]
    return {"layers": len(listed), "of_one": sum(not re.search(r"[|:]", layer) for layer in listed)}


def statement_lines(text: str) -> int:
    """Count the lines of a module that hold code: no blank lines, comments or docstrings."""
    told = [node for node in ast.walk(ast.parse(text)) if _is_text(node)]
    docstrings = {line for node in told for line in range(node.lineno, node.end_lineno + 1)}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    code = {line for one in tokens if one.type not in _NO_CODE for line in range(one.start[0], one.end[0] + 1)}
    return len(code - docstrings)


def without_docstrings(tree: ast.Module) -> ast.Module:
    """Take out the strings that stand for themselves: docstrings of modules, classes, functions and fields."""
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            if isinstance(getattr(node, name, None), list):
                kept = [one for one in getattr(node, name) if not _is_text(one)]
                setattr(node, name, kept)
    return tree


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


# --- what one opens to change something ----------------------------------------------------------------------------


def to_change_nodata(package: Package) -> set[str]:
    """Modules that give a number to something called nodata, and JSON of the product's collections that holds one.

    Providers and the simulation have the nodata of others: they are left out.
    """
    found = {m for m in _own(package) if any(_gives_nodata(node) for node in ast.walk(package.trees[m]))}
    files = (file for file in (package.tree / "catalog").glob("sm-1km-*/collection.json"))
    held = {file.relative_to(package.tree).as_posix() for file in files if '"nodata"' in file.read_text()}
    return {package.path(module) for module in found} | held


def to_add_a_provider(package: Package) -> set[str]:
    """The new module, and modules that import at least half of the providers' modules."""
    (known,) = (m for m in package.files if re.search(r"\.(ingest\.providers|sources)\.soilgrids$", m))
    folder = known.rpartition(".")[0]
    beside = {m for m in package.files if m.startswith(f"{folder}.")}
    providers = {m for m in beside if any(_has_patterns(node) for node in ast.walk(package.trees[m]))}
    listing = {m for m in package.files if len(package.imports(m) & providers) * 2 >= len(providers)}
    return {package.path(module) for module in listing} | {f"{folder.replace('.', '/')}/NEW.py"}


def to_add_a_readable_catalogue(package: Package) -> set[str]:
    """The new module, and modules that make the catalogue of an API or of a file: those that choose the kind."""
    return _with_new(package, _calls(package, {"ApiCatalog", "GeoParquetCatalog"}))


def to_add_a_writable_store(package: Package) -> set[str]:
    """The new module, and modules that know of which kinds stores are.

    They ask for its class, its root's scheme or ``s3://``, or name the kind ``S3`` of the table of addresses.
    """
    return _with_new(package, {m for m in package.files if any(_asks_store(n) for n in ast.walk(package.trees[m]))})


def to_add_an_output_asset(package: Package) -> set[str]:
    """Modules and collections that name the asset ``uncertainty``, which the prediction computes.

    A module names it by a string, a parameter, an argument or a variable. It is more than a new asset needs that is
    computed from what is there: that takes the first two files of CONTRIBUTING.
    """
    found = {m for m in _own(package) if any(_names(node, {"uncertainty"}) for node in ast.walk(package.trees[m]))}
    document = json.loads((package.tree / "catalog" / "sm-1km-daily" / "collection.json").read_text())
    held = {"catalog/sm-1km-daily/collection.json"} if "uncertainty" in document["item_assets"] else set()
    return {package.path(module) for module in found} | held


def to_add_a_learner(package: Package) -> set[str]:
    """The new module, and modules that know that a model is XGBoost's.

    They import it, or name it, its linear booster or its file format: ``xgboost``, ``xgb``, ``gblinear``, ``ubjson``.
    """
    known = {"xgboost", "xgb", "gblinear", "ubj", "ubjson", "xgboost-cpu"}
    found = {m for m in package.files if any(_names(node, known) for node in ast.walk(package.trees[m]))}
    return _with_new(package, found)


RULES = {
    "change nodata": to_change_nodata,
    "add a provider": to_add_a_provider,
    "add a readable catalogue": to_add_a_readable_catalogue,
    "add a writable catalogue": to_add_a_writable_store,
    "add an output asset": to_add_an_output_asset,
    "add a learner": to_add_a_learner,
}


def _with_new(package: Package, modules: set[str]) -> set[str]:
    return {package.path(module) for module in modules} | {"NEW.py"}


def _own(package: Package) -> list[str]:
    """Modules that know the product: neither providers and their formats, nor the simulation."""
    others = {"ingest", "sources", "simulate"}
    return [module for module in package.files if not others & set(module.split("."))]


def _has_patterns(node: ast.AST) -> bool:
    """Whether a node is a provider's field: the names of the files that it takes."""
    return isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "patterns" and node.value is not None


def _gives_nodata(node: ast.AST) -> bool:
    if isinstance(node, ast.keyword):
        pairs = [(node.arg or "", node.value)]
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
        pairs = [(node.target.id, node.value)]
    elif isinstance(node, ast.Assign):
        pairs = [(target.id, node.value) for target in node.targets if isinstance(target, ast.Name)]
    else:
        return False
    return any(name.lower().endswith("nodata") and _is_number(value) for name, value in pairs)


def _is_number(node: ast.AST) -> bool:
    value = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(value, ast.Constant) and isinstance(value.value, int | float)


def _calls(package: Package, names: set[str]) -> set[str]:
    """Modules that call something of these names."""
    calls = ((m, node.func) for m in package.files for node in ast.walk(package.trees[m]) if isinstance(node, ast.Call))
    return {m for m, function in calls if getattr(function, "id", getattr(function, "attr", "")) in names}


def _asks_store(node: ast.AST) -> bool:
    """Whether an expression asks of which kind a store is."""
    if "S3" in (getattr(node, "id", ""), getattr(node, "name", "")) and not isinstance(node, ast.ClassDef):
        return True
    if isinstance(node, ast.Compare):
        return _address_tests(node) > 0 and getattr(node.comparators[0], "attr", "") == "root"
    if not isinstance(node, ast.Call):
        return False
    if getattr(node.func, "attr", "") == "startswith":
        return any(isinstance(one, ast.Constant) and one.value == "s3://" for one in node.args)
    of_class = getattr(node.func, "id", "") == "isinstance" and len(node.args) == 2
    return of_class and bool({"LocalStore", "S3Store"} & {getattr(n, "id", "") for n in ast.walk(node.args[1])})


def _address_tests(node: ast.AST) -> int:
    """1 for ``"://" in …`` and ``"://" not in …``."""
    asks = isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn)
    return int(asks and isinstance(node.left, ast.Constant) and node.left.value == "://")


def _names(node: ast.AST, names: set[str]) -> bool:
    """Whether a node is one of these names: a string, a variable, a parameter, a field, or an import."""
    if isinstance(node, ast.alias):
        return node.name.partition(".")[0] in names
    found = [getattr(node, key, None) for key in ("id", "attr", "arg")]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        found.append(node.value)
    return any(one in names for one in found if isinstance(one, str))


# --- the way of a day ----------------------------------------------------------------------------------------------


def _ways(tree: Path, python: str | None, project: Path) -> dict[str, Any]:
    """The measured ways, by another interpreter; where they cannot be measured, why."""
    own = tree / ".venv" / "bin" / "python"
    program = python or (str(own) if own.exists() else sys.executable)
    scratch = tempfile.mkdtemp(prefix="stac-sm-house-")
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    if tree != HERE:  # nothing is written into another checkout
        environment["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / "stac-sm-house-numba")
    try:
        if not project.is_dir():
            return {"the kernel": f"no project at {project}", "the item's bytes": f"no project at {project}"}
        copy = shutil.copytree(project, Path(scratch, "project"))
        shutil.rmtree(next(file.parent for file in copy.rglob(f"{LOST}.json")))
        plan = [program, "-m", "stac_sm", "plan", "--project", str(copy), "--out", str(Path(scratch, "plan.parquet"))]
        measure = [program, __file__, "--measure", "--tree", str(tree), "--project", str(copy)]
        for command in (plan, measure):
            done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                told = done.stderr.strip().splitlines()[-1:] or ["no message"]
                return {"the kernel": told[0], "the item's bytes": told[0]}
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    finally:
        shutil.rmtree(scratch)


def measured_ways(tree: Path, project: Path) -> dict[str, Any]:
    """Make the lost day of a project in this process; return the calls that led to the kernel and to the item's bytes.

    Counted are frames of functions of the package, from `run_plan` (not counted) to the call of the kernel or to the
    moment when the item's JSON gets its name in the store (an open for writing, a link or a rename, as Python's audit
    hooks report them). Comprehensions are no calls. Dask works in the same thread, so that no call is lost on the way.
    """
    import dask.base
    import dask.local

    dask.base.named_schedulers["threads"] = dask.local.get_sync
    stacks: dict[str, list[str]] = {}

    def record(end: str) -> None:
        stacks[end] = _frames(tree / "stac_sm")

    module, name = _home(KERNEL)
    kernel = getattr(module, name)

    def entered(*values: Any) -> Any:
        record("the kernel")  # the last call counts: the first one compares a sample with XGBoost
        return kernel(*values)

    def written(event: str, values: tuple[Any, ...]) -> None:
        named = event in {"os.link", "os.rename"} and str(values[1]).endswith(f"{LOST}.json")
        opened = event == "open" and str(values[0]).endswith(f"{LOST}.json") and set(str(values[1])) & set("wxa")
        if named or opened:
            record("the item's bytes")

    setattr(module, name, entered)
    setattr(*_home(WORTH_IT), 0)  # a day this small would not pay for the kernel's start-up
    sys.addaudithook(written)
    run, read, plan, one = (getattr(*_home(homes)) for homes in (RUN_PLAN, READ_PROJECT, READ_PLAN, ONE_PROCESS))
    run(read(str(project)), plan(str(project.parent / "plan.parquet")), workers=one())
    return {end: _way(stacks.get(end)) for end in ("the kernel", "the item's bytes")}


def _home(places: list[tuple[str, str]]) -> tuple[Any, str]:
    """Module that holds a name, and the name: the first that is there."""
    for module, name in places:
        try:
            return importlib.import_module(module), name
        except ModuleNotFoundError:
            continue
    raise SystemExit(f"none of {', '.join(f'{module}.{name}' for module, name in places)} is there: add its new place")


def _frames(package: Path) -> list[str]:
    """Functions of the package on the stack, from `run_plan` to the innermost, as ``module.function``."""
    found, frame = [], sys._getframe(2)
    while frame is not None:
        code, file = frame.f_code, Path(frame.f_code.co_filename)
        if file.is_relative_to(package) and not re.fullmatch(r"<(list|set|dict)comp>|<genexpr>|<module>", code.co_name):
            module = _module_name(package.parent, file)
            found.append(f"{module}.{getattr(code, 'co_qualname', code.co_name).replace('.<locals>', '')}")
        frame = frame.f_back
    names = found[::-1]
    first = next((i for i, name in enumerate(names) if name.endswith(".run_plan")), 0)
    return names[first:]


def _way(stack: list[str] | None) -> dict[str, Any] | str:
    """Calls and modules of a stack that begins with `run_plan`; the end itself is one more call."""
    if stack is None:
        return "it was not reached"
    modules = {_module_of(step) for step in stack}
    return {"calls": len(stack), "modules": len(modules), "steps": stack}


def _module_of(step: str) -> str:
    """The part of ``package.module.Class.function`` that is a module: all parts in small letters but the last."""
    parts = step.split(".")[:-1]
    while parts and (parts[-1][0].isupper() or parts[-1].startswith(("_", "<"))):
        parts.pop()
    return ".".join(parts)


def _module_name(tree: Path, file: Path) -> str:
    parts = file.relative_to(tree).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _commit(tree: Path) -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=tree, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "no commit"


if __name__ == "__main__":
    sys.exit(main())
