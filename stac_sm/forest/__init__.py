"""Forests: boosters evaluated as XGBoost does, bit by bit, many times faster where neighbouring rows are alike.

``ubjson`` and ``trees`` read a booster, ``ranks`` replaces features by their place among its thresholds, ``kernels``
says what evaluates it on this machine (``kernel_numba``), ``evaluate`` is a forest of such boosters, and ``ensemble``
leaves to XGBoost what only XGBoost can do.
"""

from stac_sm.forest.ensemble import Ensemble
from stac_sm.forest.evaluate import Forest

__all__ = ["Ensemble", "Forest"]
