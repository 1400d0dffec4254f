"""The learners there are, by the name that model items keep.

A booster names its learner in the model item; `find_learner` finds the class that reads its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

from stac_sm.core.errors import ModelError
from stac_sm.model.learner import Learner
from stac_sm.model.xgboost_learner import XGBoostLearner

LEARNERS: Mapping[str, type[Learner]] = {one.name: one for one in (XGBoostLearner,)}
"""Learners by name."""

DEFAULT_LEARNER = XGBoostLearner.name
"""Learner of boosters that name none."""


def find_learner(name: str) -> type[Learner]:
    """Find the learner of a name.

    Parameters
    ----------
    name
        As model items keep it, e.g. ``xgboost``.

    Returns
    -------
    type
        The class that trains such regressions and reads their bytes.

    Raises
    ------
    ModelError
        If there is none.
    """
    if name not in LEARNERS:
        raise ModelError(
            f"learner {name!r}: this version of stac_sm has {', '.join(LEARNERS)} only; use the one that trained it"
        )
    return LEARNERS[name]
