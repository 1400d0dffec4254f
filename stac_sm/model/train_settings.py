"""Settings of training: table ``[training]`` of the project file, which `model.fit` follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stac_sm.core.errors import InputError


@dataclass(frozen=True)
class TrainSettings:
    """How a model is trained. With ``tune``, only seed, threads and device matter; names are XGBoost's unless said."""

    n_estimators: int = 300
    """Number of trees. This and the other settings of trees are those of the one booster without ``tune``."""

    max_depth: int = 6
    """Largest depth of a tree."""

    eta: float = 0.05
    """Learning rate."""

    subsample: float = 0.8
    """Share of the rows that each tree sees."""

    colsample: float = 0.8
    """Share of the features that each tree sees (``colsample_bytree``)."""

    min_child_weight: float = 5.0
    """Fewest rows in a leaf."""

    reg_lambda: float = 1.0
    """L2 penalty on the value of a leaf."""

    tune: bool = True
    """Whether to train the sum of boosters for unseen sites; if not, the model is one booster of the trees set above,
    in which each row has the same weight."""

    seed: int = 0
    """Of the draws of rows and features, and of the folds."""

    nthread: int = 0
    """Boosters that are trained at once; 0 = as many as there are cores. Does not change the model."""

    device: str = "cpu"
    """``cpu`` or ``cuda``, where the installed XGBoost can use it."""

    def __post_init__(self) -> None:
        for name in ("n_estimators", "max_depth"):
            if getattr(self, name) < 1:
                raise InputError(f"[training] {name}: found {getattr(self, name)}, 1 or more is required")
        for name in ("eta", "subsample", "colsample"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"[training] {name}: found {getattr(self, name)}, above 0 and up to 1 is required")
        if self.device not in {"cpu", "cuda"}:
            raise InputError(f"[training] device: found {self.device!r}; cpu or cuda is required")

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return the settings that change what is trained.

        Returns
        -------
        dict
            Name to value. The keys are spelled out, so that renaming a field makes no result stale.
        """
        return {
            "n_estimators": self.n_estimators,
            "max_depth": self.max_depth,
            "eta": self.eta,
            "subsample": self.subsample,
            "colsample": self.colsample,
            "min_child_weight": self.min_child_weight,
            "reg_lambda": self.reg_lambda,
            "tune": self.tune,
            "seed": self.seed,
            **({} if self.device == "cpu" else {"device": self.device}),
        }
