"""The public surface: few names, true, sorted, lazy; and a house whose rooms import one another one way only."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

import stac_sm

ROOT = Path(__file__).parents[1]


def test_public_names_are_few_sorted_and_true():
    assert stac_sm.__all__ == sorted(stac_sm.__all__)
    assert len(stac_sm.__all__) <= 15
    assert set(stac_sm._HOMES) - set(stac_sm.__all__) == {"Columns"}
    for name in stac_sm.__all__:
        assert getattr(stac_sm, name).__module__.startswith("stac_sm.")


def test_contract_names_are_there():
    wanted = {"open_catalog", "feature_cube", "match_up", "triple_collocation", "hold_out", "fit", "Model", "predict"}
    assert wanted | {"write_cog", "publish", "open_product", "point_series"} <= set(stac_sm.__all__)


@pytest.mark.parametrize("name", stac_sm.__all__)
def test_public_names_have_docstrings(name):
    assert inspect.getdoc(getattr(stac_sm, name))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'predcit'"):
        stac_sm.predcit  # noqa: B018


def test_importing_does_nothing_heavy():
    heavy = ["numpy", "pandas", "xarray", "dask", "rasterio", "xgboost", "distributed", "pystac", "boto3", "pyproj"]
    code = f"import sys, stac_sm, stac_sm.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_imports_itself_by_way_of_others():
    """Imports inside functions count, too."""
    graph = grimp.build_graph("stac_sm")
    knots = {
        (one, other)
        for one in graph.modules
        for other in graph.find_modules_directly_imported_by(one)
        if one in graph.find_downstream_modules(one) or graph.chain_exists(other, one)
    }
    assert knots == set()


SECTIONS = {"Parameters": r"^Parameters\n-{10}$", "Returns": r"^(Returns|Yields)\n-{6,7}$", "Raises": r"^Raises\n-{6}$"}


@pytest.mark.parametrize("name", [name for name in stac_sm.__all__ if inspect.isfunction(getattr(stac_sm, name))])
def test_public_functions_tell_parameters_returns_and_raises(name):
    """As numpydoc wants it: every section is there, and every parameter is named in the first."""
    function = getattr(stac_sm, name)
    told = inspect.getdoc(function) or ""
    wanted = [name for name in SECTIONS if name != "Returns" or inspect.signature(function).return_annotation != "None"]
    assert [section for section in wanted if not re.search(SECTIONS[section], told, re.MULTILINE)] == []
    listed = told.partition("Parameters\n")[2].partition("\n\nReturns")[0]
    for parameter in inspect.signature(function).parameters:
        assert re.search(rf"^(\w+, )*{parameter}(, \w+)*$", listed, re.MULTILINE), parameter


@pytest.mark.parametrize("command", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["lint-imports"]])
def test_house_rules(command):
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
