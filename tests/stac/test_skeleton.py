"""The static catalogue that ships: valid with its extensions, complete, and by stac-check nothing to mend."""

import json
import posixpath

import matplotlib
import numpy as np
import pytest
import yaml

from stac_sm.core.colours import SOIL_MOISTURE_COLOURS, SOIL_MOISTURE_RANGE
from stac_sm.ingest.registry import provider_classes
from stac_sm.stac.links import skeleton_folder, skeleton_root
from tests.support.checkout import ROOT
from tests.support.stac_check_findings import stac_check_findings

FOLDER = skeleton_folder()
COLLECTIONS = sorted(FOLDER.glob("*/collection.json"))
RASTERS = [file for file in COLLECTIONS if "bands" in file.read_text()]


def read(file):
    return json.loads(file.read_text())


@pytest.mark.parametrize("file", [FOLDER / "catalog.json", *COLLECTIONS], ids=lambda file: file.parent.name)
def test_valid(file, validate):
    validate(read(file))


@pytest.mark.parametrize("file", [FOLDER / "catalog.json", *COLLECTIONS], ids=lambda file: file.parent.name)
def test_stac_check_finds_nothing_to_mend(file):
    assert stac_check_findings(file) == []


def test_what_stac_check_finds_is_seen(tmp_path):
    """Not all of it is explained: a bbox that is not that of the geometry, swapped coordinates, a missing summary."""
    ring = [[5, 40], [6, 40], [6, 41], [5, 41], [5, 40]]
    item = {"type": "Feature", "stac_version": "1.1.0", "id": "a", "links": [], "assets": {}, "collection": "c"}
    item |= {"properties": {"datetime": "2019-06-08T00:00:00Z"}, "bbox": [5, 40, 6, 41]}
    item |= {"geometry": {"type": "Polygon", "coordinates": [ring]}}
    swapped = {"type": "Polygon", "coordinates": [[[y, x + 90] for x, y in ring]]}
    file = tmp_path / "a.json"
    for document, found in (
        (item, False),
        ({**item, "bbox": [5, 40, 7, 41]}, True),
        ({**item, "geometry": swapped, "bbox": [40, 95, 41, 96]}, True),
        ({key: value for key, value in read(COLLECTIONS[0]).items() if key != "summaries"}, True),
    ):
        file.write_text(json.dumps(document))
        assert bool(stac_check_findings(file)) is found, document


def made_here(document):
    return any(one["name"] == "stac_sm" for one in document["providers"])


@pytest.mark.parametrize("file", COLLECTIONS, ids=lambda file: file.parent.name)
def test_a_collection_says_what_a_user_wants_to_know(file):
    document = read(file)
    assert document["id"] == file.parent.name
    for field in (
        "title",
        "description",
        "license",
        "stac_sm:visibility",
        "keywords",
        "providers",
        "extent",
        "item_assets",
        "summaries",
    ):
        assert document[field], field
    assert len(document["description"]) > 80
    rels = {link["rel"] for link in document["links"]}
    assert {"root", "parent"} <= rels
    assert document["license"] != "other" or "license" in rels
    assert "https://doi.org/" in document["sci:citation"] or made_here(document)
    assert "sci:doi" not in document or ("cite-as" in rels and document["sci:doi"] in document["sci:citation"])
    assert all(one["url"].startswith("https://") for one in document["providers"])
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    if made_here(document):
        assert document["sci:citation"].endswith(f"{cited['title']}, version {cited['version']}, 2026")
        assert [one["doi"] for one in document["sci:publications"]] == [cited["references"][0]["doi"]]


@pytest.mark.parametrize("id", ["sm-1km-daily", "sm-1km-daily-global", "sm-1km-monthly", "sm-1km-annual"])
def test_products_say_how_they_are_drawn(id):
    """By titiler and others, as this package draws them itself."""
    document = read(FOLDER / id / "collection.json")
    for name, drawn in document["renders"].items():
        (asset,) = drawn["assets"]
        assert drawn["nodata"] == document["item_assets"][asset]["bands"][0]["nodata"], name
    drawn = document["renders"]["soil-moisture"]
    assert drawn["rescale"] == [list(SOIL_MOISTURE_RANGE)]
    judged = matplotlib.colormaps[drawn["colormap_name"]](range(256), bytes=True)[:, :3]
    np.testing.assert_allclose(SOIL_MOISTURE_COLOURS.astype(int), judged.astype(int), atol=12)  # of 255: it is sampled


def test_no_bit_field_negates_twice():
    """Of all collections: a class of value 0 says what is, not what is not not."""
    seen = 0
    for file in COLLECTIONS:
        for asset in read(file)["item_assets"].values():
            for field in asset.get("classification:bitfields", []):
                names = [one["name"] for one in field["classes"]]
                texts = [one["description"].lower().split() for one in field["classes"]]
                assert len(set(names)) == len(names)
                assert not any(text.count("not") > 1 or text[:2] == ["not", "no"] for text in texts), (file, field)
                assert not ({"yes", "no"} & set(names)), (file, field["name"])
                seen += 1
    assert seen > 10


@pytest.mark.parametrize("file", RASTERS, ids=lambda file: file.parent.name)
def test_every_band_has_name_type_and_unit(file):
    for key, asset in read(file)["item_assets"].items():
        for band in asset.get("bands", []):
            assert band["name"], key
            assert band["data_type"], key
            varies = file.parent.name == "climatology" and key in {
                "mean",
                "std",
            }  # the unit of what was averaged, in the items
            assert "unit" in band or {"quality", "visual"} & set(asset["roles"]) or varies, key


def test_the_root_of_a_new_catalogue_links_every_collection_and_nothing_else(validate):
    validate(skeleton_root())
    children = [link["href"] for link in skeleton_root()["links"] if link["rel"] == "child"]
    assert not [link for link in read(FOLDER / "catalog.json")["links"] if link["rel"] == "child"]
    assert {posixpath.normpath(href) for href in children} == {f"{f.parent.name}/collection.json" for f in COLLECTIONS}
    assert len(children) == len(COLLECTIONS)


def test_every_source_has_its_collections():
    shipped = {file.parent.name for file in COLLECTIONS}
    assert {make().collection for make in provider_classes().values() if hasattr(make(), "collection")} <= shipped
