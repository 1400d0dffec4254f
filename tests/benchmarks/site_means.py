"""What limits a model at unseen sites: `python tests/benchmarks/site_means.py --json`.

Most of the error at a site that no training saw is that of its mean (`accuracy.py` has the whole error). Here only the
site means are predicted, from features with one value a site, by the site-mean model of `train TABLE` and by learners
of other kinds (scikit-learn: Gaussian process and support vectors on normal scores, extremely randomized trees; the
places alone), and by ours with more features a site: the seasonal cycle of each predictor, its quantiles, or its place.
Figures are RMSE over sites as a share of the standard deviation of the site means: 1 is knowing nothing. What no
learner improves on is not in these predictors. Nothing of the package was chosen by these figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.preprocessing import QuantileTransformer
from sklearn.svm import SVR

from stac_sm.core.columns import Columns
from stac_sm.model.base_learners import TrainingTarget, site_sample_weights
from stac_sm.model.fit import Rounds, learn
from stac_sm.model.tabular.features import TableFeatures
from stac_sm.model.user_table import choose_features, clean_table, place_columns
from tests.benchmarks.accuracy import TABLES

SETS = {
    "ours": (),
    "ours, with seasonal cycles": ("season",),
    "ours, with quantiles": ("quantile",),
    "ours, with places": ("place",),
}


def sites_of(name: str) -> tuple[pd.DataFrame, Columns]:
    """One row a site: mean of the target, place, and features; extra ones begin with their kind and a bar."""
    columns = TABLES[name].columns
    rows = clean_table(TABLES[name].read(), columns).table.reset_index(drop=True)
    columns = Columns(**{**vars(columns), **place_columns(rows, columns)})
    made = TableFeatures.of(rows, columns, choose_features(rows, columns).taken)
    built, site = made.build(rows).reset_index(drop=True), rows[columns.site]
    by_site = built.groupby(site)
    still = [one for one in built if not ((by_site[one].max() - by_site[one].min()).max() > 0)]
    raw = built[list(made.varying_columns)]
    parts = [by_site[still].first()]
    for wave in ("doy_sin", "doy_cos"):
        anomaly = built[[f"{one}:anomaly" for one in raw]].mul(built[wave], axis=0)
        parts.append(anomaly.groupby(site).mean().add_prefix(f"season|{wave}|"))
    parts += [raw.groupby(site).quantile(share).add_prefix(f"quantile|{share}|") for share in (0.1, 0.9)]
    own = rows.groupby(columns.site)
    places = own[[columns.lat, columns.lon]].median().astype(float)
    parts += [places.add_prefix("place|"), own[[columns.target]].mean(), places]
    found = pd.concat(parts, axis=1)
    return found[found[columns.target].notna()].reset_index(), columns


def ours(train: pd.DataFrame, test: pd.DataFrame, names: Sequence[str], columns: Columns) -> np.ndarray:
    """The site-mean model that `learn` trains on one row a site."""
    learned = learn(train, names, columns=columns, rounds=Rounds(1, 1))
    parts = zip(learned.parts, learned.model.members, strict=True)
    means = [
        one.trained.predict(test[list(one.features)]) for part, one in parts if part.trained_on is TrainingTarget.LEVEL
    ]
    return np.mean(means, axis=0)


def others(train: pd.DataFrame, test: pd.DataFrame, names: Sequence[str], columns: Columns) -> dict[str, np.ndarray]:
    """Learners of other kinds on the same features; places count as in ours where a learner takes weights."""
    filled = train[list(names)].median().fillna(0)
    here, there = (part[list(names)].fillna(filled).to_numpy(float) for part in (train, test))
    scores = QuantileTransformer(n_quantiles=min(100, len(here)), output_distribution="normal").fit(here)
    known, asked = (np.clip(scores.transform(part), -3, 3) for part in (here, there))
    target = train[columns.target].to_numpy(float)
    mean, spread = target.mean(), target.std()
    one = (target - mean) / spread
    places = [part[[columns.lat, columns.lon]].to_numpy(float) for part in (train, test)]
    weight = site_sample_weights(places[0])
    middle, scale = places[0].mean(axis=0), places[0].std(axis=0)

    vectors = SVR(gamma=0.3 / len(names))

    def process(length: float) -> GaussianProcessRegressor:
        return GaussianProcessRegressor(ConstantKernel() * RBF(length) + WhiteKernel(0.3), random_state=0)

    return {
        "Gaussian process": process(5.0).fit(known, one).predict(asked) * spread + mean,
        "support vectors": vectors.fit(known, one, sample_weight=weight).predict(asked) * spread + mean,
        "extremely randomized trees": ExtraTreesRegressor(400, min_samples_leaf=2, max_features=0.5, random_state=0)
        .fit(here, target, sample_weight=weight).predict(there),
        "Gaussian process of places": process(1.0).fit((places[0] - middle) / scale, one)
        .predict((places[1] - middle) / scale) * spread + mean,
    }  # fmt: skip


def measure(name: str, cuts: Sequence[int]) -> dict[str, Any]:
    """Share of the spread of site means that each learner leaves at sites of other folds: mean, least and most of the
    cuts."""
    sites, columns = sites_of(name)
    target = sites[columns.target].to_numpy(float)
    plain = [one for one in sites if "|" not in one and one not in vars(columns).values()]
    found: dict[str, list[float]] = {}
    for cut in cuts:
        fold = np.random.default_rng(cut).permutation(len(sites)) % 5
        predicted: dict[str, np.ndarray] = {}
        for number in range(5):
            train, test = sites[fold != number], sites[fold == number]
            one = others(train, test, plain, columns)
            for kind, more in SETS.items():
                names = plain + [each for each in sites if each.startswith(tuple(f"{part}|" for part in more)) and more]
                one[kind] = ours(train, test, names, columns)
            for kind, values in one.items():
                predicted.setdefault(kind, np.zeros(len(sites)))[fold == number] = values
        predicted["ours and Gaussian process, averaged"] = (predicted["ours"] + predicted["Gaussian process"]) / 2
        for kind, values in predicted.items():
            found.setdefault(kind, []).append(float(np.sqrt(np.mean(np.square(values - target))) / target.std()))
    shares = {kind: [round(float(part(some)), 3) for part in (np.mean, np.min, np.max)] for kind, some in found.items()}
    return {"table": name, "sites": len(sites), "spread": round(float(target.std()), 4), "features": len(plain),
            "mean_least_most": shares}  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", default=",".join(TABLES), help=f"among {', '.join(TABLES)}")
    parser.add_argument("--cuts", type=int, default=4, help="ways of cutting five folds of sites")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore", module="sklearn")  # lengths of kernels at the end of their range
    for name in asked.tables.split(","):
        found = measure(name, range(200, 200 + asked.cuts))
        print(json.dumps(found) if asked.json else json.dumps(found, indent=2), flush=True)


if __name__ == "__main__":
    main()
