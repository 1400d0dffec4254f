"""Nothing restricted is served: every link and route of a project, as a stranger walks them, searched for station
values; and every path to what is hidden."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import boto3
import numpy as np
import pytest
from click.testing import CliRunner

from stac_sm.cli.main import main
from stac_sm.core.errors import InputError
from stac_sm.core.period import ONE_DAY
from stac_sm.serve.query import ItemQuery
from stac_sm.serve.responses import find_item_documents
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.stac.index.update import update_index
from stac_sm.stac.items import with_structural_links
from stac_sm.stations.records import read_stations
from stac_sm.workflows.training.steps import match_up_step, train_step
from stac_sm.workflows.validation.validate import validate_product
from tests.support.fields import SMALL, TILE, around, edit, image, put
from tests.support.leaks import StationValues, ask, paths_of, walk
from tests.support.object_stores import environment_of, moto_server, new_bucket
from tests.support.product_days import FIRST, put_days
from tests.support.served import running
from tests.support.station_project import PERIOD, a_project

HIDDEN = ("ismn-stations", "matchups", "merit-dem")
DOCUMENTS_ONLY = "esa-cci-sm"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Stations, match-ups, a model, days on which stations measured, a validation, a terrain model that may not be
    passed on; all of it indexed."""
    made = a_project(tmp_path_factory.mktemp("visibility") / "p")
    train_step(made, match_up_step(made))
    before = (PERIOD.start - FIRST) // ONE_DAY
    put_days(made.catalog, tiles=[TILE], days=range(before, before + len(PERIOD)))
    coarse = around(SMALL.geobox(TILE), "EPSG:4326", 0.25)
    put(made.catalog, "merit-dem", "n45e010", coarse, {"elevation": image(coarse)}, PERIOD.start)
    validate_product(made, PERIOD)
    reindex(made.folder)
    return made


def reindex(folder):
    catalog = open_catalog(folder)
    for id in catalog.collections:
        update_index(catalog.store, id, layout=catalog.layout(id))


@pytest.fixture(scope="module")
def planted(project):
    """What stations measured, by hour and by day."""
    catalog = open_catalog(project.folder)
    hours = [value for station in read_stations(catalog) for value in station_series(station)]
    days = match_up_step(project).table["sm"]
    return StationValues.of([*hours, *days, *np.float32(days)])


def station_series(station):
    import pandas as pd

    return pd.read_parquet(station.series)["sm"]


@pytest.fixture(scope="module")
def address(project):
    with running(project.folder) as found:
        yield found


@pytest.fixture(scope="module")
def files(project):
    """Paths of all files of the project, as the store names them."""
    return [file.relative_to(project.folder).as_posix() for file in Path(project.folder).rglob("*") if file.is_file()]


@pytest.fixture(scope="module")
def seen(address, files):
    """Answers to all that links lead to, and to every file of the store asked for by its path."""
    return walk(address, "/collections", "/search?limit=1000", *(f"/assets/{path}" for path in files))


def catalog_item(project, collection):
    return open_catalog(project.folder).items(collection)[0]


def asset_path(project, collection, key):
    return Path(catalog_item(project, collection).assets[key].get_absolute_href()).relative_to(project.folder)


def test_no_link_is_broken_or_leads_to_what_is_hidden(address, seen):
    given = {path: answer for path, answer in seen.items() if answer.status == 200}
    ours = {link for path, answer in given.items() for link in paths_of(address, path, answer)}
    assert len(ours) > 100
    for link in ours - {"/aggregate"}:
        assert seen[link or "/"].status == 200, link
    for link in {link for answer in given.values() for link in answer.links} | ours:
        assert not any(f"/{id}" in link for id in HIDDEN), link
        assert ".series." not in link
        assert not link.startswith("file:"), link


def test_no_station_value_is_in_anything_that_is_served(seen, planted):
    served = {path: answer for path, answer in seen.items() if answer.status == 200}
    assert sum(path.startswith("/assets/") for path in served) > 20
    assert {path: found for path, answer in served.items() if (found := planted.found_in(answer.body))} == {}


def test_the_search_for_station_values_finds_them_where_they_are(project, planted, files):
    """A judge that finds nothing proves nothing: in series, match-ups and triplets it finds them."""
    found = {path for path in files if planted.found_in(Path(project.folder, path).read_bytes())}
    for part in ("ismn-stations/", "matchups/"):
        assert any(path.startswith(part) and path.endswith(".parquet") for path in found), part
    assert all(path.startswith(("ismn-stations/", "matchups/", ".scratch/")) for path in found)
    with running(project.folder, "--collections", "ismn-stations", "--collections", "matchups") as opened:
        leaking = [path for path, answer in walk(opened).items() if planted.found_in(answer.body)]
    assert any("/assets/ismn-stations/" in path for path in leaking)
    assert any("/assets/matchups/" in path for path in leaking)


@pytest.mark.parametrize("number", [0.0, 0.25])
def test_values_are_found_as_text_and_as_bytes(planted, number):
    value = float(planted.values[3])
    for content in (json.dumps({"sm": value}).encode(), b"<td>%.7f</td>" % value, np.float32(value).tobytes(),
                    b"x" + np.float64(value).tobytes()):  # fmt: skip
        assert planted.found_in(content)
    assert not planted.found_in(json.dumps({"sm": number, "r": round(value, 3)}).encode())


def test_files_that_are_served_are_those_of_public_documents(project, seen, files):
    served = {path for path in files if seen[f"/assets/{path}"].status == 200}
    assert {path.partition("/")[0] for path in served}.isdisjoint(HIDDEN)
    assert not [path for path in served if "/index/" in path or ".series." in path]
    assert not [path for path in served if path.startswith(DOCUMENTS_ONLY) and not path.endswith(".json")]
    public = {
        "sm-models": ("report", "metrics", "model", "recipe"),
        "validation": ("report", "metrics"),
        "sm-1km-daily": ("sm", "qa"),
        "era5-land": ("swvl1",),
    }
    for collection, keys in public.items():
        for key in keys:
            assert str(asset_path(project, collection, key)) in served, (collection, key)


def test_documents_are_never_given_as_they_are_stored(project, seen, files):
    """By their path they are those of the API: the stored ones name what is hidden."""
    path = next(
        path for path in files if path.startswith("sm-models/xgb") and path.endswith("/" + path.split("/")[1] + ".json")
    )
    stored = json.loads(Path(project.folder, path).read_text())
    assert {link["title"] for link in stored["links"] if link["rel"] == "related"} == {"ismn-stations"}
    assert [link for link in stored["links"] if link["rel"] == "derived_from"]
    given = json.loads(seen[f"/assets/{path}"].body)
    assert [link for link in given["links"] if link["rel"] in {"derived_from", "related"}] == []
    assert given == json.loads(seen[f"/collections/sm-models/items/{stored['id']}"].body)
    assert set(stored["assets"]) - set(given["assets"]) == {"series"}
    day = json.loads(seen["/assets/sm-1km-daily/2018/06/01/catalog.json"].body)
    assert {link["rel"] for link in day["links"]} == {"self", "root", "parent", "item"}


def test_public_pages_have_scores_and_no_series(project, seen):
    for collection in ("sm-models", "validation"):
        page = seen[f"/assets/{asset_path(project, collection, 'report')}"].body.decode()
        series = Path(project.folder, asset_path(project, collection, "series"))
        assert 'id="series"' not in page
        assert "over time at" not in page
        assert "over time at" in series.read_text()
        assert series.name not in page
        hidden = series.read_text().partition("data:image/png;base64,")[2].partition('"')[0]
        assert len(hidden) > 1000
        assert hidden not in page


TRICKS = [
    "{}", "/{}", "./{}", "{}/", "sm-models/../{}", "sm-models/%2e%2e/{}", "sm-models%2f..%2f{}", "{quoted}", "{upper}",
    "{title}", "{doubled}", "{}%00", "{}?x=.tif", "{}%20", "{};x", "sm-models//{}", "..%5c{}", "sm-models/..%5c{}",
    "%2e/{}", "{twice}", "{}%2f.", "sm-models/{}",
]  # fmt: skip


def spelt(trick, path):
    quoted = "".join(f"%{ord(one):02x}" for one in path)
    first, _, rest = path.partition("/")
    names = {
        "quoted": quoted,
        "twice": quoted.replace("%", "%25"),
        "upper": path.upper(),
        "title": f"{first.title()}/{rest}",
        "doubled": path.replace("/", "//"),
    }
    return trick.format(path, **names)


@pytest.mark.parametrize("trick", TRICKS)
def test_no_spelling_of_a_path_leads_to_a_hidden_file(address, project, files, planted, trick):
    assets = (("ismn-stations", "series"), ("matchups", "table"), ("sm-models", "series"), (DOCUMENTS_ONLY, "cci_sm"))
    hidden = [str(asset_path(project, *one)) for one in assets]
    index = next(one for one in files if one.startswith("ismn-stations/index/"))
    for path in [*hidden, index, "ismn-stations/collection.json"]:
        answer = ask(address, f"/assets/{spelt(trick, path)}")
        assert answer.status in {400, 404}, (path, answer.status)
        assert not planted.found_in(answer.body)


def test_every_route_is_closed_for_what_is_hidden(address, project, planted):
    """Those of the OpenAPI document, with the ids of a hidden collection, its item and its asset."""
    item = catalog_item(project, "ismn-stations")
    routes = json.loads(ask(address, "/api").body)["paths"]
    assert len(routes) > 12
    for id, hidden in (("ismn-stations", item.id), ("matchups", catalog_item(project, "matchups").id)):
        place = f"{id}/{hidden}/{hidden}.json"
        for route in routes:
            path = route.replace("{collection}", id).replace("{item}", hidden).replace("{path}", place)
            answer = ask(address, path)
            assert answer.status == (404 if "{" in route else 200), route
            assert "{" in route or hidden.encode() not in answer.body
            assert not planted.found_in(answer.body)


def test_no_search_finds_a_hidden_item(address, project):
    item = catalog_item(project, "ismn-stations")
    questions = [
        {"ids": [item.id]},
        {"collections": list(HIDDEN)},
        {"ids": [item.id], "collections": ["ismn-stations"]},
        {"filter": {"op": "=", "args": [{"property": "collection"}, "ismn-stations"]}, "filter-lang": "cql2-json"},
        {"filter": {"op": "isNull", "args": [{"property": "title"}]}, "filter-lang": "cql2-json", "limit": 1000},
        {"intersects": item.geometry, "limit": 1000},
        {"limit": 1000, "fields": {"include": ["collection", "links", "assets"]}},
    ]
    assert ask(address, "/search", {"sortby": [{"field": "stac_sm:network"}]}).status == 400  # of stations only
    for question in questions:
        answer = ask(address, "/search", question)
        assert answer.status == 200
        assert not {one["collection"] for one in json.loads(answer.body)["features"]} & set(HIDDEN)
        assert not any(f"/{id}" in link for link in answer.links for id in HIDDEN)
    counts = json.loads(ask(address, "/aggregate?aggregations=collection_frequency").body)["aggregations"][0]["buckets"]
    assert {one["key"] for one in counts}.isdisjoint(HIDDEN)
    assert "stac_sm:network" not in json.loads(ask(address, "/queryables").body)["properties"]
    listed = [one["id"] for one in json.loads(ask(address, "/collections").body)["collections"]]
    assert set(listed) == set(open_catalog(project.folder).collections) - set(HIDDEN)
    for id in HIDDEN:
        assert ask(address, f"/collections/{id}/items").status == 404
        assert ask(address, f"/collections/{id}/aggregate").status == 404


def test_a_token_of_a_hidden_item_leads_nowhere(address, project):
    import base64

    pair = json.dumps(["ismn-stations", catalog_item(project, "ismn-stations").id])
    token = base64.urlsafe_b64encode(pair.encode()).decode().rstrip("=")
    assert ask(address, f"/search?token={token}").status == 400


def test_rasters_that_may_not_be_passed_on_have_no_tiles(address, project):
    pytest.importorskip("titiler.core", reason="no titiler: uv sync --extra tiles")
    product = catalog_item(project, "sm-1km-daily")
    assert ask(address, f"/tiles/sm-1km-daily/{product.id}/sm/info").status == 200
    for collection, key in ((DOCUMENTS_ONLY, "cci_sm"), ("merit-dem", "elevation")):
        for what in ("info", "preview.png", "statistics"):
            answer = ask(address, f"/tiles/{collection}/{catalog_item(project, collection).id}/{key}/{what}")
            assert answer.status == 404, (collection, what)


def test_reports_from_before_pages_were_split_stay_inside(project, tmp_path):
    """They do not say that they are public, and hold the series of stations."""
    shutil.copytree(project.folder, tmp_path / "p")
    paths = {}
    for collection in ("sm-models", "validation"):
        paths[collection] = asset_path(project, collection, "report")
        edit(open_catalog(tmp_path / "p"), collection, catalog_item(project, collection).id, as_before)
        file = tmp_path / "p" / collection / "collection.json"
        document = json.loads(file.read_text())
        del document["stac_sm:visibility"], document["item_assets"]
        file.write_text(json.dumps(document))
    with running(tmp_path / "p") as address:
        for collection, path in paths.items():
            found = json.loads(ask(address, f"/collections/{collection}/items").body)["features"][0]
            assert {"report", "series"}.isdisjoint(found["assets"])
            assert "metrics" in found["assets"]
            assert ask(address, f"/assets/{path}").status == 404
            assert str(path).encode() not in b"".join(one.body for one in walk(address).values())


def as_before(item):
    del item["assets"]["series"]
    for asset in item["assets"].values():
        asset.pop("stac_sm:visibility", None)


def test_a_project_of_before_gets_the_defaults(project, tmp_path, planted):
    shutil.copytree(project.folder, tmp_path / "p")
    for file in (tmp_path / "p").glob("*/collection.json"):
        document = json.loads(file.read_text())
        document.pop("stac_sm:visibility")
        file.write_text(json.dumps(document))
    with running(tmp_path / "p") as address:
        answers = walk(address)
    assert not [path for path, answer in answers.items() if planted.found_in(answer.body)]
    assert not [link for answer in answers.values() for link in answer.links if any(f"/{id}" in link for id in HIDDEN)]


def test_an_operator_opens_a_collection_by_name(project):
    item = catalog_item(project, "ismn-stations")
    with running(project.folder, "--collections", "ismn-stations", "--collections", DOCUMENTS_ONLY) as address:
        assert ask(address, f"/collections/ismn-stations/items/{item.id}").status == 200
        assert ask(address, f"/assets/{asset_path(project, 'ismn-stations', 'series')}").status == 200
        assert ask(address, f"/assets/{asset_path(project, DOCUMENTS_ONLY, 'cci_sm')}").status == 200
        assert ask(address, f"/assets/{asset_path(project, 'sm-models', 'series')}").status == 404
        assert ask(address, "/collections/matchups").status == 404
        model = json.loads(ask(address, "/collections/sm-models/items").body)["features"][0]
        assert [one["title"] for one in model["links"] if one["rel"] == "related"] == ["ismn-stations"]


def test_what_is_opened_and_what_is_not_is_logged(project, monkeypatch):
    from stac_sm.serve import server

    monkeypatch.setattr(server.uvicorn.Server, "run", lambda *_, **__: None)
    done = CliRunner().invoke(
        main, ["serve", "--catalog", str(project.folder), "--port", "0", "--collections", "matchups"]
    )
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "not given out, since restricted: ismn-stations, merit-dem" in done.stderr
    assert "opened by --collections, with all their assets: matchups" in done.stderr
    done = CliRunner().invoke(main, ["serve", "--catalog", str(project.folder), "--port", "0", "--collections", "ismn"])
    assert done.exit_code == 1
    assert "--collections: collection 'ismn' is unknown" in done.stderr


def test_on_s3_no_url_is_signed_for_what_is_hidden(project, files):
    server = moto_server()
    bucket = new_bucket(server, "visibility")
    with environment_of(server):
        client = boto3.session.Session().client("s3")
        for path in files:
            client.upload_file(str(Path(project.folder, path)), bucket, f"p/{path}")
        with running(f"s3://{bucket}/p") as address:
            answers = {path: ask(address, f"/assets/{path}") for path in files if path.count("/")}
            day = ask(address, "/collections/sm-1km-daily/items?limit=1")
    signed = {path for path, answer in answers.items() if answer.status == 307}
    documents = {path for path, answer in answers.items() if answer.status == 200}
    assert {path.partition("/")[0] for path in signed | documents}.isdisjoint({*HIDDEN, ".scratch"})
    assert {path.partition("/")[0] for path in signed} == {"sm-1km-daily", "sm-models", "validation", "era5-land"}
    assert not any(".series." in path or "/index/" in path for path in signed)
    assert all(path.endswith(".json") for path in documents)
    assert not any(f"/{id}" in link for id in HIDDEN for link in day.links)


def test_a_collection_that_becomes_restricted_is_gone_at_the_next_look(project, tmp_path, monkeypatch):
    from stac_sm.serve import service

    shutil.copytree(project.folder, tmp_path / "p")
    monkeypatch.setattr(service, "REFRESH_SECONDS", 0.0)
    served = service.CatalogService(str(tmp_path / "p"))
    raster = str(asset_path(project, "era5-land", "swvl1"))
    asked = ItemQuery(collections=("era5-land",), limit=100)
    assert find_item_documents(served, asked, "http://x")
    assert served.gives_file(raster)
    file = tmp_path / "p" / "era5-land" / "collection.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"stac_sm:visibility": "restricted"}))
    deadline = time.monotonic() + 20
    while "era5-land" in served.snapshot.collections:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert find_item_documents(served, asked, "http://x") == []
    assert not served.gives_file(raster)


def test_what_no_document_names_is_no_asset(project, tmp_path):
    """Files that lie about, a link in the store to a hidden file, JSON that is no item, an item under another name."""
    from stac_sm.serve.assets import served_file
    from stac_sm.serve.service import CatalogService

    shutil.copytree(project.folder, tmp_path / "p")
    hidden = tmp_path / "p" / asset_path(project, "ismn-stations", "series")
    item = catalog_item(project, "sm-1km-daily")
    folder = Path(item.get_self_href()).parent.relative_to(project.folder)
    (tmp_path / "p" / folder / "left.tif").write_bytes(b"left")
    (tmp_path / "p" / folder / "linked.parquet").symlink_to(hidden)
    (tmp_path / "p" / folder / "linked").symlink_to(hidden.parent)
    odd = tmp_path / "p" / "sm-1km-daily" / "odd"
    odd.mkdir()
    (odd / "odd.json").write_bytes(b"\xff{")
    (odd / "odd.tif").write_bytes(b"odd")
    other = tmp_path / "p" / "sm-1km-daily" / "other"
    other.mkdir()
    document = json.loads((hidden.parent / f"{hidden.parent.name}.json").read_text())
    (other / "other.json").write_text(json.dumps(with_structural_links(document, "sm-1km-daily/other")))
    with running(tmp_path / "p") as address:
        left = [f"{folder}/{name}" for name in ("left.tif", "linked.parquet", f"linked/{hidden.name}")]
        left += [f"sm-1km-daily/{name}" for name in ("odd/odd.json", "odd/odd.tif", "other/other.json")]
        for path in left:
            assert ask(address, f"/assets/{path}").status == 404, path
    served = CatalogService(str(tmp_path / "p"))
    assert served_file(served, f"{folder}/linked.parquet") is None  # not even if an item named it
    with pytest.raises(InputError):
        CatalogService(str(tmp_path / "p"), ["none"])
