"""Global 1 km daily surface soil moisture, made and published as STAC items.

The public names, in the order of the flow: a catalogue (`open_catalog`), features (`Recipe`, `Period`,
`feature_cube`), stations (`match_up`, `triple_collocation`, `hold_out`), a model (`fit`, `Model`), the product
(`predict`, `write_cog`, `publish`), and reading it (`open_product`, `point_series`). Every mistake that a user can
fix is a `StacSmError`.

Importing this package imports nothing heavy: a name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stac_sm.core.columns import Columns as Columns
    from stac_sm.core.errors import StacSmError
    from stac_sm.core.metrics import triple_collocation
    from stac_sm.core.period import Period
    from stac_sm.features.cube import feature_cube
    from stac_sm.features.recipe import Recipe
    from stac_sm.model.fit import fit
    from stac_sm.model.holdout import hold_out
    from stac_sm.model.model import Model
    from stac_sm.model.predict import predict
    from stac_sm.product.read import open_product, point_series
    from stac_sm.raster.cog import write_cog
    from stac_sm.stac.catalogs.catalog import open_catalog
    from stac_sm.stac.publish import publish
    from stac_sm.stations.matchups import match_up

_HOMES = {
    "Columns": "core.columns",  # not in __all__: an argument of `fit` and `hold_out`, no step of the flow
    "Model": "model.model",
    "Period": "core.period",
    "Recipe": "features.recipe",
    "StacSmError": "core.errors",
    "feature_cube": "features.cube",
    "fit": "model.fit",
    "hold_out": "model.holdout",
    "match_up": "stations.matchups",
    "open_catalog": "stac.catalogs.catalog",
    "open_product": "product.read",
    "point_series": "product.read",
    "predict": "model.predict",
    "publish": "stac.publish",
    "triple_collocation": "core.metrics",
    "write_cog": "raster.cog",
}

__all__ = [
    "Model",
    "Period",
    "Recipe",
    "StacSmError",
    "feature_cube",
    "fit",
    "hold_out",
    "match_up",
    "open_catalog",
    "open_product",
    "point_series",
    "predict",
    "publish",
    "triple_collocation",
    "write_cog",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'stac_sm' has no attribute {name!r}")
    return getattr(import_module(f"stac_sm.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
