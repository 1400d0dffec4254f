"""READMEs are right, as far as can be seen without running them: size, links, commands, flags, costs, chapters."""

import json
import math
import re
import shlex
import tomllib
from datetime import date

import click
import pytest
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.period import Period
from stac_sm.features.recipe import Recipe
from stac_sm.workflows.project import create_project
from stac_sm.workflows.project_template import TEMPLATES
from tests.benchmarks import costs
from tests.support.readme_blocks import PAGES, ROOT, all_blocks, page_text

BLOCKS = all_blocks()
COMMANDS = [
    line
    for block in BLOCKS
    if block.language == "sh"
    for line in block.text.splitlines()
    if "stac-sm " in line and not line.startswith(("kubectl", "docker"))
]
TOML = [block.text for block in BLOCKS if block.language == "toml"]
CONTRACT = page_text("catalog/README.md")
MOST_LINES = 300
MOST_TERMS = 15


def anchors(text: str) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return {
        re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in re.findall(r"^#+ (.+)$", plain, re.MULTILINE)
    }


def test_the_readme_can_be_read_in_one_sitting():
    """At most 300 lines, and a glossary of at most fifteen terms."""
    text = page_text("README.md")
    assert len(text.splitlines()) <= MOST_LINES
    glossary = text.partition("## Glossary")[2].partition("\n## ")[0]
    assert 10 <= len(re.findall(r"^\| ", glossary, re.MULTILINE)) - 1 <= MOST_TERMS


@pytest.mark.parametrize("page", PAGES)
def test_links_and_anchors_lead_somewhere(page):
    place = (ROOT / page).parent
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page_text(page)):
        name, _, anchor = target.partition("#")
        file = place / name if name else ROOT / page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text()), target


@pytest.mark.parametrize("page", ["README.md", "catalog/README.md", "infra/README.md", "stac_sm/README.md"])
def test_contents_of_a_page_name_all_its_chapters(page):
    text = page_text(page)
    plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    chapters = re.findall(r"^## (.+)$", plain, re.MULTILINE)
    assert re.findall(r"\[([^\]]+)\]\(#", text.partition("\n## ")[0]) == chapters


def test_the_sources_of_the_short_table_are_those_that_can_be_ingested():
    from stac_sm.ingest.registry import provider_classes

    table = page_text("README.md").partition("## Your own data")[2].partition("\n\nNo files")[0]
    named = [
        name for row in re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE) for name in re.findall(r"`([\w-]+)`", row)
    ]
    assert {"ismn", "era5-land", "cop-dem"} <= set(named) <= set(provider_classes())


def test_each_figure_of_the_readme_has_its_command_in_the_benchmarks():
    rows = page_text("README.md").partition("## Figures")[2].partition("\n## ")[0]
    commands = re.findall(r"`(python tests/benchmarks/\w+\.py|stac-sm demo --json)", rows)
    assert len(commands) == 5
    assert [one for one in commands if one not in page_text("tests/benchmarks/README.md")] == []


def test_each_row_of_the_benchmarks_has_command_date_commit_and_machine():
    rows = [line for line in page_text("tests/benchmarks/README.md").splitlines() if line.count(" | ") == 5]
    head = "| what | figure | command | date | commit | machine |"
    figures = [row for row in rows if re.search(r"\| 20\d\d-", row)]
    assert head in rows
    assert len(figures) > 20
    assert [row for row in figures if not re.search(r"`.+`.* \| 20\d\d-\d\d-\d\d \| [0-9a-f]{7} \| A \|$", row)] == []
    for file in re.findall(r"`(?:python|pytest) (tests/\S+\.py)", page_text("tests/benchmarks/README.md")):
        assert (ROOT / file).is_file(), file


@pytest.mark.parametrize("line", list(dict.fromkeys(COMMANDS)))
def test_every_command_of_the_readmes_parses(line):
    words = shlex.split(line.rpartition("stac-sm ")[2].partition("&&")[0], comments=True)
    command = main.commands[words[0]]
    with command.make_context(words[0], words[1:], resilient_parsing=False, **main.context_settings) as context:
        assert isinstance(context, click.Context)


def test_the_features_in_the_readme_are_features():
    toml = next(block for block in TOML if "trailing = 7" in block)
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


def test_every_command_is_in_a_readme():
    text = "".join(page_text(page) for page in PAGES)
    assert [name for name in main.commands if f"stac-sm {name}" not in text] == []


def test_the_flags_in_the_contract_are_those_of_the_code():
    from stac_sm.core.variables import QualityFlag

    row = next(line for line in CONTRACT.splitlines() if line.startswith("| `qa` |"))
    told = {int(bit): name for bit, name in re.findall(r"(\d+) ([a-z -]+?)(?=[,|]| \||\s\()", row.split("bits:")[1])}
    code = {
        flag.value: (flag.name or "").lower().replace("_", " ").replace("gap filled", "gap-filled")
        for flag in QualityFlag
    } | {64: "reserved"}
    assert told == code


def contract_row(name: str) -> str:
    """Second cell of a row of the data contract."""
    (row,) = (line for line in CONTRACT.splitlines() if line.startswith(f"| {name} |"))
    return row.split(" | ", 1)[1].removesuffix(" |")


def in_backticks(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def item_assets(id: str) -> dict:
    from stac_sm.stac.links import skeleton_folder

    return json.loads((skeleton_folder() / id / "collection.json").read_text())["item_assets"]


def test_the_collections_in_the_contract_are_those_of_a_new_project():
    from stac_sm.stac.links import skeleton_collections

    assert sorted(in_backticks(contract_row("collections"))) == sorted(skeleton_collections())


def test_the_layout_in_the_contract_is_that_of_the_collections():
    from stac_sm.stac.links import skeleton_folder

    row = contract_row("layout")
    assert in_backticks(row)[:2] == ["catalog.json", "{collection}/collection.json"]
    told = {id: layout for layout, names in re.findall(r"`([\w/]+)` \(([^)]+)\)", row) for id in names.split(", ")}
    told["stations"] = next(one for one in in_backticks(row) if one == "network")
    kinds = {
        "products": ["sm-1km-daily"], "GLASS": ["glass-lst", "glass-lai", "glass-albedo"], "ERA5-Land": ["era5-land"],
        "CCI": ["esa-cci-sm", "esa-cci-sm-passive"], "stations": ["ismn-stations"],
    }  # fmt: skip
    assert set(told) == set(kinds)
    for kind, ids in kinds.items():
        for id in ids:
            document = json.loads((skeleton_folder() / id / "collection.json").read_text())
            assert document["stac_sm:layout"] == told[kind], id


def test_the_assets_in_the_contract_are_those_of_the_collections():
    daily = {"sm", "uncertainty", "visual", "thumbnail", "qa"}
    assert set(item_assets("sm-1km-daily")) == daily
    for names in ("`sm`", "`uncertainty`", "`visual`, `thumbnail`", "`qa`"):
        assert set(in_backticks(names)) <= daily
        assert contract_row(names)
    row = contract_row("global days and means")
    made = {id: set(item_assets(id)) for id in ("sm-1km-daily-global", "sm-1km-monthly", "sm-1km-annual")}
    named = {"sm", "count", "visual", "overview", "members"}
    assert named <= set(in_backticks(row))
    assert set.union(*made.values()) == named | {"thumbnail"}


def test_how_assets_are_stored_is_what_the_contract_says():
    from stac_sm.product.item import QA_PROFILE, SM_PROFILE, UNCERTAINTY_PROFILE

    row, assets = contract_row("`sm`"), item_assets("sm-1km-daily")
    assert f"rounded to 2^{math.log2(SM_PROFILE.step):.0f} ({SM_PROFILE.step:.2g})" in row
    assert f"nodata {SM_PROFILE.nodata:g}" in row
    for name, profile in (("sm", SM_PROFILE), ("uncertainty", UNCERTAINTY_PROFILE), ("qa", QA_PROFILE)):
        (band,) = assets[name]["bands"]
        assert band.get("nodata") == profile.nodata, name
        assert f"COG, {band['data_type']}" in contract_row(f"`{name}`")
        assert band.get("unit", "m3 m-3") in ("m3 m-3", "1")
        assert name == "qa" or f"{band['data_type']}, {band['unit']}" in contract_row(f"`{name}`")


def test_what_a_file_says_of_itself_in_the_contract_is_what_it_says():
    from stac_sm.product.file_text import file_text
    from stac_sm.product.product_id import ProductId

    id = ProductId.of_day("h18v04", date(2019, 6, 8), "001")
    tags = set(file_text("sm", id).of_file) - {"TIFFTAG_IMAGEDESCRIPTION"}
    told = [one for one in in_backticks(contract_row("what a file says of itself")) if one.isupper()]
    assert sorted(told) == sorted(tags | {"AREA_OR_POINT"})  # which GDAL writes
    pattern = in_backticks(contract_row("product id"))[0]
    assert str(id) == pattern.format(YYYY="2019", DDD="159", tile="h18v04", NNN="001")
    forms = in_backticks(contract_row("global days and means"))[0]
    for span, tile in (("2019-06-08", "global"), ("2019-06", "h18v04"), ("2019", "global")):
        found = str(ProductId(Period.parse(span), tile, "001"))
        regex = re.escape(forms.replace("\\|", "|")).replace(r"\{", "(").replace(r"\}", ")").replace(r"\|", "|")
        assert re.fullmatch(
            regex.replace("NNN", r"\d{3}").replace("(tile|", r"(h\d\dv\d\d|").replace("tile", r"\w+"), found
        ), found


def test_the_fields_in_the_contract_are_described_in_the_schema():
    from stac_sm.stac.links import skeleton_folder

    schema = (skeleton_folder() / "schema.json").read_text()
    named = {one for one in in_backticks(CONTRACT) if re.fullmatch(r"stac_sm:[a-z_]+", one)}
    assert "stac_sm:fingerprint" in named
    assert [one for one in sorted(named) if f'"{one}"' not in schema] == []


def test_the_sources_in_the_table_of_fetch_are_those_of_the_code():
    from stac_sm.workflows.fetch import source_names

    fetched, by_hand = source_names()
    table = CONTRACT.partition("## Fetch the inputs")[2].partition("\n## ")[0]
    rows = [in_backticks(line.split(" | ")[0]) for line in table.splitlines() if line.startswith("| `")]
    assert sorted(name for row in rows if len(row) == 1 for name in row) == fetched
    assert [sorted(row) for row in rows if len(row) > 1] == [by_hand]


def test_the_costs_of_the_benchmarks_are_those_of_the_measured_month():
    table = costs.table(costs.costs(json.loads(costs.MEASURED.read_text())))
    assert table in page_text("tests/benchmarks/README.md")


def test_program_runs_as_a_module_in_the_readme_way():
    assert CliRunner().invoke(main, ["--help"]).exit_code == 0
