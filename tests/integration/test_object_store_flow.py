"""The whole flow on an object store: inputs there, planned, made in slices, audited, served, and read by others.

On moto, whose slices run at the same time, and on OpenStack Swift and Ceph's radosgw, where only one process may write.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import subprocess

import numpy as np
import pystac_client
import pytest

from stac_sm.features.cube import feature_cube
from stac_sm.model.model import Model
from stac_sm.model.predict import predict
from stac_sm.product.aggregates.means import ANNUAL
from stac_sm.product.aggregates.mosaic import DAILY_GLOBAL
from stac_sm.product.item import PRODUCT_COLLECTION
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.storage.store import open_store
from tests.support.ceph import ceph_server, why_no_ceph
from tests.support.fields import DAYS, TILE, shared_project
from tests.support.missing import need
from tests.support.object_stores import environment_of, moto_server, new_bucket, swift_server, why_no_swift
from tests.support.served import running
from tests.support.warm_start import warm_python

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("swift")]
STORES = {"ceph": ceph_server, "moto": moto_server, "swift": swift_server}
MISSING = {"Ceph": ("ceph", why_no_ceph), "OpenStack Swift": ("swift", why_no_swift)}


@pytest.fixture(scope="module", params=sorted(STORES))
def there(request):
    """Root of a project in a new bucket, the folder that it was copied from, and whether slices may run at once."""
    for name, (param, why) in MISSING.items():
        need(name, why() if request.param == param else None)
    server = STORES[request.param]()
    with environment_of(server):
        root = f"s3://{new_bucket(server, 'flow')}/{secrets.token_hex(4)}"
        yield root, copied(root), request.param == "moto"


def copied(root):
    local, _, _ = shared_project()
    store = open_store(root)
    for file in sorted(local.folder.rglob("*")):
        if file.is_file() and ".scratch" not in file.parts:
            store.create(file.relative_to(local.folder).as_posix(), file)
    return local


def command(*arguments):
    return [*warm_python(), "-m", "stac_sm", *map(str, arguments)]


def said(*arguments):
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def in_slices(root, plan, number):
    jobs = [
        subprocess.Popen(command("run", plan, "--project", root, "--slice", f"{index}/{number}", "--workers", 1))
        for index in range(number)
    ]
    assert [job.wait(300) for job in jobs] == [0] * number


@pytest.fixture(scope="module")
def made(there):
    """The product, planned, and made in two slices, or by one process where no other may write."""
    root, local, at_once = there
    told = said("plan", "--project", root, "--tiles", TILE, "--period", DAYS, "--json")
    assert (told["new"], told["done"]) == (len(DAYS), 0)
    assert told["plan"].startswith(f"{root}/plans/")
    if at_once:
        in_slices(root, told["plan"], 2)
    else:
        said("run", told["plan"], "--project", root, "--workers", 1, "--json")
    return root, local, told["plan"]


@pytest.fixture(scope="module")
def wanted(there):
    """Soil moisture by day, straight from the folder that the inputs were copied from."""
    local = there[1]
    (item,) = local.catalog.items("sm-models")
    model = Model.from_item(item.get_self_href())
    cube = feature_cube(local.catalog, model.recipe, TILE, DAYS, grid=local.grid)
    return {str(day): values for day, values in zip(DAYS.days, predict(model, cube).sm.values, strict=True)}


def test_all_is_proven(made):
    root, _, plan = made
    assert said("plan", "--project", root, "--tiles", TILE, "--period", DAYS, "--json")["done"] == len(DAYS)
    told = said("status", plan, "--project", root, "--json")
    assert (told["done"], told["missing"], told["failed"]) == (len(DAYS), 0, {})
    assert said("audit", "--project", root, "--json") == []


def test_others_find_and_read_it_over_s3_and_over_presigned_http(made, wanted):
    """pystac-client finds and odc.stac reads: from s3://, and whoever has no credentials over http."""
    root, _, _ = made
    with running(root) as address:
        found = list(pystac_client.Client.open(address).search(collections=[PRODUCT_COLLECTION], sortby="id").items())
        assert len(found) == len(DAYS)
        over_http = read_by_a_stranger(address)
    stored = {item.id: item for item in stored_items(root)}
    cube = saved_by(OVER_S3, dict(os.environ), root, PRODUCT_COLLECTION, TILE)
    in_order = sorted(stored.values(), key=lambda one: one.id)
    for item, over_s3, by_stranger in zip(in_order, cube, over_http, strict=True):
        day = wanted[item.properties["start_datetime"][:10]]
        at = ~np.isnan(day)
        for values in (over_s3, by_stranger):
            np.testing.assert_allclose(values[at], day[at], atol=2**-12, rtol=0)
            assert np.all(values[~at] == -9999)


def stored_items(root):
    return list(open_catalog(root).items(PRODUCT_COLLECTION))


STRANGER = """
import sys, numpy, odc.stac, pystac_client
items = pystac_client.Client.open(sys.argv[1]).search(collections=[sys.argv[2]], sortby="id").items()
numpy.save(sys.stdout.buffer, odc.stac.load(items, bands=["sm"], fail_on_error=True).sm.values)
"""


def read_by_a_stranger(address):
    """Values of all days by a process that has no credentials: it follows the server's redirects to signed URLs."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return saved_by(STRANGER, clean, address, PRODUCT_COLLECTION)


OVER_S3 = """
import sys, numpy, odc.stac
from stac_sm.stac.catalogs.catalog import open_catalog
from stac_sm.storage.s3.session import gdal_env
from stac_sm.workflows.project import read_project
root, collection, tile = sys.argv[1:]
items = sorted(open_catalog(root).items(collection), key=lambda one: one.id)
with gdal_env(root):
    cube = odc.stac.load(items, bands=["sm"], geobox=read_project(root).grid.geobox(tile), fail_on_error=True)
numpy.save(sys.stdout.buffer, cube.sm.values)
"""


def saved_by(program, environment, *words):
    """What a process of its own saves: GDAL remembers other stores that this one has talked to."""
    command = [*warm_python(), "-c", program, *words]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    return np.load(io.BytesIO(done.stdout))


def test_what_is_made_of_it_lies_there_too(made):
    """Global days, means, a validation and the index: made once, whole, and proven by audit."""
    root, local, _ = made
    where = ("--project", root, "--json")
    period = ("--period", str(DAYS))
    days = said("mosaic", *period, *where)
    means = said("annual", str(DAYS.start.year), "--global", *where, "--workers", 1)
    assert [one["outcome"] for one in (*days, *means)] == ["new"] * (len(DAYS) + 2)
    assert said("validate", *period, *where)["outcome"] == "new"
    again = [said("mosaic", *period, *where), said("annual", str(DAYS.start.year), "--global", *where, "--workers", 1)]
    assert {one["outcome"] for part in again for one in part} == {"done"}
    index = {row["collection"]: row["items"] for row in said("index", *where, "--workers", 1)}
    assert index[DAILY_GLOBAL] == len(DAYS)
    assert index[ANNUAL] == 2
    assert said("audit", *where) == []
