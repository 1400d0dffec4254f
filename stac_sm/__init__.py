"""Global 1 km daily surface soil moisture, made and published as STAC items.

The public names, in the order of the flow: a catalogue (`open_catalog`), features (`Recipe`, `Period`,
`feature_cube`), stations (`match_up`, `triple_collocation`, `hold_out`), a model (`fit`, `Model`), the product
(`predict`, `write_cog`, `publish`), and reading it (`open_product`, `point_series`). Every mistake that a user can
mend is a `StacSmError`.

Importing this package imports nothing heavy: a name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stac_sm.catalog import open_catalog
    from stac_sm.cog import write_cog
    from stac_sm.cube import feature_cube
    from stac_sm.errors import StacSmError
    from stac_sm.holdout import hold_out
    from stac_sm.matchups import match_up
    from stac_sm.metrics import triple_collocation
    from stac_sm.model import Model
    from stac_sm.period import Period
    from stac_sm.prediction import predict
    from stac_sm.product_reader import open_product, point_series
    from stac_sm.publishing import publish
    from stac_sm.recipe import Recipe
    from stac_sm.train import fit

_HOMES = {
    "Model": "model",
    "Period": "period",
    "Recipe": "recipe",
    "StacSmError": "errors",
    "feature_cube": "cube",
    "fit": "train",
    "hold_out": "holdout",
    "match_up": "matchups",
    "open_catalog": "catalog",
    "open_product": "product_reader",
    "point_series": "product_reader",
    "predict": "prediction",
    "publish": "publishing",
    "triple_collocation": "metrics",
    "write_cog": "cog",
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
