"""`stac-sm index --to postgresql://…` on a real PostgreSQL with pgstac: bulk, idempotent, told item by item."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.workflows.project import create_project
from stac_sm.workflows.project_template import TEMPLATES
from tests.support.missing import need
from tests.support.pgstac import pgstac_server, why_no_pgstac
from tests.support.served import COLLECTIONS, made_catalog, made_items, place_item, searched

pytestmark = pytest.mark.xdist_group("pgstac")

ITEMS = made_items(2500)


@pytest.fixture(scope="module")
def database():
    """pgstac and its API."""
    need("PostgreSQL with pgstac", why_no_pgstac())
    with pgstac_server() as server:
        yield server


def address(server):
    told = server.environment
    return f"pgstac://{told['PGUSER']}:{told['PGPASSWORD']}@{told['PGHOST']}:{told['PGPORT']}/{told['PGDATABASE']}"


def loaded(project, server, code=0, *collections):
    done = CliRunner().invoke(
        main, ["index", *(collections or COLLECTIONS), "--to", address(server), "--project", str(project), "--json"]
    )
    assert done.exit_code == code, done.output
    rows = json.loads(done.stdout)
    names = ("new", "replaced", "done", "failed", "only_in_the_database")
    return [sum(row[name] for row in rows) for name in names], done.stderr


def test_bulk_idempotent_and_item_by_item(database, tmp_path):
    project = tmp_path / "project"
    create_project(project, TEMPLATES["glass"])
    (project / "catalog.json").unlink()
    made_catalog(project, ITEMS)
    assert loaded(project, database)[0] == [2500, 0, 0, 0, 0]
    assert loaded(project, database)[0] == [0, 0, 2500, 0, 0]
    found = searched(database.address, {"limit": 500, "sortby": [{"field": "id", "direction": "asc"}]}, pages=10)
    assert found == sorted(item["id"] for item in ITEMS)

    place_item(project, ITEMS[0] | {"properties": ITEMS[0]["properties"] | {"platform": "changed", "back": 'a\\b"c'}})
    shutil.rmtree(place_item(project, ITEMS[1]).parent)
    bad = place_item(project, ITEMS[2] | {"geometry": {"type": "Blob", "coordinates": []}})
    nothing = place_item(project, ITEMS[3])
    nothing.write_text("{")
    counts, said = loaded(project, database, code=1)
    assert counts == [0, 1, 2496, 2, 3]  # the three that the store has no more, or not so
    assert bad.name in said
    assert nothing.name in said
    (item,) = _items(database.address, ITEMS[0]["id"])
    assert item["properties"]["platform"] == "changed"
    assert item["properties"]["back"] == 'a\\b"c'
    assert item["assets"]["sm"]["href"].startswith(str(project))


def _items(api, id):
    import requests

    return requests.post(f"{api}/search", json={"ids": [id]}, timeout=30).json()["features"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("mysql://x/y", "postgresql://USER@HOST/DATABASE required"),
        ("postgresql://u:s3cr3t@127.0.0.1:1/x", "check address"),
    ],
)
def test_a_wrong_address_is_one_message_without_its_password(tmp_path, target, said):
    create_project(tmp_path / "project", TEMPLATES["glass"])
    done = CliRunner().invoke(main, ["index", "--to", target, "--project", str(tmp_path / "project")])
    assert done.exit_code == 1
    assert said in done.stderr
    assert "s3cr3t" not in done.output
