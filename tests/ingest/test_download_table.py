"""The table of inputs: one source of truth, complete, in both documents as the providers state it."""

from __future__ import annotations

import inspect
import json
import shlex
import tomllib

import pytest

from stac_sm.cli.main import main
from stac_sm.ingest.download_table import downloads, markdown_table, toml_comments
from stac_sm.ingest.registry import create_provider, provider_classes
from stac_sm.stac.links import skeleton_folder
from stac_sm.workflows.project_template import TEMPLATES
from tests.support.inputs_table import CATALOG_README, with_inputs

ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown_table().splitlines()[2:]]
OURS = ("climatology", "matchups", "validation")


def test_the_readme_of_the_catalogue_has_the_table_of_the_providers():
    text = CATALOG_README.read_text()
    assert with_inputs(text) == text, "run python tests/support/inputs_table.py"
    assert markdown_table() in text


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_new_project_file_has_the_same_inputs_in_its_comments(name):
    assert toml_comments() in TEMPLATES[name]
    assert all(line.startswith("#   ") and len(line) <= 118 for line in toml_comments().splitlines())
    assert tomllib.loads(TEMPLATES[name])["sources"] == {"era5-land": {"min_hours": 24}}


def test_every_source_and_every_collection_of_inputs_is_there():
    assert {name for name, _ in downloads()} == set(provider_classes())
    shipped = {file.parent.name for file in skeleton_folder().glob("*/collection.json")}
    inputs = {id for id in shipped if not id.startswith("sm-") and id not in OURS and not id.endswith("-006")}
    assert {one.collection for _, one in downloads()} == inputs


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1]}")
def test_a_row_says_all_that_a_user_needs(row):
    assert all(row)
    assert len(row) == 9
    source, licence, page, command = row[0].strip("`"), row[6], row[7], row[8].strip("`")
    assert "https://" in page
    assert licence.startswith(("CC-BY", "[terms](https://"))
    program, *words = shlex.split(command)
    assert (program, words[:2]) == ("stac-sm", ["ingest", source])
    main.commands["ingest"].make_context("ingest", words[1:], **main.context_settings)  # click keeps the option of help


@pytest.mark.parametrize(("name", "one"), [*downloads()], ids=lambda value: str(getattr(value, "product", value)))
def test_variables_are_those_that_the_provider_reads(name, one):
    """Each is an asset's band, or stands in the code that reads it."""
    text = inspect.getsource(inspect.getmodule(type(create_provider(name))))
    document = json.loads((skeleton_folder() / one.collection / "collection.json").read_text())
    known = [key.lower() for key in document["item_assets"]]
    for variable in one.request:
        stem = variable.lower().removeprefix("abd_").removesuffix("_1km").removesuffix("_3km")
        assert stem in known or variable.lower() in known or stem in text.lower(), variable


def test_sizes_are_those_of_the_formats():
    """Rows x columns x bytes x fields of the layers, by hand."""
    sizes = {one.product.split(",")[0]: one.megabytes for _, one in downloads()}
    assert sizes["GLASS06A01"] == pytest.approx(1200 * 1200 * 2 * 30 / 1e6)
    assert sizes["MCD43A3"] == pytest.approx(2400 * 2400 * (6 * 2 + 1) * 30 / 1e6)
    assert sizes["ERA5-Land hourly data from 1950 to present"] == pytest.approx(100 * 100 * 3 * 4 * 24 * 30 / 1e6)
    assert sizes["ISMN archive"] == 0
