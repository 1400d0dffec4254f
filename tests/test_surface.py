"""The public surface: few names, true, sorted, lazy; and a house whose rooms import one another one way only."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import stac_sm

ROOT = Path(__file__).parents[1]


def test_public_names_are_few_sorted_and_true():
    assert stac_sm.__all__ == sorted(stac_sm.__all__)
    assert len(stac_sm.__all__) <= 15
    assert set(stac_sm.__all__) == set(stac_sm._HOMES)
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


@pytest.mark.parametrize("command", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["lint-imports"]])
def test_house_rules(command):
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
