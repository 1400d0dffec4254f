"""The wrong thing typed on purpose: each ends in a clear message and exit code 1 (2 where click's parser cannot
read the command line), without a traceback, and a misspelt name is answered with the right one.

The whole answers to what is typed are in wrong_input_answers.txt, as they were approved: each says what is wrong with
which thing, what was found, what is required and what to do. Where one is changed on purpose, read it, and
`STAC_SM_APPROVE=1 uv run pytest -n 0 tests/cli/test_wrong_input.py` writes the file again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from stac_sm.cli import main as main_module
from stac_sm.cli.main import main
from stac_sm.core.period import Period
from stac_sm.ingest.registry import provider_classes
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.workflows.plan.plan import make_plan
from stac_sm.workflows.plan.plan_file import write_plan
from stac_sm.workflows.project import create_project
from stac_sm.workflows.project_template import TEMPLATES
from tests.support.fields import DAYS, SMALL, TILE, copied_project, read_model
from tests.support.plan_runs import run_here

DAY = "2018-07-01"
MADE = "SM1KM.A2018182.h01v01.v001"
ANSWERS = Path(__file__).with_name("wrong_input_answers.txt")
APPROVE = bool(os.environ.get("STAC_SM_APPROVE"))
APPROVAL = "STAC_SM_APPROVE=1 uv run pytest -n 0 tests/cli/test_wrong_input.py"
FEATURES = f"features {TILE} {DAY}"
PLAN = f"plan --tiles {TILE} --period {DAY}"
TRAIN = "train P/t.csv --target sm --site site --time date --out P/m"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A project with inputs, a model, a plan and two days of the product; beside it another one, empty."""
    folder = tmp_path_factory.mktemp("wrong")
    project, model_id, _ = copied_project(folder / "p")
    catalog = open_catalog(project.folder)
    days = Period.parse(f"{DAY}/2018-07-02")
    plan = make_plan(catalog, read_model(catalog, model_id), [TILE], days, grid=SMALL, version="001")
    run_here(project, plan)
    for name, period in (("made", days), ("wanted", DAYS)):
        plan = make_plan(open_catalog(project.folder), read_model(catalog, model_id), [TILE], period, grid=SMALL,
                         version="001")  # fmt: skip
        write_plan(plan, folder / "p" / "plans" / f"{name}.parquet", project.grid)
    rows = [f"s{i % 3},2018-07-{i % 28 + 1:02d},0.{i % 5 + 1},{i},{2 * i}\n" for i in range(60)]
    (folder / "p" / "t.csv").write_text("site,date,sm,a,b\n" + "".join(rows))
    percent = [f"s{i % 3},2018-07-{i % 28 + 1:02d},{i % 5 + 10},{i},{2 * i}\n" for i in range(60)]
    (folder / "p" / "percent.csv").write_text("site,date,sm,a,b\n" + "".join(percent))
    create_project(folder / "other", TEMPLATES["glass"])
    return folder


@pytest.fixture(scope="module")
def approved():
    """Answers by what is typed; written again at the end where they are to be approved."""
    parts = ANSWERS.read_text().split("\n$ stac-sm ") if ANSWERS.exists() else []
    answers = {line: text.strip("\n") for line, _, text in (part.partition("\n") for part in parts[1:])}
    yield answers
    if APPROVE:
        head = "What stac-sm answers to wrong input. P is a project of two days of the product, OTHER an empty one.\n"
        known = [line for line, _, _ in TYPED if line in answers]
        ANSWERS.write_text(head + "".join(f"\n$ stac-sm {line}\n{answers[line]}\n" for line in known))


KNOWN = re.compile(r"(\b(?:source|collection) '[^']*' is unknown: known are) [^;\n]+")
"""Lists of all sources and collections: a new one changes no approved answer."""


def answer(done, base: Path) -> str:
    """What is printed on standard error, without places and ids that are others in each run, and without long lists."""
    text = done.stderr.replace(str(base / "p"), "P").replace(str(base / "other"), "OTHER").replace(str(base), "HERE")
    lines = [line for line in text.splitlines() if not re.search(r" s left$", line)]  # progress
    lines = [re.sub(r" has plans/.*", " has plans/…", line) for line in lines]  # other tests may have written some
    text = re.sub(r"xgb-[0-9a-f]{12}", "xgb-ID", re.sub(r"plan [0-9a-f]{12}", "plan ID", "\n".join(lines)))
    return KNOWN.sub(r"\1 (ALL)", text).strip("\n")


def typed(line: str, base: Path, project: Path):
    """What a line makes of it, P being the project, and OTHER another one."""
    places = {"P": str(project), "OTHER": str(base / "other"), "SM": "xgb-none"}
    words = [places.get(word, word) for word in line.split(" ")]
    words = [f"{project}{word[1:]}" if word.startswith("P/") else word.replace("_", " ") if word[:2] == "__" else word
             for word in words]  # fmt: skip
    if "--project" not in words and words[0] in main.commands and words[0] not in {"init", "demo", "simulate"}:
        words += ["--project", str(project)]
    return CliRunner().invoke(main, words, prog_name="stac-sm")


def refused(done, words: str, code: int) -> None:
    assert isinstance(done.exception, SystemExit), repr(done.exception)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    assert len(done.stderr.splitlines()) <= 4
    for word in words.split(" … "):
        assert word in done.stderr, done.stderr


TYPED = [
    # how a command is called
    ("trian", 2, "No such command 'trian'. Did you mean 'train'"),
    ("plan --tile h01v01", 2, "No such option '--tile'. … '--tiles'"),
    ("ingest glass-lst . --workers 0", 2, "0 is not in the range x>=1"),
    ("init P/x --recipe glas", 2, "'glas' is not one of 'memory', 'glass-sm', 'public', 'glass'"),
    ("demo P/stac-sm.toml", 1, "a file found, a folder is required"),
    ("features h01v01", 1, "h01v01: TILE and DAY are required, or DAY and --at LON,LAT"),
    (f"features h01v01 {DAY} --at 9,46", 1, "DAY is required beside --at"),
    ("features --at 9,46", 2, "Missing argument '[TILE] DAY'"),
    ("tiles", 1, "give one of --at and --bbox"),
    ("tiles --at -31.95,115.86", 1, "latitude 115.86 found … if latitude came first, give 115.86,-31.95"),
    ("tiles --at 200,10", 1, "200 degrees east is -160"),
    ("tiles --at 9", 1, "two numbers are required, LON,LAT"),
    (f"plan --at 91,-91 --period {DAY}", 1, "-90 to 90 degrees north"),
    ("validate --bbox -32,115,-31,116", 1, "if latitude came first, give 115,-32,116,-31"),
    ("run P/plans/wanted.parquet --at nan,1", 1, "longitude nan"),
    (f"{FEATURES} --save P/x.tif", 1, "a name that ends with .nc is required"),
    ("climatology --bbox 1,2,3", 1, "four numbers are required, WEST,SOUTH,EAST,NORTH"),
    ("plan --bbox 6,43,9,x", 1, "four numbers are required"),
    ("plan --bbox nan,nan,nan,nan", 1, "WEST,SOUTH,EAST,NORTH are required in degrees"),
    ("plan --bbox 6,143,9,146", 1, "in degrees"),
    ("plan --land --tiles h01v01", 1, "give one of --tiles, --at, --bbox and --land"),
    (f"{PLAN} --max-cost -1", 2, "-1.0 is not in the range x>=0"),
    ("train P/t.csv --site site", 1, "--target, --time, --out required beside a TABLE"),
    ("train --plain", 1, "--plain goes with a TABLE"),
    ("train P/plans --target sm --site site --time date --out P/m", 1, "a folder found, a file is required"),
    ("submit P/plans/wanted.parquet --to pbs", 2, "'pbs' is not one of 'aws-batch', 'slurm'"),
    ("submit P/plans/wanted.parquet --to aws-batch", 1, "--to aws-batch requires --infra"),
    (f"retract {MADE}", 2, "Missing option '--reason'"),
    ("audit --sample 2", 2, "2.0 is not in the range 0<=x<=1"),
    ("audit --repair --grace -1", 2, "-1.0 is not in the range x>=0"),
    ("annual 2018 --tiles h01v01 --global", 1, "give one of --tiles and --global"),
    ("plot 2018-07 --at x,y", 1, "two numbers are required, LON,LAT"),
    ("serve --port 99999", 2, "99999 is not in the range"),
    # places and files
    ("plan --project /no/such/folder", 1, "project: there is no folder /no/such/folder: check the path"),
    ("init P/stac-sm.toml", 1, "stac-sm.toml … take it away, or name another place"),
    ("init P/stac-sm.toml/x", 1, "stac-sm.toml … a folder is required there"),
    ("ingest glass-lst /no/such", 1, "/no/such does not exist: name files or folders that hold GLASS06A01.*.hdf"),
    ("ingest ismn P/plans", 1, "holds no file like *.zip or *_sm_*.stm: check the source's name"),
    ("ingest glass-lst https://example.org/a.hdf", 1, "download them first"),
    ("ingest glass-lst P/stac-sm.toml", 1, "found the name stac-sm.toml, expected one like GLASS06A01 … 1 of 1 files"),
    (f"{FEATURES} --plot P/x.doc", 1, "a name that ends with .png, .pdf, .svg is required"),
    (f"plot {DAY} --tile h01v01 --out P/x.jpg", 1, "a name that ends with .png, .pdf, .svg is required"),
    (f"plot {DAY} --tile h01v01 --out P/none/x.png", 1, "x.png … check the path"),
    (f"plot {DAY} --catalog /no/such --bbox 8,46,9,47", 1, "/no/such/catalog.json is no file: check the path"),
    ("train /no/such.csv --target sm --site site --time date --out P/m", 1, "there is no such file; give a CSV or"),
    ("train P/stac-sm.toml --target sm --site site --time date --out P/m", 1, ".csv or .parquet is required"),
    ("train P/t.csv --target sm --site site --time date --out P/plans", 1, "a new or empty folder is required"),
    (f"{PLAN} --out P/plans", 1, "plans … a file is required there"),
    ("run no.parquet", 1, "no.parquet is no plan (there is no such file): `stac-sm plan` writes one"),
    ("run P/stac-sm.toml", 1, "stac-sm.toml is no plan"),
    ("run P/plans", 1, "plans is no plan (it is a folder"),
    ("status no.parquet", 1, "no.parquet is no plan (there is no such file) … has plans/"),
    ("status nosuch", 1, "nosuch is no plan (there is no such file) … has plans/ … made.parquet"),
    ("submit nosuch --to slurm", 1, "nosuch is no plan … has plans/"),
    ("submit P/plans/wanted.parquet --to aws-batch --infra P/stac-sm.toml", 1, "holds no outputs of infra/aws"),
    ("submit P/plans/wanted.parquet --to kubernetes --image x:1", 1, "which pods do not see: put it on S3"),
    ("serve --catalog /no/such --port 0", 1, "/no/such/catalog.json is no file: check the path"),
    ("evaluate P/catalog.json P/t.csv", 1, "is no STAC item of a model … give the href of an item in sm-models"),
    ("evaluate P/plans P/t.csv", 1, "item.json is no STAC item of a model"),
    # addresses where a path of this machine is required
    ("simulate s3://bucket/x", 1, "'s3://bucket/x' is an S3 address: a path of this machine is required"),
    (TRAIN + " --out gs://bucket/x", 1, "a path of this machine is required"),
    (f"{FEATURES} --save https://host/x.nc?sig=1", 1, "'https://host/x.nc' is a web address"),
    ("ingest cop-dem file:///nowhere.tif", 1, "/nowhere.tif does not exist"),
    ("ingest cop-dem file://host/x.tif", 1, "names a file on the host 'host'"),
    # names
    ("ingest glass-ls .", 1, "source 'glass-ls' is unknown … did you mean 'glass-lst'?"),
    ("ingest GLASS-LST .", 1, "did you mean 'glass-lst'?"),
    ("features h99v99 2018-07-01", 1, "tile 'h99v99' is not in grid small: its tiles are h00v00 to h02v02"),
    ("features H01V01 2018-07-01", 1, "tile 'H01V01' is not in grid small"),
    (f"{FEATURES} --reader odcc", 2, "'odcc' is not one of 'stackstac', 'odc'"),
    ("climatology lts", 1, "feature 'lts' is unknown: known are lst, lai, swvl1, elevation; did you mean 'lst'?"),
    ("climatology lst", 1, "feature 'lst' has no climatology: add climatology ="),
    (TRAIN.replace("--target sm", "--target soil"), 1, "no column 'soil' (nearest: site); required by training"),
    (TRAIN + " --features a,c", 1, "no column 'c' (found: a, b, date, site, sm); required by --features"),
    (TRAIN.replace("--target sm", "--target site"), 1, "column 'site' holds no numbers"),
    (TRAIN.replace("--time date", "--time site"), 1, "holds no dates: found 's0' in row 1; days as 2018-07-01"),
    ("evaluate xgb-none P/t.csv", 1, "item 'xgb-none' is not in collection 'sm-models' … check the id"),
    (f"{PLAN} --model xgb-1", 1, "item 'xgb-1' is not in collection 'sm-models'"),
    (f"plan --tiles h18v04 --period {DAY}", 1, "tile 'h18v04' is not in grid small"),
    (f"plan --tiles  --period {DAY}", 1, "tile '' is not in grid small"),
    (f"plan --land --period {DAY}", 1, "land tiles are known for modis-sinusoidal-1km only … name --tiles"),
    ("annual 2018 --tiles h99v99", 1, "tile 'h99v99' is not in grid small"),
    ("validate --period 2018 --tiles h99v99", 1, "tile 'h99v99' is not in grid small"),
    (f"plot {DAY} --tile h99v99", 1, "tile 'h99v99' is not in grid small"),
    (f"plot {DAY} --tile h01v01 --mask clouds", 1, "flag 'clouds' is unknown: known are gap_filled, frozen, snow"),
    ("audit glass-ls", 1, "collection 'glass-ls' is unknown … did you mean 'glass-lst'?"),
    ("index glass-ls", 1, "collection 'glass-ls' is unknown … did you mean 'glass-lst'?"),
    ("index --to mysql://x", 1, "postgresql://USER@HOST/DATABASE required"),
    ("status SM1KM.A2018.h01v01", 1, "an id such as SM1KM.A2018182.h03v06.v001 is required"),
    ("status SM1KM.A2011179.h01v01.v001", 1, "no task has tried to make it"),
    ("retract foo --reason x", 1, "item 'foo': an id such as SM1KM.A2018182.h03v06.v001 is required"),
    ("retract SM1KM.A2011179.h01v01.v001 --reason x", 1, "1 of 1 items are not in sm-1km-daily … nothing was changed"),
    # days, boxes, numbers
    ("features h01v01 01.07.2018", 1, "'01.07.2018' is no day, month or year; write the year first, with hyphens"),
    ("features h01v01 2018-02-30", 1, "'2018-02-30' is no day, month or year"),
    ("plan --tiles h01v01 --period 2018-07-07/2018-07-01", 1, "is empty: the last day lies before the first"),
    ("plan --tiles h01v01 --period 2018/07", 1, "'07' is no day, month or year"),
    ("mosaic --period June", 1, "'June' is no day, month or year"),
    ("annual 20018", 1, "'20018' is no day, month or year"),
    (f"plan --bbox 9,46,6,43 --period {DAY}", 1, "south above north; the order is WEST,SOUTH,EAST,NORTH"),
    (f"plan --bbox 100,-46,101,-43 --period {DAY}", 1, "no tile found: a box that meets grid small is required"),
    (f"plan --at 100,-46 --period {DAY}", 1, "point (100, -46) lies outside grid small"),
    ("run P/plans/wanted.parquet --tiles h00v00", 1, "has no tile-day on h00v00 (west … its tiles are h01v01 (west"),
    ("run P/plans/wanted.parquet --tiles h01v01 --at 9,46", 1, "give one of --tiles, --at, --bbox"),
    ("plot 2018-07 --tile h01v01", 1, "31 days found, one day is required for a map; --at draws a series"),
    (f"plot {DAY} --tile h01v01 --minus yesterday", 1, "'yesterday' is no day, month or year"),
    ("plot 2018-07 --at 170,-40", 1, "point (170, -40) lies outside grid small"),
    ("plot 2001-07-01", 1, "no global day 2001-07-01: `stac-sm mosaic --period 2001-07-01` makes it"),
    ("validate --period 2001", 1, "no product found on 2001-01-01/2001-12-31"),
    ("run P/plans/wanted.parquet --memory lots", 1, "memory 'lots': write e.g. 4G or 500M"),
    ("run P/plans/wanted.parquet --slice 8/8", 1, "slice 8/8: there are 0/8 to 7/8"),
    ("run P/plans/wanted.parquet --slice a/b", 1, "slice 'a/b': I/N required"),
    ("run P/plans/wanted.parquet --scheduler slrm", 1, "scheduler 'slrm': write its address"),
    ("plot 2018-07-20 --tile h01v01", 1, "no product found"),
    (TRAIN.replace("t.csv", "percent.csv"), 1, "--target-unit percent"),
    ("evaluate P/no-model P/t.csv", 1, "no-model: there is no such folder"),
    ("tiles --at 7,44 --bbox 6,43,9,46", 1, "give one of --at and --bbox"),
    ("export --at 9,46 --period 01/07/2018 --to P/x.nc", 1, "is no day, month or year"),
    ("export --at 46,190 --period 2018-07 --to P/x.nc", 1, "latitude 190"),
    ("validate --period 2018-07 --against sm", 1, "collection 'sm'"),
    ("mosaic --period 2018-07-01/", 1, "is no day, month or year"),
    # too early
    ("matchup", 1, "no station found, at least one is required: `stac-sm ingest ismn ARCHIVE.zip`"),
    ("screen", 1, "no station found"),
    ("train", 1, "no station found"),
    ("plan --tiles h18v04 --period 2019 --project OTHER", 1, "0 models found (none), one is required: `stac-sm train`"),
    ("status --project OTHER", 1, "has no plan: `stac-sm plan` writes one"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "code", "words"), TYPED, ids=[line for line, _, _ in TYPED])
def test_what_is_typed_wrong_is_told(base, approved, line, code, words, monkeypatch):
    monkeypatch.chdir(base)
    done = typed(line, base, base / "p")
    refused(done, words, code)
    if APPROVE:
        approved[line] = answer(done, base)
    assert approved.get(line, answer(done, base)) == answer(done, base), f"read it; if it is better so: {APPROVAL}"


def test_what_is_known_is_listed_whole(base):
    """The approved answers leave these lists out."""
    found = typed("ingest glass-ls .", base, base / "p").stderr
    listed = re.search(r"known are ([^;]+)", found)[1].split(", ")
    assert listed == sorted({*provider_classes(), "auto", "raster"})
    found = typed("audit glass-ls", base, base / "p").stderr
    listed = re.search(r"known are ([^;]+)", found)[1].split(", ")
    assert listed == sorted(file.parent.name for file in (base / "p").glob("*/collection.json"))


def test_exit_code_2_is_the_parsers_alone(approved):
    """What commands refuse themselves is 1, and nothing in the package but click's parser can end with 2."""
    for line, code, _ in TYPED:
        assert approved[line].startswith("Usage: ") == (code == 2), line
    raised = re.compile(
        r"raise click\.|(sys\.|ctx\.|\b)exit\((?!1\)|128 \+ number\))\S*\)|exit_code = (?!click\.UsageError)"
    )
    for file in sorted(Path(main_module.__file__).parents[1].rglob("*.py")):
        assert not raised.findall(file.read_text()), file


@pytest.mark.parametrize("asked", ["option", "option=", "variable"])
@pytest.mark.parametrize(("line", "code", "words"), [one for one in TYPED if one[1] == 2], ids=lambda one: str(one))
def test_the_parsers_answers_are_json_where_the_log_is(base, line, code, words, asked):
    options = {"option": " --log-format json", "option=": " --log-format=json", "variable": ""}[asked]
    words_ = (line + options).replace("P/", f"{base}/p/").split(" ")
    env = {"STAC_SM_LOG_FORMAT": "json"} if asked == "variable" else {}
    done = CliRunner().invoke(main, words_, prog_name="stac-sm", env=env)
    assert done.exit_code == code
    (answer,) = map(json.loads, done.stderr.splitlines())
    assert answer["level"] == "error"
    for word in words.split(" … "):
        assert word in answer["message"]
    assert " --help` says what is possible)" in answer["message"]


def test_at_least_sixty_answers_are_approved(approved):
    """Each of something that is typed here; the likely mistakes of newcomers are among them."""
    lines = {line for line, _, _ in TYPED}
    assert len(approved) >= 60
    assert set(approved) <= lines
    for part in (
        "--at -31.95,115.86",
        "--at 200,10",
        "01.07.2018",
        "run P/plans",
        "--model xgb-1",
        "h00v00",
        "percent",
    ):
        assert any(part in line for line in approved), part


def test_a_column_too_few_names_what_the_model_wants(base):
    model = open_catalog(base / "p").items("sm-models")[0].id
    refused(
        typed(f"evaluate {model} P/t.csv", base, base / "p"), "model: no feature 'lst' … required: lst, lai, swvl1", 1
    )


def test_a_port_in_use_is_told(base):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = typed(f"serve --port {taken.getsockname()[1]}", base, base / "p")
    refused(done, "cannot be listened on … give another --port or --host", 1)


def written(file: Path, content: bytes) -> None:
    """Write a file that is a hard link so far."""
    file.unlink(missing_ok=True)
    file.write_bytes(content)


def instead(old: str, new: str):
    """Damage: a text in the project file is another."""

    def damage(project: Path) -> None:
        file = project / "stac-sm.toml"
        assert old in file.read_text()
        written(file, file.read_text().replace(old, new, 1).encode())

    return damage


def also(text: str):
    """Damage: a table more in the project file."""
    return lambda project: written(
        project / "stac-sm.toml", ((project / "stac-sm.toml").read_text() + "\n" + text).encode()
    )


def half(pattern: str):
    """Damage: the first half only of some files."""

    def damage(project: Path) -> None:
        files = sorted(project.rglob(pattern))
        assert files
        for file in files:
            written(file, file.read_bytes()[: file.stat().st_size // 2])

    return damage


def gone(pattern: str):
    """Damage: some files are not there."""

    def damage(project: Path) -> None:
        files = sorted(project.rglob(pattern))
        assert files
        for file in files:
            file.unlink()

    return damage


def holding(name: str, content: bytes):
    """Damage: a file that is not what its name says."""
    return lambda project: written(project / name, content)


def shard_as_plan(project: Path) -> None:
    shard = sorted((project / "sm-1km-daily").rglob("*.parquet"))[0]
    written(project / "plans" / "wanted.parquet", shard.read_bytes())


DAMAGED = [
    # the project file
    ("matchup", instead("[project]", "[project"), "is no TOML: … at line 1"),
    ("matchup", instead("[project]", "[projects]"), "table 'projects' is unknown … did you mean 'project'?"),
    ("matchup", instead("title =", "titel ="), "[project] field 'titel' is unknown … did you mean 'title'?"),
    ("matchup", instead('version = "001"', "version = 1"), "[project] version: found 1"),
    ("matchup", instead('version = "001"', 'version = "0/1"'), "[project] version: found '0/1' … use letters, digits"),
    ("matchup", instead("crs = ", 'crs = "EPSG:999999" # '), "[grid] crs: found 'EPSG:999999', which is no CRS"),
    ("matchup", instead("pixel = [", "pixel = [-"), "numbers above 0 are required"),
    ("matchup", instead("tile_shape = ", "tileshape = "), "field 'tileshape' is unknown … did you mean 'tile_shape'?"),
    ("matchup", instead("origin = ", "# "), "[grid] origin is missing: write origin ="),
    ("matchup", instead("tiles = [3, 3]", "tiles = [3, 3, 3]"), "[grid] tiles: found [3, 3, 3]"),
    ("matchup", instead("[recipe]", "[recipes]"), "table 'recipes' is unknown … did you mean 'recipe'?"),
    ("matchup", instead('"average"', '"averge"'), "resampling 'averge' is unknown … did you mean 'average'?"),
    ("matchup", instead('"composite"', '"compostie"'), "time 'compostie' is unknown … did you mean 'composite'?"),
    (
        "matchup",
        instead("collection =", "colection = 'x'\ncollection ="),
        "field 'colection' is unknown … did you mean 'collection'?",
    ),
    ("matchup", instead('name = "lai"', 'name = "lst"'), "lst occurs twice: give every feature its own name"),
    ("matchup", instead('"doy_sin"', '"doy"'), "derived 'doy' is unknown: known are doy_sin, doy_cos, latitude"),
    ("matchup", instead("below = ", "# "), "give one of below = …, above = … and unknown = true"),
    ("matchup", also('[stations]\nmax_depth = "5 cm"'), "[stations] max_depth: found '5 cm'"),
    ("matchup", also('[matchups]\nperiod = "2018-13"'), "'2018-13' is no day, month or year"),
    ("matchup", also('[matchups]\nperiod = "2019/2018"'), "the last day lies before the first"),
    ("matchup", also("[screening]\nmin_corelation = 0.5"), "did you mean 'min_correlation'?"),
    ("matchup", also("[training]\nn_estimators = -5"), "[training] n_estimators: found -5, 1 or more is required"),
    ("matchup", also("[training]\neta = 5"), "[training] eta: found 5.0, above 0 and up to 1 is required"),
    ("matchup", also('[validation]\nstrategies = ["sites"]'), "no strategy 'sites' (nearest: site)"),
    ("matchup", also("[validation]\nfolds = 1"), "[validation] folds: found 1, 2 or more are required"),
    ("matchup", also("[costs]\ncorehour = 1"), "[costs] field 'corehour' is unknown … did you mean 'core_hour'?"),
    ("matchup", also('[slurm]\nmemroy = "8G"'), "[slurm] field 'memroy' is unknown … did you mean 'memory'?"),
    ("matchup", also("[sources.era5land]\nmin_hours = 1"), "source 'era5land' is unknown … did you mean 'era5-land'?"),
    ("matchup", also("[sources.era5-land]\nminhours = 1"), "field 'minhours' is unknown … did you mean 'min_hours'?"),
    ("matchup", also("[sources]\nera5-land = 1"), "[sources.era5-land]: found 1, a table is required"),
    ("matchup", holding("stac-sm.toml", b'title = "B\xf6den"'), "is no TOML: 'utf-8' codec"),
    ("plan", also('[product]\nperiod = "June"'), "'June' is no day, month or year"),
    ("plan", also('[product]\ntiles = ["h18v04"]'), "tile 'h18v04' is not in grid small"),
    (FEATURES, instead('"glass-lst"', '"glas-lst"'), "collection 'glas-lst' is unknown … did you mean 'glass-lst'?"),
    (FEATURES, instead('asset = "lst"', 'asset = "LST"'), "feature 'lst': asset … 'LST' is unknown: … mean 'lst'?"),
    (FEATURES, instead('asset = "lst"', 'asset = "lst"\nsign = "planetary"'), "did you mean 'planetary-computer'?"),
    (FEATURES, instead('asset = "lst"', 'asset = "lst"\ncatalog = "/no/such"'), "/no/such/catalog.json is no file"),
    # files that are not what they seem
    ("ingest ismn P/a.zip", holding("a.zip", b"nothing"), "no readable zip … fetch it again"),
    ("ingest era5-land P/a.nc", holding("a.nc", b"nothing"), "7 bytes found that are no readable NetCDF … fetch it"),
    ("ingest soilgrids P/sand_0-5cm_mean.tif", holding("sand_0-5cm_mean.tif", b"nothing"), "no readable GeoTIFF"),
    (TRAIN, holding("t.csv", b""), "cannot be read (No columns to parse from file): write it again as CSV or"),
    (TRAIN, holding("t.csv", b"\x00\xff" * 50), "cannot be read … write it again as CSV or Parquet"),
    (TRAIN, holding("t.csv", b"site,date,sm,a\ns1,yesterday,0.1,2\ns2,now,0.2,3\n"), "column 'date' holds no dates"),
    ("evaluate P/x.json P/t.csv", holding("x.json", b"{}"), "x.json is no STAC item of a model"),
    ("run P/plans/wanted.parquet", half("wanted.parquet"), "wanted.parquet is no plan"),
    ("run P/plans/wanted.parquet", shard_as_plan, "is no plan (a Parquet file of something else)"),
    # a damaged catalogue
    (FEATURES, holding("catalog.json", b'{"half": '), "catalog.json is no JSON … take it away: `stac-sm init` writes"),
    (FEATURES, gone("glass-lst/collection.json"), "glass-lst/collection.json"),
    (FEATURES, half("glass-lst/collection.json"), "collection.json is no JSON … `stac-sm index` its links"),
    (FEATURES, gone("LST.2018182.*.tif"), "item 'LST.2018182', asset 'lst': … check that the file is there"),
    (FEATURES, half("LST.2018182.*.tif"), "item 'LST.2018182', asset 'lst': … damaged: its checksum is not that of"),
    ("index glass-lst", half("LST.2018182.json"), "left out: … LST.2018182 … 1 files are no items"),
    ("index glass-lst", half("glass-lst/collection.json"), "collection.json is no JSON … take it away"),
    ("audit glass-lst", half("glass-lst/collection.json"), "collection.json is no STAC object … take it away"),
    ("audit", holding("catalog.json", b"[]"), "catalog.json"),
    (PLAN, half("*.ubj"), "was changed after it was published: publish the model again"),
    (PLAN, gone("*.recipe.json"), "asset 'recipe' … is missing: publish the model again"),
    (PLAN, half("sm-models/*/xgb-*[0-9a-f].json"), "is no JSON"),
]


def test_a_damaged_item_is_left_out_of_a_cube_and_named(base, tmp_path):
    shutil.copytree(base / "p", tmp_path / "p", copy_function=os.link)
    half("LST.2018182.json")(tmp_path / "p")
    done = typed(FEATURES, base, tmp_path / "p")
    assert done.exit_code == 0, done.output
    assert re.search(r"^lst +K .* no input +0 +glass-lst +1$", done.stdout, re.MULTILINE)
    assert re.search(r"left out: .*LST.2018182.json is no JSON .* an item the command that made it", done.output)


@pytest.mark.parametrize(("line", "damage", "words"), DAMAGED, ids=[f"{line}: {words}" for line, _, words in DAMAGED])
def test_what_is_damaged_is_told(base, tmp_path, line, damage, words):
    shutil.copytree(base / "p", tmp_path / "p", copy_function=os.link)
    damage(tmp_path / "p")
    refused(typed(line, base, tmp_path / "p"), words, 1)


@pytest.mark.parametrize("file", ["catalog.json", "glass-lst/collection.json", "glass-lst/2018/07/01/catalog.json"])
def test_the_advice_for_a_damaged_catalogue_mends_it(base, tmp_path, file):
    project = tmp_path / "p"
    shutil.copytree(base / "p", project)
    before = typed(FEATURES, base, project).stdout
    (project / file).write_text('{"half": ')
    refused(typed(FEATURES, base, project), "is no JSON … take it away: `stac-sm init`", 1)
    (project / file).unlink()
    assert typed(f"init {project}", base, project).exit_code == 0
    assert typed("index glass-lst", base, project).exit_code == 0
    assert typed(FEATURES, base, project).stdout == before


def test_a_plan_of_another_project_makes_nothing(base, monkeypatch):
    """Its model is not there, and that is what each tile-day says."""
    from stac_sm.workflows.plan.plan_file import read_plan
    from stac_sm.workflows.run.run import run_plan

    monkeypatch.setattr("stac_sm.cli.produce._workers", lambda *_: 1)
    monkeypatch.setattr("stac_sm.workflows.run.run.run_plan", lambda project, plan, **_: run_here(project, plan))
    done = typed("run P/plans/wanted.parquet --project OTHER", base, base / "p")
    assert done.exit_code == 1
    assert "is not in collection 'sm-models'" in done.stderr
    assert callable(read_plan)
    assert callable(run_plan)
