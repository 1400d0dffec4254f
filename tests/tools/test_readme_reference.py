"""The README does not lie: its reference is the program's help, its commands exist, its fields are in the schema."""

import json
import re
import shlex
import tomllib

import click
import pytest
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.features.recipe import Recipe
from stac_sm.workflows.project import create_project
from stac_sm.workflows.project_template import TEMPLATES
from tests.benchmarks import costs
from tests.support.reference import README, with_reference

TEXT = README.read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]


def test_reference_is_the_programs_help():
    assert with_reference(TEXT) == TEXT, "run python tests/support/reference.py"


TOML = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("line", [line for line in COMMANDS if "stac-sm " in line])
def test_every_command_in_the_readme_parses(line):
    words = shlex.split(line.rpartition("stac-sm ")[2], comments=True)
    command = main.commands[words[0]]
    with command.make_context(words[0], words[1:], resilient_parsing=False, **main.context_settings) as context:
        assert isinstance(context, click.Context)


def test_the_features_in_the_readme_are_features():
    toml = next(block for block in TOML if "recipe.features" in block)
    anomaly, lst = Recipe.from_dict(tomllib.loads(toml)["recipe"]).features
    assert (anomaly.statistic, anomaly.climatology.season, anomaly.days_back) == ("anomaly", "year", 7)
    assert (lst.missing, lst.climatology.season, lst.climatology.least_days) == ("climatology", "month", 30)


def test_the_grid_in_the_readme_is_ease_2_of_9_km(tmp_path):
    """It is a project's grid, and its last tile ends where EASE-2 does: symmetrical about the equator and Greenwich."""
    toml = next(block for block in TOML if "[grid]" in block)
    grid = create_project(tmp_path / "p", TEMPLATES["glass"] + "\n" + toml).grid
    assert (grid.tiles[0] * grid.tile_shape[1], grid.tiles[1] * grid.tile_shape[0]) == (3856, 1624)  # NSIDC
    last = grid.geobox(grid.tile_id(grid.tiles[0] - 1, grid.tiles[1] - 1)).boundingbox
    assert [last.right, last.bottom] == pytest.approx([-grid.origin[0], -grid.origin[1]], abs=0.01)


def test_every_command_is_told_of_in_the_readme():
    assert [name for name in main.commands if f"stac-sm {name}" not in TEXT] == []


def test_the_flags_in_the_contract_are_those_of_the_code():
    from stac_sm.core.variables import QualityFlag

    row = next(line for line in TEXT.splitlines() if line.startswith("| `qa` |"))
    told = {int(bit): name for bit, name in re.findall(r"(\d+) ([a-z -]+?)(?=[,|]| \||\s\()", row.split("bits:")[1])}
    code = {
        flag.value: (flag.name or "").lower().replace("_", " ").replace("gap filled", "gap-filled")
        for flag in QualityFlag
    } | {64: "reserved"}
    assert told == code


def test_the_costs_in_the_readme_are_those_of_the_measured_month():
    assert costs.table(costs.costs(json.loads(costs.MEASURED.read_text())["whole"])) in TEXT


def test_program_runs_as_a_module_in_the_readme_way():
    assert CliRunner().invoke(main, ["--help"]).exit_code == 0
