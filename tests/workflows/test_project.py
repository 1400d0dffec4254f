"""The project file: every mistake is named, with the field and what was wanted."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from stac_sm.core.errors import ProjectError
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.model.train_settings import TrainSettings
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stations.records import StationRules
from stac_sm.workflows.project import (
    FILE_NAME,
    FetchSettings,
    MatchupRules,
    ProductRules,
    Project,
    ProjectInfo,
    Rates,
    ScreeningSettings,
    SlurmSettings,
    ValidationSettings,
    create_project,
    find_project,
    read_project,
)
from stac_sm.workflows.project_template import TEMPLATES
from tests.support.fields import EASE, RECIPE, project_text

TEMPLATE = TEMPLATES["glass"]

TABLES = {
    "project": ProjectInfo, "stations": StationRules, "matchups": MatchupRules, "screening": ScreeningSettings,
    "training": TrainSettings, "validation": ValidationSettings, "product": ProductRules, "costs": Rates,
    "slurm": SlurmSettings, "fetch": FetchSettings,
}  # fmt: skip


def text(**tables):
    """The smallest project file, with tables as TOML text."""
    recipe = '[[recipe.features]]\nname = "lst"\ncollection = "glass-lst"\nasset = "lst"\n'
    return "".join(f"[{name}]\n{content}\n" for name, content in tables.items()) + recipe


def uncommented(template):
    """The template with all its '# name = value' lines in force."""
    return re.sub(r"^# (\w+ = )", r"\1", template, flags=re.M)


def test_the_template_is_a_project_with_the_defaults(tmp_path):
    project = create_project(tmp_path / "p", TEMPLATE)
    for name in ("stations", "screening", "training", "validation", "matchups"):
        assert getattr(project, name) == TABLES[name]()
    assert project.about == ProjectInfo()
    assert project.grid == MODIS_SINUSOIDAL_1KM
    assert project.recipe.names[-3:] == ("sand", "silt", "clay")
    assert [mask.name for mask in project.recipe.masks] == ["water", "frozen", "snow"]


def test_what_the_template_shows_as_a_default_is_one(tmp_path):
    shown = uncommented(TEMPLATE)
    assert shown.count("\n# ") < TEMPLATE.count("\n# ")
    assert create_project(tmp_path / "p", shown) == replace_folder(
        create_project(tmp_path / "q", TEMPLATE), tmp_path / "p"
    )


def replace_folder(project, folder):
    from dataclasses import replace

    return replace(project, folder=folder.absolute())


def test_a_project_lies_in_a_folder_with_a_catalogue(tmp_path):
    project = create_project(tmp_path / "p", TEMPLATE)
    assert (tmp_path / "p" / FILE_NAME).read_text() == TEMPLATE
    assert open_catalog(tmp_path / "p").document("catalog.json")["title"] == project.about.title
    assert project.catalog.root == str(tmp_path / "p")


def test_a_project_that_exists_is_left_as_it_is(tmp_path):
    create_project(tmp_path, text(project='title = "Mine"'))
    again = create_project(tmp_path, TEMPLATE)
    assert again.about.title == "Mine"
    assert "Mine" in (tmp_path / FILE_NAME).read_text()


@pytest.mark.parametrize("start", [".", "glass-lst", "glass-lst/2018/07"])
def test_the_nearest_project_above_is_found(tmp_path, start, monkeypatch):
    create_project(tmp_path / "p", text(project='title = "Outer"'))
    create_project(tmp_path / "p" / "inner", text(project='title = "Inner"'))
    (tmp_path / "p" / start).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path / "p" / start)
    from pathlib import Path

    assert find_project(Path()).about.title == "Outer"
    (tmp_path / "p" / "inner" / "deep").mkdir(exist_ok=True)
    assert find_project(tmp_path / "p" / "inner" / "deep").about.title == "Inner"


def test_no_project(tmp_path):
    with pytest.raises(ProjectError, match=r"no stac-sm\.toml in .* or above: `stac-sm init DIR` makes a project"):
        find_project(tmp_path)
    (tmp_path / "stac-sm.toml").write_text("")
    with pytest.raises(ProjectError, match=r"there is no folder .*/misspelt: check the path"):
        find_project(tmp_path / "misspelt")  # not the project above it
    (tmp_path / "stac-sm.toml").unlink()
    with pytest.raises(ProjectError, match=r"stac-sm\.toml cannot be read .*`stac-sm init DIR`"):
        read_project(tmp_path)


@pytest.mark.parametrize("name", TABLES)
def test_a_misspelt_key_of_every_table_is_refused_with_the_right_one(tmp_path, name):
    for field in fields(TABLES[name]):
        wrong = field.name[:-1] + "_" + field.name[-1]
        with pytest.raises(
            ProjectError, match=rf"\[{name}\] field '{wrong}' is unknown: .*did you mean '{field.name}'"
        ):
            create_project(tmp_path / "p", text(**{name: f"{wrong} = 1"}))
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("name", TABLES)
def test_a_wrong_type_in_every_field_is_named(tmp_path, name):
    for field in fields(TABLES[name]):
        with pytest.raises(
            ProjectError, match=rf"\[{name}\] {field.name}.*: found .*{{.*}}, .*(valid|dictionary|list|tuple|should be)"
        ):
            create_project(tmp_path / "p", text(**{name: f"{field.name} = {{ a = 1 }}"}))


WRONG = {
    "misspelt table": ("[station]\n", "table 'station' is unknown: .*did you mean 'stations'"),
    "no table at all": ("stations = 5\n", r"\[stations\]: found 5, a table is required"),
    "misspelt source": ("[sources.era5land]\n", "source 'era5land' is unknown: .*did you mean 'era5-land'"),
    "misspelt setting": (
        "[sources.era5-land]\nmin_hour = 24\n",
        r"\[sources.era5-land\] field 'min_hour'.*'min_hours'",
    ),
    "setting of a type": ("[sources.era5-land]\nmin_hours = 'all'\n", r"\[sources.era5-land\] min_hours: found 'all'"),
    "source of a number": ("[sources]\nera5-land = 24\n", r"\[sources.era5-land\]: found 24, a table is required"),
    "number as text": ("[stations]\nmax_depth = 'deep'\n", r"\[stations\] max_depth: found 'deep', .*valid number"),
    "half a pair": ("[stations]\nvalid = [0]\n", r"\[stations\] valid"),
    "period": ("[matchups]\nperiod = '2000/20x'\n", "period '2000/20x': '20x' is no day, month or year"),
    "strategy": ("[validation]\nstrategies = ['sites']\n", "no strategy 'sites' .*site"),
    "version": ("[project]\nversion = '../1'\n", r"\[project\] version: found '../1'"),
    "version as number": ("[project]\nversion = 1\n", r"\[project\] version: found 1, .*valid string"),
    "grid of a type": ("[grid]\nname = 'g'\n", r"\[grid\] crs is missing: write crs ="),
    "misspelt grid": ("[grid]\ncsr = 'g'\n", r"\[grid\] field 'csr' is unknown: .*did you mean 'crs'"),
    "no TOML": ("[project\n", "is no TOML: Expected"),
}


@pytest.mark.parametrize(("content", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named_and_nothing_is_written(tmp_path, content, told):
    with pytest.raises(ProjectError, match=told) as failure:
        create_project(tmp_path / "p", content + text())
    assert str(tmp_path / "p" / FILE_NAME) in str(failure.value)
    assert not (tmp_path / "p").exists()
    (tmp_path / FILE_NAME).write_text(content + text())
    with pytest.raises(ProjectError, match=told):
        read_project(tmp_path)


def test_no_recipe(tmp_path):
    with pytest.raises(ProjectError, match=r"table \[recipe\] is missing"):
        create_project(tmp_path / "p", "[project]\n")


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProjectError, match="is no TOML"):
        read_project(tmp_path)


@pytest.mark.parametrize(("old", "new", "told"), [
    ('crs = "EPSG:6933"', 'crs = "EPSG:999999"', r"\[grid\] crs: found 'EPSG:999999', which is no CRS"),
    ("pixel = [1000.0, 1000.0]", "pixel = [1000.0, 0.0]", r"numbers above 0 are required"),
    ("tile_shape = [40, 50]", "tile_shape = [40.5, 50]", r"\[grid\] tile_shape.0: found 40.5, .*valid integer"),
])  # fmt: skip
def test_a_grid_that_will_not_do(tmp_path, old, new, told):
    whole = project_text(EASE)
    assert old in whole
    with pytest.raises(ProjectError, match=told):
        create_project(tmp_path / "p", whole.replace(old, new))


def test_another_grid_and_recipe(tmp_path):
    project = create_project(tmp_path / "p", project_text(EASE, version="007"))
    assert (project.grid, project.recipe, project.about.version) == (EASE, RECIPE, "007")


def test_every_part_of_a_project_is_a_record_or_a_table():
    kinds = {field.name for field in fields(Project)}
    assert kinds == {"folder", "recipe", "about", "grid", "sources", *TABLES} - {"project"}
    assert all(is_dataclass(kind) for kind in TABLES.values())


def test_an_operator_sets_fields_by_the_environment(tmp_path, monkeypatch):
    create_project(tmp_path, text(slurm='queue = "long"\ncores = 4'))
    for name, value in {
        "SLURM_QUEUE": "short", "SLURM_ACCOUNT": "1234", "SLURM_DIRECTIVES": '["--qos=low"]', "COSTS_CORE_HOUR": "0.5",
        "FETCH_FOLDER": "/scratch/granules",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"STAC_SM_{name}", value)
    found = read_project(tmp_path)
    assert (found.slurm.queue, found.slurm.account, found.slurm.cores) == ("short", "1234", 4)
    assert found.slurm.directives == ("--qos=low",)
    assert (found.costs.core_hour, found.fetch.folder) == (0.5, "/scratch/granules")


@pytest.mark.parametrize(("section", "kind"), [("slurm", SlurmSettings), ("costs", Rates), ("fetch", FetchSettings)])
def test_each_field_of_an_operator_is_listed(section, kind):
    text = (Path(__file__).parents[2] / "infra" / "README.md").read_text()
    [row] = [line for line in text.splitlines() if line.startswith(f"| `STAC_SM_{section.upper()}_")]
    listed = {name.lower() for name in re.findall(rf"`(?:STAC_SM_{section.upper()})?_([A-Z0-9_]+)`", row)}
    assert listed == {field.name for field in fields(kind)}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("STAC_SM_SLURM_QUEU", "x", "environment variable STAC_SM_SLURM_QUEU: .* did you mean 'queue'"),
        ("STAC_SM_COSTS_CORE_HOUR", "much", r"\[costs\] core_hour: found 'much'"),
    ],
)
def test_a_wrong_setting_of_the_environment_is_named(tmp_path, monkeypatch, name, value, told):
    create_project(tmp_path, text())
    monkeypatch.setenv(name, value)
    with pytest.raises(ProjectError, match=told):
        read_project(tmp_path)
