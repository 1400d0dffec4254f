"""The measure of the house: each rule on a small package that is known, and the names that the measured run needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tools import house

FILES = {
    "stac_sm/__init__.py": '"""Names."""\n',
    "stac_sm/store.py": "class LocalStore:\n    pass\n",
    "stac_sm/model/__init__.py": '"""Only text."""\n',
    "stac_sm/model/learner.py": "import xgboost\nimport stac_sm.store\n",
    "stac_sm/model/other.py": '"""Of xgboost, and of ubjson."""\nKIND = "gblinear"\n',
    "stac_sm/cog.py": "class Profile:\n    nodata: float = -9999.0\n    count_nodata = None\n",
    "stac_sm/sources/soilgrids.py": "class A:\n    patterns: tuple = ()\n    NODATA = -1\n",
    "stac_sm/sources/glass.py": "class B:\n    patterns: tuple = ()\n",
    "stac_sm/sources/netcdf.py": "def opened():\n    pass\n",
    "stac_sm/sources/known.py": "from stac_sm.sources import soilgrids\nfrom stac_sm.sources.glass import B\n",
    "stac_sm/find.py": 'def kind(store, href):\n    return "://" in store.root or "://" in href\n',
    "stac_sm/sign.py": 'def signed(href):\n    return href.startswith("s3://")\n',
    "stac_sm/local.py": "from stac_sm.store import LocalStore\nLOCAL = isinstance(one, LocalStore)\n",
    "stac_sm/open.py": "def opened(href):\n    return ApiCatalog(href) or api.GeoParquetCatalog(href)\n",
    "stac_sm/draw.py": "def draw(series, uncertainty=None):\n    pass\n",
    "catalog/sm-1km-daily/collection.json": json.dumps({"item_assets": {"uncertainty": {"nodata": -9999}}}),
    "catalog/sm-1km-annual/collection.json": json.dumps({"item_assets": {}}),
    "catalog/soilgrids/collection.json": json.dumps({"item_assets": {"a": {"nodata": -1}}}),
    "pyproject.toml": """
[[tool.importlinter.contracts]]
type = "layers"
layers = ["store", "model | sources", "find"]
[[tool.importlinter.contracts]]
type = "forbidden"
""",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    tree = tmp_path_factory.mktemp("tree")
    for name, content in FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(content)
    return house.figures(tree)


def test_modules_folders_layers_and_importers(found):
    assert (found["modules"], found["folders"], found["modules_in_the_root"]) == (15, 2, 8)
    assert found["layers"] == {"layers": 3, "of_one": 2}
    assert found["modules_with_one_importer"] == 2  # soilgrids and glass; the store has two
    assert found["address_tests"] == 2
    assert found["commit"] == "no commit"


def test_this_checkout_can_be_measured():
    """Each rule finds what it looks for, also after modules were added or moved."""
    found = house.figures(Path(__file__).resolve().parents[2])
    assert found["modules_in_the_root"] == 2
    assert {what for what, files in found["to_change"].items() if not files} == set()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('"""Text."""\n\nA = 1  # why\n# why\nB = (\n    2,\n\n)\n', 4),
        ('def f(\n    a,\n):\n    """Text.\n\n    More.\n    """\n    if a:\n        return 1\n\n    return 2\n', 6),
        ('class A:\n    """Text."""\n\n    b: int = 1\n    """Of it."""\n', 2),
        ("try:\n    a = 1\nexcept ValueError:\n    a = 2\nelse:\n    a = 3\n", 6),
        ("@one\n@two\ndef f():\n    pass\n", 4),
    ],
)
def test_statement_lines_hold_code(text, lines):
    assert house.statement_lines(text) == lines


def test_what_one_opens(found):
    assert found["to_change"] == {
        "change nodata": ["catalog/sm-1km-daily/collection.json", "stac_sm/cog.py"],
        "add a provider": ["stac_sm/sources/NEW.py", "stac_sm/sources/known.py"],
        "add a readable catalogue": ["NEW.py", "stac_sm/open.py"],
        "add a writable catalogue": ["NEW.py", "stac_sm/find.py", "stac_sm/local.py", "stac_sm/sign.py"],
        "add an output asset": ["catalog/sm-1km-daily/collection.json", "stac_sm/draw.py"],
        "add a learner": ["NEW.py", "stac_sm/model/learner.py", "stac_sm/model/other.py"],
    }


def test_what_the_measured_run_needs_is_there():
    """By its name of today: the first of each list."""
    for places in (house.RUN_PLAN, house.READ_PROJECT, house.READ_PLAN, house.ONE_PROCESS, house.WORTH_IT):
        module, name = house._home(places[:1])
        assert hasattr(module, name)


def test_a_step_names_its_module():
    assert house._module_of("stac_sm.model.model.Model.predict") == "stac_sm.model.model"
    assert house._module_of("stac_sm.run.run_plan") == "stac_sm.run"
    assert house._module_of("stac_sm.workflows.run.task._Job.open") == "stac_sm.workflows.run.task"
    assert house._way(None) == "it was not reached"
