"""Files that a contributor looks for: there, true, and spelt right."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.tools.large_files import MOST_BYTES, large_binaries

ROOT = Path(__file__).parents[2]
PAGES = [
    ".github/CONTRIBUTING.md",
    ".github/SECURITY.md",
    ".github/CHANGELOG.md",
    "README.md",
    "catalog/README.md",
    "infra/README.md",
    "stac_sm/README.md",
    "tests/README.md",
    "tests/benchmarks/README.md",
    "stac_sm/DECISIONS.md",
]


def test_there_is_no_large_binary_file():
    assert large_binaries() == []


def test_a_large_binary_file_is_seen(tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "a.whl").write_bytes(b"PK\0" + bytes(MOST_BYTES))
    (tmp_path / "long.txt").write_text("a" * (MOST_BYTES + 1))
    (tmp_path / ".readme").mkdir()
    (tmp_path / ".readme" / "map.png").write_bytes(bytes(MOST_BYTES + 1))
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    assert large_binaries(tmp_path) == ["a.whl"]


def test_spelling():
    program = Path(sys.executable).with_name("codespell")
    done = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_links_between_files_lead_somewhere(page):
    file = ROOT / page
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", file.read_text()):
        assert (file.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page):
    text = (ROOT / page).read_text()
    for name in re.findall(r"`((?:stac_sm|tests|catalog|infra)/[\w./-]+)`", text):
        assert (ROOT / name).exists() or "NAME" in name or "COLLECTION" in name, name


def test_modules_that_the_house_page_names_exist():
    text = (ROOT / "stac_sm/README.md").read_text()
    for name in re.findall(r"`(\w+/[\w/]*(?:\.py)?)`", text):
        assert (ROOT / "stac_sm" / name).exists(), name
    for name in re.findall(r"`((?:workflows|features|raster|model|product|stac)(?:\.\w+)+)`", text):
        parts = name.split(".")
        assert any(
            (ROOT / "stac_sm" / "/".join(parts[:n])).with_suffix(".py").exists()
            or (ROOT / "stac_sm" / "/".join(parts[:n])).is_dir()
            for n in (len(parts), len(parts) - 1)
        ), name


def test_hooks_need_no_network():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [one["repo"] for one in hooks["repos"]] == ["local"]
    assert {"ruff-check", "ruff-format", "mypy", "codespell", "large-files"} <= {
        hook["id"] for one in hooks["repos"] for hook in one["hooks"]
    }


def test_the_citation_names_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert cited["version"] == version[1]
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(cited)
