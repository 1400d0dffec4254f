"""The project files that `init` writes: valid, what they say they are, and the public one reads public collections."""

import json
import tomllib

import pytest

from stac_sm.features.climatology import features_needing_climatology
from stac_sm.features.recipe import Recipe
from stac_sm.stac.links import skeleton_folder
from stac_sm.workflows.project import create_project
from stac_sm.workflows.project_template import TEMPLATES

GLASS, MEMORY, PUBLIC = (
    Recipe.from_dict(tomllib.loads(TEMPLATES[name])["recipe"]) for name in ("glass-sm", "memory", "public")
)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_project_can_be_made_of_it(name, tmp_path):
    assert create_project(tmp_path / "p", TEMPLATES[name]).about.version == "001"


def test_glass_sms_recipe_is_in_its_order():
    wanted = "bsa_vis bsa_nir bsa_shortwave lst lai swvl1 elevation slope sand silt clay"
    assert GLASS.names == tuple(wanted.split())
    assert [mask.name for mask in GLASS.masks] == ["water", "frozen", "snow"]


def test_the_default_recipe_adds_the_memory_of_coarse_inputs():
    """Those of GLASS SM at 1 km are of the day alone: the history of fields of 1 km would be costly."""
    kinds = ["", "_mean", "_spread", "_anomaly", *(f"_exp{n}{end}" for n in (3, 10, 30) for end in ("", "_anomaly"))]
    own = [name for name in GLASS.names if name != "swvl1"]
    added = [f"{source}{kind}" for source in ("swvl1", "stl1") for kind in kinds]
    assert MEMORY.names == (*own, *added, "doy_sin", "doy_cos")
    assert MEMORY.masks == GLASS.masks
    assert [GLASS.feature(name) for name in own] == [MEMORY.feature(name) for name in own]
    assert max(feature.days_back for feature in MEMORY.features) == 89
    assert {feature.collection for feature in MEMORY.features if feature.days_back} == {"era5-land"}
    assert [one.name for one in features_needing_climatology(MEMORY)] == ["swvl1_mean", "stl1_mean"]


@pytest.mark.parametrize(
    "feature", [*MEMORY.sources, *GLASS.sources, *(f for f in PUBLIC.sources if not f.catalog)], ids=lambda f: f.name
)
def test_every_feature_of_ours_is_an_asset_that_its_collection_tells_of(feature):
    collection = json.loads((skeleton_folder() / feature.collection / "collection.json").read_text())
    assert feature.asset in collection["item_assets"]


def test_every_public_feature_is_in_the_recorded_collections(shared):
    """Planetary Computer as it was recorded; Earth Search has the same Copernicus collection and asset."""
    known = json.loads((shared / "data" / "stac" / "planetary_computer_collections_recorded.json").read_text())
    known = {one["id"]: one for one in (known["collections"] if isinstance(known, dict) else known)}
    for feature in (f for f in PUBLIC.sources if f.catalog):
        assert feature.asset in known[feature.collection]["item_assets"], feature
