"""From an empty folder to a validated product of the public recipe, and an update: the services are stand-ins."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pystac
import pytest
import rioxarray
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.period import Period
from stac_sm.simulate.earth import Earth
from stac_sm.workflows.audit import audit_project
from stac_sm.workflows.project import read_project
from stac_sm.workflows.run.task import run_task
from tests.support.readme_blocks import blocks_of
from tests.support.services import TOKEN
from tests.support.stand_ins import StandIns, stand_ins

SMALL = Earth(radius=0.45, period=Period.parse("2019-05-22/2019-06-12"), stations=10, sample_hours=1)
DAYS = {
    "2019-02/2019-06": "2019-05-22/2019-06-11",
    "2019-06 ": "2019-06-10/2019-06-11 ",
    "2019-07-01/2019-07-05": "2019-06-12",
}
"""Periods of the README, and what they are here."""

EDITS = {
    'period = "2000/2020" ': 'period = "2019-05-22/2019-06-09" ',
    '# third = "esa-cci-sm" ': 'third = "c3s-sm" ',
    "# tune = true ": "tune = false ",
    "# n_estimators = 300": "n_estimators = 20",
    "# folds = 5": "folds = 2",
    '# strategies = ["random", "site", "year", "network"]': 'strategies = ["random", "site"]',
    "# tiles = []  ": f'tiles = ["{SMALL.tile}"]  ',
}
"""What a user edits in the project file, with settings that make it quick."""


@pytest.fixture
def services(tmp_path, monkeypatch):
    monkeypatch.setenv("STAC_SM_RETRY_FIRST_WAIT", "0.01")
    monkeypatch.setenv("STAC_SM_RETRY_LONGEST_WAIT", "0.02")
    monkeypatch.setattr(
        "stac_sm.workflows.run.run.task_records",
        lambda _, work: (run_task(work.folder, task, plan=work.plan, run=work.run) for task in work.tasks),
    )
    with stand_ins(tmp_path / "earth", SMALL) as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        yield found


def lines(block):
    """Commands of a block, of the days of the small Earth, without comments."""
    text = re.sub(r" +#.*", "", block.text)
    for old, new in DAYS.items():
        assert old in text, old
        text = text.replace(old, new)
    return text.splitlines()


def called(words: list[str]):
    program, *arguments = words
    assert program == "stac-sm"
    in_processes = {"ingest", "run", "update"} & {*arguments}
    more = ["--workers", "1"] if in_processes else []
    done = CliRunner().invoke(main, [*arguments, *more])
    assert done.exit_code == 0, f"{arguments}: {done.output}"
    assert TOKEN not in done.output
    return done


def test_a_stranger_goes_from_an_empty_folder_to_a_validated_product_that_is_kept_up_to_date(
    services: StandIns, tmp_path, monkeypatch
):
    """By the block of catalog/README.md as it stands, but for its days, fewer workers and a model of few stations."""
    (block,) = (
        one for one in blocks_of("catalog/README.md") if one.heading == "From an empty folder, with the public recipe"
    )
    init, fetch_era5, fetch_cci, fetch_ismn, ingest, train, plan, run, validate, update = map(shlex.split, lines(block))
    monkeypatch.chdir(tmp_path)
    called(init)
    monkeypatch.chdir(tmp_path / "soil")
    text = services.redirected(Path("stac-sm.toml").read_text())
    for old, new in EDITS.items():
        assert old in text, old
        text = text.replace(old, new)
    Path("stac-sm.toml").write_text(text)
    assert "2 requests" in called([*fetch_era5, "--dry-run"]).stderr
    called(fetch_era5)
    called(fetch_cci)
    steps = called(fetch_ismn).stdout.splitlines()
    folder = Path(steps[-2].rpartition("into ")[2].removesuffix(", then:"))
    folder.mkdir(parents=True)
    shutil.copy(services.archive, folder)
    assert re.search(r"unused: \d files, \d of them archives whose files were read", called(ingest).stdout)
    for command in (train, [*plan, "--accept-unskilled"], run):
        called(command)
    assert re.search(r"^c3s-sm +0.25 degrees +[1-9]", called(validate).stdout, re.MULTILINE)

    catalog = pystac.Catalog.from_file("catalog.json")
    items = list(catalog.get_child("sm-1km-daily").get_items(recursive=True))
    assert len(items) == 2
    assert len(list(catalog.get_child("validation").get_items(recursive=True))) == 1
    with rioxarray.open_rasterio(items[0].assets["sm"].get_absolute_href(), masked=True) as sm:
        assert sm.shape == (1, 1200, 1200)
        assert 1000 < int(sm.notnull().sum()) < 20_000, "the island"
        assert 0.05 < float(sm.mean()) < 0.5

    report = json.loads(called([*update, "--json"]).stdout)
    assert report["succeeded"]
    assert report["fetched"] == {"era5-land": {"fetched": 1}}
    assert report["made"] == {"new": 1, "replaced": 0, "done": 0}
    assert audit_project(read_project(tmp_path / "soil"), ["sm-1km-daily"]) == []
