"""The README does not lie: its reference is the program's help, its commands exist, its fields are in the schema."""

import re
import shlex

import click
import pytest
from click.testing import CliRunner
from reference import README, with_reference

from stac_sm.cli import main

TEXT = README.read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]


def test_reference_is_the_programs_help():
    assert with_reference(TEXT) == TEXT, "run python tests/reference.py"


@pytest.mark.parametrize("line", [line for line in COMMANDS if "stac-sm " in line])
def test_every_command_in_the_readme_parses(line):
    words = shlex.split(line.rpartition("stac-sm ")[2], comments=True)
    command = main.commands[words[0]]
    with command.make_context(words[0], words[1:], resilient_parsing=False) as context:
        assert isinstance(context, click.Context)


def test_every_command_is_told_of_in_the_readme():
    assert [name for name in main.commands if f"stac-sm {name}" not in TEXT] == []


def test_the_flags_in_the_contract_are_those_of_the_code():
    from stac_sm.quality import Quality

    row = next(line for line in TEXT.splitlines() if line.startswith("| `qa` |"))
    told = {int(bit): name for bit, name in re.findall(r"(\d+) ([a-z -]+?)(?=[,|]| \|)", row.split("bits:")[1])}
    code = {
        flag.value: (flag.name or "").lower().replace("_", " ").replace("gap filled", "gap-filled") for flag in Quality
    }
    assert told == code


def test_program_runs_as_a_module_in_the_readme_way():
    assert CliRunner().invoke(main, ["--help"]).exit_code == 0
