"""Log lines: one JSON object each for programs, text for people, and never a secret."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.cli.main import main
from stac_sm.storage.log_lines import LOGGER, follow_logging, json_line, log_facts, start_logging, stop_logging
from tests.support.source_files import write_cci


@pytest.fixture
def quiet_after(monkeypatch):
    for name in ("STAC_SM_LOG_LEVEL", "STAC_SM_LOG_FORMAT", "STAC_SM_LOG_STAGE"):
        monkeypatch.setenv(name, "")
    yield
    stop_logging()


def test_the_library_writes_nothing_by_itself(capsys):
    LOGGER.error("nobody has asked")
    assert capsys.readouterr() == ("", "")


def test_lines_are_objects_with_facts_and_errors(quiet_after, capsys):
    start_logging("info", "json")
    LOGGER.debug("not this")
    LOGGER.info("%s: made", "a", extra={"facts": {"item": "a", "stage": "run"}})
    try:
        raise ValueError("at https://h/x?sig=s3cr3t")
    except ValueError:
        LOGGER.exception("failed")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["message"], first["item"], first["stage"], first["level"]) == ("a: made", "a", "run", "info")
    assert "ValueError" in second["error"]
    assert "s3cr3t" not in second["error"]


def test_text_lines_have_time_and_level(quiet_after, capsys):
    start_logging("warning", "text")
    LOGGER.info("not this")
    LOGGER.warning("slow: %s", "https://h/x?sig=s3cr3t")
    [line] = capsys.readouterr().err.splitlines()
    assert " warning slow: https://h/x" in line
    assert "s3cr3t" not in line


@given(st.text(), st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_any_message_is_one_line_of_json(message, facts):
    line = json_line("info", message, facts)
    assert "\n" not in line
    assert set(facts) <= set(json.loads(line))


def test_a_process_that_is_started_follows(quiet_after):
    start_logging("info", "json")
    program = "from stac_sm.storage.log_lines import *; follow_logging(); LOGGER.info('here')"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr
    assert json.loads(said)["message"] == "here"


def test_without_a_wish_nothing_is_changed(quiet_after):
    before = (LOGGER.level, list(LOGGER.handlers))
    follow_logging()
    assert (LOGGER.level, list(LOGGER.handlers)) == before


@pytest.mark.parametrize("given_as", ["option", "environment"])
def test_commands_write_messages_and_errors_as_json(tmp_path, given_as, monkeypatch):
    options = ["--log-format", "json"] if given_as == "option" else []
    environment = {} if options else {"STAC_SM_LOG_FORMAT": "json"}
    runner = CliRunner(env=environment)
    made = runner.invoke(main, ["init", str(tmp_path / "p"), *options])
    assert {(line["level"], line["stage"]) for line in map(json.loads, made.stderr.splitlines())} == {("info", "init")}
    failed = runner.invoke(main, ["status", "--project", str(tmp_path / "p"), *options])
    assert failed.exit_code == 1
    said = json.loads(failed.stderr)
    assert (said["level"], said["stage"]) == ("error", "status")
    assert "has no plan" in said["message"]
    assert not any(type(handler).__name__ == "_StderrLines" for handler in LOGGER.handlers)
    assert LOGGER.level == logging.NOTSET


def test_facts_are_those_of_the_line_then_of_the_block_then_of_the_command(quiet_after, capsys):
    start_logging("info", "json", "update")
    LOGGER.info("a")
    with log_facts(stage="run", task="t"), log_facts(item="i"):
        LOGGER.info("b")
        LOGGER.info("c", extra={"facts": {"item": "j"}})
    LOGGER.info("d")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [[line.get(name) for name in ("stage", "task", "item")] for line in lines] == [
        ["update", None, None], ["run", "t", "i"], ["run", "t", "j"], ["update", None, None],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "stage"),
    [(["ingest", "--log-format", "json", "--no-such"], "ingest"), (["model", "export"], "model export")],
)
def test_a_mistyped_option_is_a_line_with_the_stage(words, stage):
    done = CliRunner(env={"STAC_SM_LOG_FORMAT": "json"}).invoke(main, words)
    assert done.exit_code == 2
    assert json.loads(done.stderr)["stage"] == stage


def test_workers_of_a_stage_name_each_item_that_they_publish(tmp_path):
    """By processes of their own, in a command that says nothing of its items otherwise."""
    folder = tmp_path / "cci"
    folder.mkdir()
    for day in ("20180630", "20180701"):
        write_cci(folder, day)
    command = [sys.executable, "-m", "stac_sm"]
    environment = os.environ | {"STAC_SM_LOG_FORMAT": "json", "STAC_SM_LOG_LEVEL": "info"}
    for words in (["init", tmp_path / "p"], ["ingest", "esa-cci-sm", folder, "--project", tmp_path / "p"]):
        done = subprocess.run([*command, *words], env=environment, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["stage"] for line in lines} == {"ingest"}
    published = {
        line["item"]: (line["collection"], line["message"].rpartition(": ")[2]) for line in lines if "item" in line
    }
    assert len(published) == 2
    assert set(published.values()) == {("esa-cci-sm", "new")}


def test_every_command_has_the_options_of_its_log():
    def commands(group):
        for one in group.commands.values():
            yield from commands(one) if hasattr(one, "commands") else [one]

    found = list(commands(main))
    assert len(found) > 25
    for command in found:
        assert {"log_level", "log_format"} <= {one.name for one in command.params}, command.name


WRONG_PROGRAM = """
import warnings
from stac_sm.cli.main import main
from stac_sm.workflows import project
def find_project(folder):
    warnings.warn("mean of nothing https://h/x?sig=s3cr3t", RuntimeWarning)
    raise {error}
project.find_project = find_project
main(["status", *{options}], prog_name="stac-sm")
"""


@pytest.mark.parametrize("error", ['ZeroDivisionError("https://h/x?sig=s3cr3t")', 'OSError(5, "Input/output error")'])
def test_an_error_of_the_program_and_a_warning_of_python_are_a_line_each_where_the_log_is_json(error):
    program = WRONG_PROGRAM.format(error=error, options=["--log-format", "json"])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    warning, said = map(json.loads, done.stderr.splitlines())
    assert (done.returncode, warning["level"], said["level"]) == (1, "warning", "error")
    assert "mean of nothing" in warning["message"]
    assert said["message"].startswith(f"unexpected {error.partition('(')[0]}: ")
    assert said["error"].startswith("Traceback (most recent call last)")
    assert "in find_project" in said["error"]
    assert "s3cr3t" not in done.stderr


def test_an_error_of_the_program_is_a_traceback_where_the_log_is_text():
    program = WRONG_PROGRAM.format(error="ZeroDivisionError()", options=[])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "ZeroDivisionError")
    assert "Traceback (most recent call last)" in done.stderr
