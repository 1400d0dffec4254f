"""Train and score a model from match-ups and triplets; no catalogue is read or written.

`steps.train_step` calls it, and publishes the model with its report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stac_sm.core.columns import Fold
from stac_sm.core.errors import ScreeningError
from stac_sm.core.progress import LogFunction
from stac_sm.model.applicability import fit_applicability
from stac_sm.model.diagnostics.diagnose import diagnose
from stac_sm.model.diagnostics.results import Diagnostics, DiagnosticsBudget
from stac_sm.model.evaluate import SCREENED, UNSCREENED, Evaluation, evaluate
from stac_sm.model.fit import DEFAULT_ROUNDS, DIAGNOSTIC_ROUNDS, Learned, Rounds, learn
from stac_sm.model.holdout import hold_outs
from stac_sm.model.interval_calibration import fit_intervals
from stac_sm.model.intervals import Intervals
from stac_sm.model.model import Model
from stac_sm.model.skill import Skill
from stac_sm.model.skill_scores import skill_of
from stac_sm.stations.fold_climatology import without_years
from stac_sm.stations.records import SitesOfStations
from stac_sm.stations.screening import ScreeningResult, require_sites, training_screener
from stac_sm.stations.site_classes import site_classes
from stac_sm.workflows.project import Project
from stac_sm.workflows.reporting.findings import NOMINAL_COVERAGE, ReportInputs
from stac_sm.workflows.reporting.page import write_model_report

if TYPE_CHECKING:
    import pandas as pd

BASELINE = "swvl1"
_SITE_STRATEGY = "site"  # strategy of which the errors make intervals
_FEWEST = 2  # sites in a part of the table, to judge the intervals


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """Model, what it was trained on, and its scores."""

    model: Model
    """With recipe, intervals (if there are enough sites) and area of applicability."""

    table: pd.DataFrame
    """All match-ups; positions in the evaluation are its rows."""

    rows: pd.DataFrame
    """Those that the model was trained on."""

    status: str
    """``screened: …`` or ``unscreened: `` and why."""

    screening: ScreeningResult
    """Triple collocation of the sites."""

    evaluation: Evaluation
    """Scores of all strategies, and predictions of held-out rows."""

    diagnostics: Diagnostics
    """Learning curve, importance, leaks."""

    held_out_intervals: pd.DataFrame | None
    """``row``, ``low``, ``high`` (m3 m-3): intervals of held-out sites, calibrated without them; None without."""

    refused: str
    """Why there are no intervals; empty if there are."""

    learned: Learned
    """How the model was trained: rounds, rows that were used."""

    @property
    def skill(self) -> tuple[Skill, ...]:
        """Skill of the model at unseen sites and networks."""
        return skill_of(self.evaluation.predictions, self.trained)

    @property
    def trained(self) -> str:
        """``screened`` or ``unscreened``."""
        return SCREENED if self.status.startswith(SCREENED) else UNSCREENED

    def write_report(
        self,
        folder: Path,
        title: str,
        facts: Mapping[str, object],
        sites: SitesOfStations,
        notes: Sequence[str] = (),
    ) -> Files:
        """Write the files of `write_model_report`.

        Parameters
        ----------
        folder
            An existing folder.
        title
            Heading of the page.
        facts
            What was trained, beside the stations and the model: a name and a value each.
        sites
            Stations of the sites: scores are given by their climate, land cover, elevation and sensing depth.
        notes
            Sentences that a reader must know, beside those of the training itself.

        Returns
        -------
        dict
            Name of each file to its path.
        """
        unscreened = [] if self.trained == SCREENED else [self.status]  # how many sites are kept is said elsewhere
        learned = self.learned
        tuning = {f"RMSE at unseen sites, {rounds} rounds": f"{error:.4f}" for rounds, error in learned.errors.items()}
        report = ReportInputs(
            title=title,
            evaluation=self.evaluation,
            table=self.table,
            diagnostics=self.diagnostics,
            screening=self.screening,
            skill=self.skill,
            trained=self.trained,
            climate={site: one.climate for site, (one, _) in sites.items() if one.climate},
            site_classes=site_classes(sites),
            intervals=self.held_out_intervals,
            facts={
                "stations": self.status,
                **learned.facts,
                **tuning,
                **facts,
            },
            notes=(*notes, *learned.notes, *unscreened, *([self.refused] if self.refused else [])),
            coverage=self.model.intervals.coverage if self.model.intervals else NOMINAL_COVERAGE,
        )
        return write_model_report(folder, report)


Files = dict[str, Path]


def project_fitter(project: Project, rounds: Rounds | None = None) -> Callable[[pd.DataFrame], Model]:
    """Return how a project trains: a function from rows of a table to a model.

    Parameters
    ----------
    project
        Recipe and training settings.
    rounds
        Numbers of rounds that were chosen before, so that none is chosen; None: the best are chosen.

    Returns
    -------
    callable
        Trains on the rows that it is given.
    """

    def trained(rows: pd.DataFrame) -> Model:
        return _learn(rows, project, rounds).model

    return trained


def _learn(rows: pd.DataFrame, project: Project, rounds: Rounds | None = None) -> Learned:
    return learn(rows, project.recipe.names, settings=project.training, rounds=rounds)


def training_run(
    project: Project,
    table: pd.DataFrame,
    triplets: pd.DataFrame,
    screening: ScreeningResult,
    *,
    years: Mapping[str, pd.DataFrame] | None = None,
    budget: DiagnosticsBudget | None = None,
    log: LogFunction | None = None,
) -> TrainingRun:
    """Score the way of training on hold-outs, train on the rows of the sites kept, and find where the model is unsure.

    Where screening leaves too few sites, the screened model is refused, the unscreened one is trained, and its status
    says so.

    Parameters
    ----------
    project
        Recipe and settings.
    table
        Match-ups, one row a site and day.
    triplets
        ``site, date, insitu, era5land, third``, m3 m-3.
    screening
        Triple collocation of the sites.
    years
        ``plain`` and ``sums`` of `stations.fold_climatology`: the folds of years take the climatologies of the recipe
        from their training years. Empty for a recipe without climatologies.
    budget
        Amount of work for the diagnostics; None: that of a full report.
    log
        Called with a line of text before each part of the work, which takes minutes.

    Returns
    -------
    TrainingRun
        The model with intervals and area of applicability, scores, and diagnostics.
    """
    log = log or (lambda _: None)
    rules = project.validation
    rows, status = _training_rows(table, screening, project)
    log(f"training on {len(rows)} rows of {rows['site'].nunique()} sites, {status.partition(':')[0]}")
    learned = _learn(rows, project)
    model = learned.model
    folds = hold_outs(table, rules.strategies, folds=rules.folds, seed=rules.seed)
    screener = training_screener(triplets, project.screening, table)
    baselines = [BASELINE] if BASELINE in table else []
    log(f"scoring on rows held out: {', '.join(folds)}")
    train = project_fitter(project, Rounds())
    tables = partial(_table_of_fold, table, project, years or {})
    frozen = project_fitter(project, Rounds().at_most(DIAGNOSTIC_ROUNDS))
    own = table.copy(deep=False)
    diagnosis = partial(diagnose, own, frozen, features=project.recipe.names, seed=rules.seed, budget=budget)
    several = project.training.nthread != 1 and project.training.device == "cpu"
    with ThreadPoolExecutor(1) as pool:  # of a small table, half of the time is Python's: one core would wait
        beside = pool.submit(diagnosis) if several else None
        evaluation = evaluate(table, folds, train, screener=screener, baselines=baselines, tables=tables)
        evaluation, held_out = _noted(evaluation, project), _held_out(evaluation, screening, rows is not table)
        intervals, judged, refused = _intervals(project, table, model, held_out)
        area = fit_applicability(rows, model.features, model.importance(), rows["site"])
        model = replace(model, recipe=project.recipe, intervals=intervals, applicability=area)
        log("for the report: learning curve, importance of features, leaks")
        diagnostics = beside.result() if beside else diagnosis()
    return TrainingRun(model, table, rows, status, screening, evaluation, diagnostics, judged, refused, learned)


def _noted(evaluation: Evaluation, project: Project) -> Evaluation:
    """Return an evaluation that says with how many rounds its models were trained."""
    if project.training.tune:
        notes = {**evaluation.notes, "rounds": f"models of all hold-outs {DEFAULT_ROUNDS}"}
        evaluation = replace(evaluation, notes=notes)
    return evaluation


def _table_of_fold(
    table: pd.DataFrame, project: Project, years: Mapping[str, pd.DataFrame], strategy: str, fold: Fold
) -> pd.DataFrame:
    """Return the table of a fold: where years are held out, no climatology knows them."""
    if strategy != "year" or not years:
        return table
    held_out = set(table["date"].iloc[fold.test].dt.year)
    return without_years(table, project.recipe, years["plain"], years["sums"], held_out)


def _training_rows(table: pd.DataFrame, screening: ScreeningResult, project: Project) -> tuple[pd.DataFrame, str]:
    """Return the rows of the kept sites; all rows, and the reason, where screening was refused."""
    try:
        require_sites(screening, project.screening)
    except ScreeningError as error:
        return table, f"{UNSCREENED}: {error}"
    kept = table[table["site"].isin(screening.kept)]
    return kept, f"{SCREENED}: {len(screening.kept)} of {len(screening.sites)} sites kept"


def _held_out(evaluation: Evaluation, screening: ScreeningResult, screened: bool) -> pd.DataFrame:
    """Return errors at sites that a model of this kind has not seen.

    Of a screened model those at sites that represent their pixel: the others would widen the intervals of the pixel
    by what they miss of it.
    """
    predictions = evaluation.predictions
    rows = predictions[predictions["strategy"] == _SITE_STRATEGY]
    method = SCREENED if screened and SCREENED in rows and rows[SCREENED].notna().any() else UNSCREENED
    if method not in rows:
        return rows.reindex(columns=["site", "fold", "observed", "predicted", "row"])
    if screened:
        rows = rows[rows["site"].isin(screening.kept)]
    return rows.rename(columns={method: "predicted"})[["site", "fold", "observed", "predicted", "row"]]


def _intervals(
    project: Project, table: pd.DataFrame, model: Model, held_out: pd.DataFrame
) -> tuple[Intervals | None, pd.DataFrame | None, str]:
    """Return the intervals of a model, those of each fold calibrated on the others, and why there are none."""
    if _SITE_STRATEGY not in project.validation.strategies:
        return (
            None,
            None,
            f"intervals not issued: [validation] strategies has no {_SITE_STRATEGY!r}, whose errors they need",
        )
    try:
        least = project.screening.min_sites_for_intervals
        return (
            fit_intervals(table, model.features, held_out, min_sites=least),
            _held_out_intervals(table, model, held_out),
            "",
        )
    except ScreeningError as error:
        return None, None, str(error)


def _held_out_intervals(table: pd.DataFrame, model: Model, held_out: pd.DataFrame) -> pd.DataFrame:
    """Return the ends of the interval of every held-out row, by intervals that have not seen its site."""
    import pandas as pd

    parts = []
    for _, part in held_out.groupby("fold", sort=True):
        others = held_out[~held_out["site"].isin(part["site"])]
        intervals = fit_intervals(table, model.features, others, min_sites=_FEWEST)
        predicted = part["predicted"].to_numpy()
        half = intervals.half_width(table.iloc[part["row"].to_numpy()], predicted)
        low, high = predicted - half, predicted + half
        parts.append(pd.DataFrame({"row": part["row"].to_numpy(), "low": low, "high": high}))
    return pd.concat(parts, ignore_index=True).sort_values("row", ignore_index=True)
