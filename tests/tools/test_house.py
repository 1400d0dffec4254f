"""The house and its tests: 16 folders, each module tested where its name says, and nothing that names an old place."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

PACKAGE, TESTS = ROOT / "stac_sm", ROOT / "tests"
FOLDERS = {
    "cli", "serve", "simulate", "demo", "doctor", "workflows", "fetch", "ingest", "stations", "model", "product",
    "features", "stac", "raster", "storage", "core",
}  # fmt: skip
README = TESTS / "README.md"
MODULES = sorted(
    file.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("*.py") if not file.name.startswith("__")
)


def tracked(*patterns: str) -> list[Path]:
    """Files that git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_the_package_root_holds_sixteen_folders_and_no_module():
    inside = {file.relative_to(PACKAGE).parts for file in tracked("stac_sm")}
    assert {parts[0] for parts in inside if len(parts) > 1} == FOLDERS
    assert {parts[0] for parts in inside if len(parts) == 1} == {
        "__init__.py", "__main__.py", "py.typed", "README.md", "DECISIONS.md",
    }  # fmt: skip


def test_no_init_of_a_folder_holds_logic():
    """So that `from stac_sm.model import ...` of old is not there, and importing a folder costs nothing."""
    for file in PACKAGE.glob("*/**/__init__.py"):
        body = ast.parse(file.read_text()).body
        assert len(body) == 1, file
        assert ast.get_docstring(ast.parse(file.read_text())), file


# --- old places ------------------------------------------------------------------------------------------------------


@functools.cache
def names_in(module: Path) -> set[str]:
    """Names that a module defines or imports at its top."""
    nodes = list(ast.walk(ast.parse(module.read_text())))
    found = {node.name for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return found


@functools.cache
def is_there(name: str) -> bool:
    """Whether a dotted name is a module, or something that a module holds."""
    first, *rest = name.split(".")
    place = ROOT / first
    for i, part in enumerate(rest):
        if (place / part).is_dir():
            place = place / part
        elif (place / f"{part}.py").is_file():
            return i + 1 == len(rest) or rest[i + 1] in names_in(place / f"{part}.py")
        else:
            return part in names_in(place / "__init__.py") or (part.startswith("__") and part.endswith("__"))
    return True


IMPORT = re.compile(r"\bfrom ((?:stac_sm|tests)(?:\.\w+)*) import (?:\(([^)]*)\)|([^\n;\"'#]+))")
DOTTED = re.compile(r"(?<![\w./\\-])stac_sm(?:\.[A-Za-z_]\w*)+")
FILE = re.compile(r"(?<![\w./-])((?:stac_sm|tests)/[\w/-]*[\w-](?:\.(?:py|sh|toml|json|mjs|md|ipynb))?)(?![\w*])")
HISTORY = {"CHANGELOG.md", "DECISIONS.md", "CONTRIBUTING.md", "fixture_project.py", "house.py", "test_house_measure.py"}
"""They name what was there at their time, or in another checkout; tests/tools/test_habits.py checks CONTRIBUTING."""

NO_MODULES = {"stac_sm.egg", "stac_sm.predcit", "stac_sm.__file__", "stac_sm.__path__"}


def named_places(text: str) -> set[str]:
    """Modules, names and files of ours that a text names, in programs inside strings, too."""
    found = {name for name in DOTTED.findall(text) if name not in NO_MODULES}
    for home, inside, line in IMPORT.findall(text):
        for one in re.sub(r"#.*", "", inside or line).split(","):
            if re.fullmatch(r"\w+(?: as \w+)?", one.strip()):
                found.add(f"{home}.{one.strip().split(' as ')[0]}")
    others = r"NAME|/_(?:catalog|infra)|/x\.py|stac_sm/py$"  # the last is py.typed
    return found | {file for file in FILE.findall(text) if not re.search(others, file)}


@pytest.mark.parametrize(
    "pattern", ["*.py", "*.md", "*.toml", "*.sh", "*.yaml", "*.yml", "*.tf", "*.sbatch", "infra/container/*"]
)
def test_every_module_name_and_file_that_a_text_names_is_there(pattern):
    missing = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in tracked(pattern)
        if file.name not in HISTORY and file != Path(__file__)
        for name in named_places(file.read_text(errors="replace"))
        if not ((ROOT / name).exists() if "/" in name else is_there(name))
    }
    assert missing == set()


def test_old_places_would_be_found():
    program = "code = 'from stac_sm.catalog import open_catalog; import stac_sm.grid'  # tests/test_nothing.py"
    assert named_places(program) == {
        "stac_sm.catalog", "stac_sm.catalog.open_catalog", "stac_sm.grid", "tests/test_nothing.py",
    }  # fmt: skip
    assert not any(is_there(name) for name in ("stac_sm.catalog.open_catalog", "stac_sm.grid", "stac_sm.model.Model"))
    assert is_there("stac_sm.Model")
    assert is_there("stac_sm.core.grid.TileGrid.geobox")


# --- tests -----------------------------------------------------------------------------------------------------------


def imports(file: Path) -> set[str]:
    """Modules that a file imports, those of programs inside its strings included."""
    text = file.read_text()
    found = {f"{node.module}.{a.name}" for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)
             for a in node.names}  # fmt: skip
    found |= {a.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for a in node.names}
    return found | {
        f"{home}.{name}" for home, name in re.findall(r"from ([\w.]*\btest_\w+|tests[\w.]*) import (\w+)", text)
    }


def test_no_test_imports_another_test():
    """What two need lies in tests/support; conftest.py holds fixtures, which are not imported."""
    for file in TESTS.rglob("*.py"):
        own = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        others = {name for name in imports(file) if re.search(r"(?:^|\.)(?:test_\w+|conftest)(?:\.|$)", name)}
        ours = {
            name for name in others if not name.startswith(f"{own}.") and name.startswith(("tests.", "test_", "conf"))
        }
        assert ours == set(), file


def places_of_tests() -> dict[str, list[str]]:
    """The table of tests/README.md: test files by module."""
    rows = re.findall(r"^\| `([\w/]+\.py)` \| (.+) \|$", README.read_text(), re.MULTILINE)
    return {module: re.findall(r"`([\w/]+\.py)`", where) for module, where in rows}


def test_each_module_is_tested_in_the_file_of_its_name_or_where_the_readme_says():
    elsewhere = places_of_tests()
    without = [
        module
        for module in MODULES
        if module not in elsewhere and not (TESTS / module).with_name(f"test_{Path(module).name}").is_file()
    ]
    assert without == [], "write a test file of its name, or a line into the table of tests/README.md"


def test_what_the_readme_says_about_tests_is_true():
    for module, where in places_of_tests().items():
        assert module in MODULES, f"{module} is gone: take its line out of tests/README.md"
        assert where, module
        for test in where:
            assert (TESTS / test).is_file(), test


def test_each_folder_of_tests_is_in_the_readme():
    folders = {file.relative_to(TESTS).parts[0] for file in tracked("tests") if file.parent != TESTS}
    assert {name for name in folders if f"`{name}/`" not in README.read_text()} == set()
    assert folders - FOLDERS == {"benchmarks", "integration", "notebook", "support", "tools"}


ALONE = """
import runpy, sys
kept = list(sys.path)
for file in sys.argv[1:]:
    sys.path[:] = kept
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    parses = "ArgumentParser" in open(file).read()
    sys.argv = [file, "--help"]
    try:
        runpy.run_path(file, run_name="__main__" if parses else "looked at")
    except SystemExit as end:
        assert end.code in (0, None), file
    except ImportError as error:
        sys.exit(f"{file}: {error}")
"""


def test_scripts_find_what_they_import_when_they_are_run_by_their_path(tmp_path):
    """One process for all, for heavy imports are the same: each begins with the path that Python gives a script."""
    scripts = [file for name in ("benchmarks", "support", "tools") for file in sorted((TESTS / name).glob("*.py"))]
    runnable = [file for file in scripts if '__name__ == "__main__"' in file.read_text() and file.name not in HISTORY]
    assert len(runnable) > 15
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *runnable], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: ") > 15
