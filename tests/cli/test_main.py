"""The command line: what a user types and sees, wrong things above all."""

import ast
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from datetime import date

import click
import psutil
import pytest
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.cli.options import print_result
from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.raster.readers import READERS
from stac_sm.stac.catalogs.catalog import open_catalog
from tests.support.checkout import ROOT
from tests.support.fields import image, put
from tests.support.readme_blocks import PAGES, page_text


def run(*arguments: str, code: int = 0):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def project(tmp_path):
    run("init", tmp_path / "project", "--recipe", "glass-sm")
    return tmp_path / "project"


GROUPS = ("Set up and inputs", "Learn", "Make and publish", "Look after and serve")
COMMANDS = [
    (*path, name) for path, group in (((), main), (("model",), main.commands["model"])) for name in group.commands
]


def test_help_lists_every_command_in_one_of_four_groups_in_a_line_each():
    """One sentence that fits a terminal of 80 columns, and the three commands of a first hour at the end."""
    done = CliRunner().invoke(main, ["--help"], terminal_width=80)
    parts = re.split(r"^([A-Z][a-z ]+):\n", done.output, flags=re.MULTILINE)
    listed = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert tuple(name for name in listed if name != "Options") == GROUPS
    text, _, last = listed.pop(GROUPS[-1]).partition("A first hour:")
    lines = [line for name in GROUPS[:-1] for line in listed[name].splitlines() if line]
    lines += [line for line in text.splitlines() if line.strip()]
    assert [line.split()[0] for line in lines] == list(main.commands)
    assert all(re.fullmatch(r"  [a-z-]+ +[A-Z][^.]+\.", line) and len(line) <= 80 for line in lines)
    first = [line.split("  ")[2] for line in last.splitlines() if line]
    assert [line.split()[:2] for line in first] == [["stac-sm", name] for name in ("demo", "plot", "init")]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_of_a_command_ends_with_an_example_that_the_readmes_run(path, tmp_path, monkeypatch):
    """It parses here; tests/integration/test_readme.py types it, or names the test that does."""
    if path == ("model",):
        return  # its commands have examples
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.zip").touch()
    *_, example = run(*path, "--help").output.strip().splitlines()
    program, *words = shlex.split(example)
    assert (program, *words[: len(path)]) == ("stac-sm", *path)
    command = main
    for name in path:
        command = command.commands[name]
    assert command.make_context(path[-1], words[len(path) :], **main.context_settings)
    assert example.strip() in re.sub(r"`\n`|\n", " ", "".join(page_text(page) for page in PAGES))


@pytest.mark.parametrize("command", list(main.commands))
def test_every_command_and_option_has_help(command):
    assert run(command, "--help").output
    options = [option for option in main.commands[command].params if isinstance(option, click.Option)]
    assert all(option.help for option in options)


def test_every_reader_can_be_asked_for():
    (option,) = (one for one in main.commands["features"].params if one.name == "reader")
    assert list(option.type.choices) == list(READERS)


def test_python_m_is_the_same_program():
    done = subprocess.run([sys.executable, "-m", "stac_sm", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("stac-sm, version ")


def test_climatology_makes_what_the_recipe_needs(project):
    assert "nothing to do" in run("climatology", "--project", project).stderr
    file = project / "stac-sm.toml"
    wanted = 'time = "daily"\nmissing = "climatology"\nclimatology = { period = "2018", least_days = 1 }\n'
    plain = 'asset = "lst"\nresampling = "nearest"\ntime = "daily"\n'
    file.write_text(file.read_text().replace(plain, 'asset = "lst"\n' + wanted))
    done = run("climatology", "--project", project, code=1)
    assert "climatology of 'lst': no item of collection glass-lst" in done.stderr
    geobox = MODIS_SINUSOIDAL_1KM.geobox("h18v04").zoom_out(20)
    put(open_catalog(project), "glass-lst", "LST", geobox, {"lst": image(geobox)}, date(2018, 7, 1))
    made = json.loads(run("climatology", "--project", project, "--json").stdout)
    assert made == [{"feature": "lst", "new": 1, "replaced": 0, "done": 0}]
    elsewhere = run("climatology", "lst", "--bbox", "-5,40,-4,41", "--project", project, code=1)
    assert "no item of collection glass-lst" in elsewhere.stderr
    assert "done" in run("climatology", "--project", project).stdout


def test_init_makes_a_project_and_keeps_an_existing_one(project):
    file = project / "stac-sm.toml"
    changed = file.read_text().replace('version = "001" ', 'version = "002" ')
    file.write_text(changed)
    done = run("init", project)
    assert done.stdout.strip() == str(project / "catalog.json")
    assert file.read_text() == changed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ingest", "era5", "FOLDER"], ["'era5' is unknown", "era5-land"]),
        (["ingest", "era5-land", "/no/such/file"], ["/no/such/file does not exist"]),
        (["ingest", "era5-land", "FOLDER"], ["holds no file like *.nc"]),
        (["features", "h99v05", "2019-06-01"], ["'h99v05' is not in grid", "h00v00 to h35v17"]),
        (["features", "h18v04", "June"], ["'June' is no day, month or year", "2018-07"]),
        (["features", "h18v04", "2019-06-02/2019-06-01"], ["is empty"]),
        (["features", "h00v00", "2019-06-01"], ["off the Earth"]),
        (["features", "h18v04", "2019-06-01"], ["no item found for", "lst (collection glass-lst", "ingest them"]),
        (["climatology", "lts"], ["feature 'lts' is unknown", "did you mean 'lst'"]),
        (["climatology", "lst"], ["feature 'lst' has no climatology", "add climatology"]),
        (["matchup"], ["no station found", "stac-sm ingest ismn"]),
        (["train"], ["no station found", "stac-sm ingest ismn"]),
        (["plan", "--tiles", "h18v04", "--period", "2019"], ["0 models found", "stac-sm train"]),
        (["plan", "--tiles", "h18v04", "--period", "2019", "--model", "x"], ["'x' is not in collection 'sm-models'"]),
        (["run", "plan.parquet"], ["plan.parquet is no plan (there is no such file)", "`stac-sm plan` writes one"]),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_1(project, arguments, words):
    named = [str(project) if argument == "FOLDER" else argument for argument in arguments]
    done = run(*named, "--project", project, code=1)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["plan", "--land", "--tiles", "h18v04"], 1, "give one of --tiles, --at, --bbox and --land"),
        (["plan", "--period", "2019", "--bbox", "1,2,3"], 1, "four numbers are required"),
        (["ingest"], 2, "Missing argument '[SOURCE] PATHS...'"),
        (["trian"], 2, "No such command"),
    ],
)
def test_only_a_command_line_that_cannot_be_read_is_exit_code_2(project, arguments, code, words):
    options = ["--project", str(project)] if arguments[0] in main.commands else []
    assert words in run(*arguments, *options, code=code).stderr


@pytest.mark.parametrize(("number", "by"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_ends_a_command_with_its_workers(number, by, tmp_path):
    """It says so at once; before, SIGTERM left the processes of a pool behind, each with its memory."""
    command = [sys.executable, "-m", "stac_sm", "simulate", tmp_path / "earth", "--workers", "2"]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        ends, workers = time.monotonic() + 120, []
        while len(workers) < 4 and time.monotonic() < ends:  # their server and its tracker, too
            time.sleep(0.1)
            workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert f"ended by {by}: what is made stays; run the same command again to make the rest" in said
    assert "Traceback" not in said
    assert len(workers) >= 4
    assert not psutil.wait_procs(workers, timeout=30)[1]


def test_without_a_project_it_says_how_to_make_one(tmp_path):
    done = run("matchup", "--project", tmp_path, code=1)
    assert "no stac-sm.toml" in done.stderr
    assert "stac-sm init" in done.stderr


def test_a_misspelt_key_is_refused_with_the_nearest(project):
    file = project / "stac-sm.toml"
    file.write_text(file.read_text().replace("[training]", "[trainig]"))
    done = run("matchup", "--project", project, code=1)
    assert "did you mean 'training'?" in done.stderr


def test_ingest_names_the_bad_file_does_the_others_and_ends_with_1(project, shared, tmp_path):
    good = shared / "data" / "era5" / "ERA5Land_Western-Australia_20200601_20200607.nc"
    bad = tmp_path / "bad.nc"
    bad.write_bytes(good.read_bytes()[:10000])
    done = run("ingest", "era5-land", good, bad, "--project", project, "--json", "--workers", 1, code=1)
    results = {result["file"]: result for result in json.loads(done.stdout)}
    assert results[str(good)]["status"] == "new"
    assert results[str(good)]["items"] == {"new": 7}
    assert results[str(bad)]["status"] == "failed"
    assert "10000 bytes" in results[str(bad)]["error"]
    assert "1 of 2 files failed" in done.stderr
    again = run("ingest", "era5-land", good, "--project", project, "--workers", 1)
    assert again.stdout == "done: 1 files, 7 items\n"


def test_features_shows_what_the_model_would_see(project, shared):
    file = project / "stac-sm.toml"
    head, _, _ = file.read_text().partition("[recipe]")
    recipe = '[[recipe.features]]\nname = "swvl1"\ncollection = "era5-land"\nasset = "swvl1"\nresampling = "bilinear"\n'
    file.write_text(head + '[recipe]\nderived = ["latitude"]\n' + recipe)
    granule = shared / "data" / "era5" / "ERA5Land_Western-Australia_20200601_20200607.nc"
    run("ingest", "era5-land", granule, "--project", project, "--workers", 1)
    saved = project / "cube.nc"
    done = run("features", "h28v11", "2020-06-03", "--project", project, "--json", "--save", saved)
    swvl1, latitude = json.loads(done.stdout)
    assert (swvl1["feature"], swvl1["units"], swvl1["items"]) == ("swvl1", "m3 m-3", 1)
    assert 0 <= swvl1["min"] < swvl1["mean"] < swvl1["max"] < 1
    assert -30 <= latitude["min"] < latitude["max"] <= -20
    import xarray as xr

    other = run("features", "h28v11", "2020-06-07/2020-06-08", "--project", project, "--json")
    assert "2020-06-08: no input for swvl1" in other.stderr
    assert "2020-06-07" not in other.stderr
    with xr.open_dataset(saved) as cube:
        assert cube["swvl1"].shape == (1, 1200, 1200)
        assert float(cube["swvl1"].max()) == pytest.approx(swvl1["max"])


def test_init_says_what_it_left_alone(tmp_path):
    first = run("init", tmp_path / "p", "--json")
    assert json.loads(first.stdout) == {
        "catalog": f"{tmp_path}/p/catalog.json", "new": ["stac-sm.toml", "catalog.json"], "left_alone": [],
    }  # fmt: skip
    assert "left alone" not in first.stderr
    before = (tmp_path / "p/stac-sm.toml").read_bytes()
    again = run("init", tmp_path / "p", "--recipe", "glass-sm")
    assert "left alone, since there already: stac-sm.toml, catalog.json" in again.stderr
    assert (tmp_path / "p/stac-sm.toml").read_bytes() == before
    (tmp_path / "p/catalog.json").unlink()
    found = json.loads(run("init", tmp_path / "p", "--json").stdout)
    assert (found["new"], found["left_alone"]) == (["catalog.json"], ["stac-sm.toml"])


def test_every_command_prints_json():
    bare = {name: one for name, one in main.commands.items() if not isinstance(one, click.Group)}
    bare |= {f"model {name}": one for name, one in main.commands["model"].commands.items()}
    for name, one in bare.items():
        assert any("--json" in option.opts for option in one.params), name


def test_keys_of_json_have_no_blanks(capsys):
    """Whatever a table calls them; keys inside a value are data, such as reasons."""
    row = {"GB to read": 1, "left out": {"a reason": 2}, "tile-days": 3, "GET": 4}
    keys = {"gb_to_read": 1, "left_out": {"a reason": 2}, "tile-days": 3, "GET": 4}
    print_result(row, True)
    assert json.loads(capsys.readouterr().out) == keys
    print_result([row], True)
    assert json.loads(capsys.readouterr().out) == [keys]
    print_result(row, False)
    assert "GB to read" in capsys.readouterr().out


def test_tiles_names_where_a_point_or_a_box_is(project):
    """West longitudes and south latitudes begin with a minus, which is no option."""
    (perth,) = json.loads(run("tiles", "--at", "115.86,-31.95", "--json", "--project", project).stdout)
    assert perth == {
        "tile": "h27v12",
        "bbox": [103.923, -40.0, 130.5407, -30.0],
        "land": True,
        "row": 234,
        "column": 997,
    }
    west, south, east, north = perth["bbox"]
    assert west < 115.86 < east
    assert south < -31.95 < north
    (hawaii,) = json.loads(run("tiles", "--at", "-156.3,20.8", "--json", "--project", project).stdout)
    assert hawaii["tile"] == "h03v06"
    fiji = json.loads(run("tiles", "--bbox", "179,-18,-179,-17", "--json", "--project", project).stdout)
    assert [row["tile"] for row in fiji] == ["h00v10", "h35v10"]
    assert "h27v12" in run("tiles", "--bbox", "115,-32,116,-31", "--project", project).stdout
    sea = run("tiles", "--at", "-140,-40", "--project", project)
    assert "no land there: nothing is made of it" in sea.stderr


def test_tiles_outside_of_a_project_are_those_of_the_grid_of_a_new_one(project, tmp_path, monkeypatch):
    place = ["tiles", "--at", "115.86,-31.95", "--json"]
    monkeypatch.chdir(tmp_path)
    done = run(*place)
    assert done.stdout == run(*place, "--project", project).stdout
    assert "no project here or above: the tiles are those of grid modis-sinusoidal-1km" in done.stderr
    assert (
        "no stac-sm.toml" in run(*place, "--project", tmp_path, code=1).stderr
    )  # a project that is named must be there
    (project / "stac-sm.toml").write_text("[grids]")
    monkeypatch.chdir(project)
    assert "'grids'" in run(*place, code=1).stderr  # one that is there and wrong is not passed over


def test_a_place_in_the_sea_is_refused_with_the_tile_that_a_swap_would_have(project):
    """Both numbers of many places are within 90, so that only the land can tell."""
    for command in (["features", "2019-06-01"], ["plan"], ["validate"]):
        done = run(*command, "--at", "-31.95,25", "--project", project, code=1)
        assert "no land found in h15v06 (west" in done.stderr
        assert "; 25,-31.95 would be in h20v12 (west 23.09" in done.stderr
        assert "can be named by --tiles" in done.stderr
    for command in ("plan", "climatology"):
        done = run(command, "--bbox", "-32,25,-31,26", "--project", project, code=1)
        assert "no land found in h15v06" in done.stderr
        assert "; 25,-32,26,-31 would be in h20v12 (west 23.09" in done.stderr


CALLED_BELOW_WORKFLOWS = {
    ("stac_sm.features.climatology", "features_needing_climatology"),
    ("stac_sm.features.climatology", "make_climatology"),
    ("stac_sm.ingest.pipeline", "ingest"),
    ("stac_sm.ingest.pipeline", "ingest_sorted"),
    ("stac_sm.ingest.registry", "RASTER"),  # a word that ingest takes for a source
    ("stac_sm.ingest.registry", "provider_classes"),  # named by the help of ingest
    ("stac_sm.model.item", "MODELS_COLLECTION"),  # evaluate MODEL may be an id of the project's
    ("stac_sm.model.skill", "read_skill"),  # plan and train say the skill of a model
    ("stac_sm.model.skill", "skill_sentences"),
    ("stac_sm.ingest.sorting", "SortedFile"),  # a type: what each file was taken for
    ("stac_sm.product.aggregates.means", "ANNUAL"),
    ("stac_sm.product.aggregates.means", "MONTHLY"),
    ("stac_sm.product.aggregates.means", "make_means"),
    ("stac_sm.product.aggregates.mosaic", "make_mosaics"),
    ("stac_sm.product.export.export", "ExportRequest"),
    ("stac_sm.model.item", "model_item_href"),  # --model of a command, by its id
    ("stac_sm.product.export.export", "export_product"),
    ("stac_sm.product.pictures", "draw"),
    ("stac_sm.product.product_id", "is_product_id"),  # status takes a plan or an item
    ("stac_sm.raster.plots", "check_suffix"),  # --plot of features
    ("stac_sm.raster.plots", "plot_cube"),
    ("stac_sm.stac.catalogs.catalog", "open_catalog"),  # --catalog of plot
    ("stac_sm.stac.index.update", "refresh_and_index"),  # the command index
    ("stac_sm.stac.pgstac", "load_pgstac"),  # the command index --to
    ("stac_sm.stac.simulated", "SIMULATED_FIELD"),  # whether a model is
    ("stac_sm.stac.simulated", "SIMULATED_NOTE"),  # a sentence of plan and train
    ("stac_sm.storage.address", "is_remote"),  # whether a word of ingest is an address
    *(
        ("stac_sm.storage.log_lines", name)  # log lines of a command, before it calls anything
        for name in (
            *("LEVEL_VARIABLE", "LOG_FORMATS", "LOG_LEVELS", "STAGE_VARIABLE"),
            *("json_line", "logs_as_json", "start_logging"),
        )
    ),
    ("stac_sm.storage.log_lines", "stop_logging"),
    ("stac_sm.storage.address", "local_path"),  # a file or folder that an option names, as a path or file: address
}
"""What commands call below the workflows: one stage each, and names that arguments and help texts need."""


def test_commands_parse_call_and_print():
    """What a command does to the catalogue is done by what it calls, so that Python callers get as much."""
    imported = {
        (str(node.module), alias.name)
        for file in (ROOT / "stac_sm" / "cli").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    other = ("cli", "demo", "serve", "simulate", "doctor", "workflows", "core")
    types = {("stac_sm.product.aggregates.source_items", "AggregateResult"), ("stac_sm.product.pictures", "Picture")}
    ours = {one for one in imported if one[0].startswith("stac_sm.") and one[0].split(".")[1] not in other}
    assert ours - types == CALLED_BELOW_WORKFLOWS
