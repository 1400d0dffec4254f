"""Recipes: the features of a model as data, so that training and prediction build them by the same code.

A recipe is written in the project file or given in Python, is stored with the model, and is read back from there for
prediction. `features.inputs` resolves it to items. What identifies a recipe (`fingerprint_fields`) enters the
fingerprints of match-ups, models and products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from itertools import product
from typing import Any

from pydantic import TypeAdapter, ValidationError

from stac_sm.core.errors import InputError
from stac_sm.core.fingerprint import digest
from stac_sm.core.period import Period
from stac_sm.core.text import unknown_name_message
from stac_sm.features.temporal import ExponentialMean
from stac_sm.storage.signing import SIGNERS

RESAMPLINGS = ("nearest", "bilinear", "average")
TIME_RULES = ("static", "daily", "composite", "previous")
MISSING_RULES = ("nodata", "nan", "climatology")
STATISTICS = ("value", "climatology", "anomaly", "spread")
OF_MANY_YEARS = ("climatology", "spread")
"""Statistics that the items of a climatology hold, so that no day is read for them."""
SEASONS = ("month", "year")
MASKS = ("frozen", "snow", "water")
DERIVED = ("doy_sin", "doy_cos", "latitude")
_SUFFIXES = {"value": "", "climatology": "_mean", "spread": "_spread", "anomaly": "_anomaly"}
"""Ends of the names of the features that a table with ``statistics`` stands for."""
_TAKEN = (
    "site",
    "network",
    "lon",
    "lat",
    "tile",
    "row",
    "col",
    "date",
    "sm",
    "n",
    "time",
    "x",
    "y",
    "spatial_ref",
    "gap_filled",
    "geometry",
)
"""Names that a feature cannot have: columns of the match-up table and coordinates of the cube."""


@dataclass(frozen=True)
class Climatology:
    """A mean over many years at each pixel, made once by ``stac-sm climatology`` and kept as items of their own."""

    period: str
    """Days that are averaged, fixed: ``2001/2010``."""

    season: str = "month"
    """``month``: one mean for each month of the year, linear in between; ``year``: one mean of all days."""

    least_days: int = 30
    """Least number of days with a value in a mean; a pixel with fewer has no climatology."""

    def __post_init__(self) -> None:
        _choice("climatology", "season", self.season, SEASONS)
        object.__setattr__(self, "period", str(Period.parse(self.period)))
        if self.least_days < 1:
            raise InputError(f"climatology: least_days {self.least_days} found, 1 or more required")

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return the definition of the mean as it enters fingerprints.

        Returns
        -------
        dict
            Name to value; a value that is usual is left out (see `Feature.fingerprint_fields`).
        """
        return {"period": self.period, **_unusual(season=(self.season, "month"), least_days=(self.least_days, 30))}


@dataclass(frozen=True)
class Feature:
    """One input column of a model: its source, and how it is brought to the pixel and the day."""

    name: str
    """Name of the column and of the variable."""

    collection: str
    """Collection of its items."""

    asset: str
    """Asset key; or ``*.hdf``: the one asset with the role ``data`` whose file name ends so (CMR-STAC's keys are time
    stamps)."""

    resampling: str = "nearest"
    """``nearest``, ``bilinear`` or ``average`` (mean of the source pixels whose centre lies in the pixel)."""

    time: str = "daily"
    """``static``; ``daily``: an item that covers the day; ``composite``: linear between the middles of two items;
    ``previous``: the last item that began on the day or before."""

    max_gap: int = 16
    """``composite``: largest distance in days of two items between which is interpolated; ``previous``: largest age."""

    missing: str = "nodata"
    """Rule for pixels without a value: ``nodata`` leaves the pixel out, ``nan`` leaves it to the model,
    ``climatology`` takes the mean of other years and flags the pixel as gap-filled."""

    valid: tuple[float, float] | None = None
    """Least and largest stored value (MODIS LAI: 0 to 100); others are codes for no data. None: all are values."""

    catalog: str = ""
    """STAC API or catalogue that has the collection; empty for the project's own."""

    sign: str = ""
    """Service that signs hrefs when they are read: ``planetary-computer``, or empty."""

    band: str = ""
    """Name or number (from 1) of the band in an asset with several."""

    lag: int = 0
    """Number of days: the value is that of so many days before."""

    trailing: int = 1
    """Mean over so many days that end on the day; half of them must have a value."""

    statistic: str = "value"
    """``value``; ``climatology``: the mean of many years; ``anomaly``: the value less that mean; ``spread``: the
    standard deviation of the days of those years."""

    climatology: Climatology | None = None
    """Period and season of the mean of many years; required by some values of ``statistic`` and ``missing``."""

    exponential: float = 0.0
    """Time scale in days of an exponentially weighted mean over the days that end on the day; 0: none. Days with a
    quarter of the weight of the window must have a value (`temporal.LEAST_SHARE`)."""

    window: int = 0
    """Days that an exponentially weighted mean looks at, the day itself included; 0 stands for three time scales."""

    def __post_init__(self) -> None:
        thing = f"feature {self.name!r}"
        _choice(thing, "sign", self.sign, SIGNERS)
        if self.valid is not None:  # a list where it comes from JSON or TOML
            object.__setattr__(self, "valid", tuple(float(end) for end in self.valid))
        _choice(thing, "resampling", self.resampling, RESAMPLINGS)
        _choice(thing, "time", self.time, TIME_RULES)
        _choice(thing, "missing", self.missing, MISSING_RULES)
        _choice(thing, "statistic", self.statistic, STATISTICS)
        if not self.name or self.max_gap < 0:
            raise InputError(
                f"{thing}: max_gap {self.max_gap} found; a name, and a max_gap of 0 or more days, are required"
            )
        if self.lag < 0 or self.trailing < 1:
            raise InputError(f"{thing}: lag {self.lag}, trailing {self.trailing} found; at least 0 and 1 are required")
        _check_window(thing, self)
        if self.exponential:  # the default is written out, so that it may change
            object.__setattr__(self, "window", ExponentialMean(self.exponential, self.window).window)
        _check_statistic(thing, self)

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return the definition of the feature as it enters fingerprints.

        A value that is usual is left out, so that a new field makes no older result stale. The usual values are written
        here and stay, whatever the field's default becomes.

        Returns
        -------
        dict
            Name to value.
        """
        return {
            "name": self.name,
            "collection": self.collection,
            "asset": self.asset,
            **_unusual(
                resampling=(self.resampling, "nearest"),
                time=(self.time, "daily"),
                max_gap=(self.max_gap, 16),
                missing=(self.missing, "nodata"),
                valid=(self.valid, None),
                catalog=(self.catalog, ""),
                sign=(self.sign, ""),
                band=(self.band, ""),
                lag=(self.lag, 0),
                trailing=(self.trailing, 1),
                statistic=(self.statistic, "value"),
                climatology=(None if self.climatology is None else self.climatology.fingerprint_fields(), None),
                exponential=(self.exponential, 0.0),
                window=(self.window, 0),
            ),
        }

    @property
    def days_back(self) -> int:
        """Number of days before a day whose items may count for it, by lag and the days that are averaged."""
        return self.lag + len(self.ages) - 1

    @property
    def ages(self) -> range:
        """Ages in days, after the lag, of the days that are averaged: 0 alone without an average."""
        return range(self.window if self.exponential else self.trailing)

    @cached_property
    def exponential_mean(self) -> ExponentialMean | None:
        """Weights of the days that are averaged; None without ``exponential``."""
        return ExponentialMean(self.exponential, self.window) if self.exponential else None

    @property
    def climatology_key(self) -> dict[str, Any] | None:
        """Identity of the climatology that this feature needs, as its items state it; None without one."""
        if self.climatology is None:
            return None
        source = {"collection": self.collection, "asset": self.asset, "band": self.band, "valid": self.valid}
        source |= {"catalog": self.catalog, **self.climatology.fingerprint_fields()}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in source.items() if value}


def _check_window(thing: str, feature: Feature) -> None:
    """Refuse an average that cannot be."""
    if not 0 <= feature.exponential < float("inf") or feature.window < 0:
        raise InputError(
            f"{thing}: exponential {feature.exponential:g}, window {feature.window} found; a time scale of more than 0 "
            "days and a window of 1 day or more are required, e.g. exponential = 10, window = 30"
        )
    if feature.window and not feature.exponential:
        raise InputError(f"{thing}: window {feature.window} found without exponential: add e.g. exponential = 10")
    if feature.exponential and feature.trailing > 1:
        raise InputError(f"{thing}: exponential and trailing found: give one of them")


def _check_statistic(thing: str, feature: Feature) -> None:
    """Refuse settings that contradict each other or have no effect."""
    needed = feature.statistic != "value" or feature.missing == "climatology"
    if needed and feature.climatology is None:
        raise InputError(f'{thing}: climatology missing: write e.g. climatology = {{ period = "2001/2010" }}')
    if feature.climatology is not None and not needed:
        raise InputError(
            f'{thing}: climatology found without use: add statistic = "anomaly" or missing = "climatology"'
        )
    averaged = feature.days_back or feature.exponential
    if feature.statistic in OF_MANY_YEARS and (feature.missing == "climatology" or averaged):
        raise InputError(
            f'{thing}: statistic = "{feature.statistic}" has no lag, no trailing or exponential mean, and fills no '
            "gaps with itself"
        )
    if feature.time == "static" and (needed or averaged):
        raise InputError(
            f'{thing}: time = "static" has no lag, no trailing or exponential mean and no climatology: it is the same '
            "every day"
        )


@dataclass(frozen=True)
class Mask:
    """A rule for pixels and days without valid soil moisture, on a variable that is read like a feature."""

    name: str
    """``frozen``, ``snow`` or ``water`` (sea and lakes: the land mask)."""

    feature: Feature
    """Source of the variable; its name is the mask's."""

    below: float | None = None
    """Masked where the variable is smaller than this."""

    above: float | None = None
    """Masked where the variable is larger than this."""

    unknown: bool = False
    """Masked where the variable has no value; with neither ``below`` nor ``above``, only there."""

    def __post_init__(self) -> None:
        _choice("recipe", "mask", self.name, MASKS)
        if self.below is not None and self.above is not None:
            raise InputError(f"mask {self.name!r}: give one of below = … and above = …")
        if (self.below, self.above, self.unknown) == (None, None, False):
            raise InputError(f"mask {self.name!r}: give one of below = …, above = … and unknown = true")

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return the definition of the mask as it enters fingerprints.

        Returns
        -------
        dict
            That of its feature, which has the name of the mask, and the limits that are set.
        """
        limits = _unusual(below=(self.below, None), above=(self.above, None), unknown=(self.unknown, False))
        return self.feature.fingerprint_fields() | limits


@dataclass(frozen=True)
class Recipe:
    """Features in the order of the model's columns, then derived ones; and masks."""

    features: tuple[Feature, ...]
    """Features that are read from items."""

    derived: tuple[str, ...] = field(default=())
    """Features that are computed from place and day: ``doy_sin``, ``doy_cos``, ``latitude``."""

    masks: tuple[Mask, ...] = field(default=())
    """Pixels and days without soil moisture: frozen soil, snow, water."""

    def __post_init__(self) -> None:
        if not self.features:
            raise InputError(
                "recipe: no feature found, one or more required: add [[recipe.features]] to the project file"
            )
        for name in self.derived:
            _choice("recipe", "derived", name, DERIVED)
        names = (*self.names, *(mask.name for mask in self.masks))
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise InputError(f"recipe: {', '.join(sorted(repeated))} occurs twice: give every feature its own name")
        taken = sorted(set(names) & set(_TAKEN))
        if taken:
            raise InputError(
                f"recipe: {', '.join(taken)} cannot be the name of a feature: taken are {', '.join(_TAKEN)}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, in order."""
        return (*(feature.name for feature in self.features), *self.derived)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the features without which a pixel has no soil moisture: their gaps are not left to the model."""
        return tuple(feature.name for feature in self.features if feature.missing != "nan")

    @property
    def sources(self) -> tuple[Feature, ...]:
        """Everything that is read from items: features, then the variables of the masks."""
        return (*self.features, *(mask.feature for mask in self.masks))

    def feature(self, name: str) -> Feature:
        """Return the feature of a name.

        Parameters
        ----------
        name
            Name of a column that is read from items.

        Returns
        -------
        Feature
            The feature.

        Raises
        ------
        InputError
            If no feature has this name.
        """
        _choice("recipe", "feature", name, [feature.name for feature in self.features])
        return next(feature for feature in self.features if feature.name == name)

    def only(self, names: Sequence[str]) -> Recipe:
        """Return a recipe of some of the features, without derived ones and masks.

        Parameters
        ----------
        names
            Names of features, in the new order.

        Returns
        -------
        Recipe
            The shorter recipe.

        Raises
        ------
        InputError
            If no feature has one of the names.
        """
        return Recipe(tuple(self.feature(name) for name in names))

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the canonical JSON."""
        return digest(self.fingerprint_fields())

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return the definition of the recipe as it enters fingerprints.

        Returns
        -------
        dict
            ``features``, ``derived`` and ``masks``; see `Feature.fingerprint_fields` for what is left out.
        """
        return {
            "features": [feature.fingerprint_fields() for feature in self.features],
            "derived": list(self.derived),
            "masks": [mask.fingerprint_fields() for mask in self.masks],
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as a JSON-able mapping, which `from_dict` takes.

        Returns
        -------
        dict
            What `fingerprint_fields` gives.
        """
        return self.fingerprint_fields()

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Recipe:
        """Build a recipe from a JSON or TOML table.

        Parameters
        ----------
        content
            ``features`` and ``masks`` (lists of tables) and ``derived`` (list of names). A table of ``features`` with
            ``statistics`` or ``exponentials`` (lists) stands for several features of one source.

        Returns
        -------
        Recipe
            The recipe, checked.

        Raises
        ------
        InputError
            If a field is missing, unknown or has no such value: names the feature, and the nearest right word.
        """
        content = _typed("recipe", dict[str, Any], content)
        _known("recipe", content, {item.name for item in fields(cls)})
        return cls(
            tuple(
                feature
                for table in _typed("recipe.features", _Tables, content.get("features", []))
                for feature in _features(table)
            ),
            _typed("recipe.derived", tuple[str, ...], content.get("derived", ())),
            tuple(_mask(table) for table in _typed("recipe.masks", _Tables, content.get("masks", []))),
        )


_Tables = list[dict[str, Any]]


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what checks values of a kind: to make one takes longer than to check the features of a recipe."""
    return TypeAdapter(kind)


def _typed(thing: str, kind: Any, found: Any) -> Any:
    """Return a value of a kind; a close one (a list for a tuple, 1 for 1.0) is converted."""
    try:
        return _adapter(kind).validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f".{part}" for part in first["loc"])
        raise InputError(f"{thing}{where}: found {first['input']!r}, {first['msg'].lower()}") from error


def _features(table: Mapping[str, Any]) -> list[Feature]:
    """Build the features of a table: one, or those that its lists ``statistics`` and ``exponentials`` ask for.

    ``name = "sm"`` with ``statistics = ["value", "climatology", "spread", "anomaly"]`` and ``exponentials = [5, 20]``
    stands for ``sm``, ``sm_mean``, ``sm_spread``, ``sm_anomaly``, ``sm_exp5``, ``sm_exp5_anomaly``, ``sm_exp20`` and
    ``sm_exp20_anomaly``. The lag counts for what is read on days, the climatology for what needs it, and the window for
    the exponential means.
    """
    if "statistics" not in table and "exponentials" not in table:
        return [_feature(table)]
    thing = f"feature {str(table.get('name', '?'))!r}"
    twice = sorted({"statistic", "exponential", "trailing"} & set(table))
    if twice:
        raise InputError(f"{thing}: {', '.join(twice)} found beside a list of features: give one of them")
    statistics = _typed(f"{thing}.statistics", list[str], table.get("statistics", []))
    scales = _typed(f"{thing}.exponentials", list[float], table.get("exponentials", []))
    for statistic in statistics:
        _choice(thing, "statistics", statistic, STATISTICS)
    if not statistics and not scales:
        raise InputError(f'{thing}: statistics and exponentials are empty: write e.g. statistics = ["value"]')
    plain = _without(table, "statistics", "exponentials", "window", "climatology", "lag", "missing")
    own = {key: table[key] for key in ("lag", "missing") if key in table}
    mean = {"climatology": table["climatology"]} if "climatology" in table else {}
    filled = mean if own.get("missing") == "climatology" else {}
    kept = {} if own.get("missing") == "climatology" else _without(own, "lag")
    made: list[dict[str, Any]] = []
    for statistic in statistics:
        name = f"{plain.get('name', '?')}{_SUFFIXES[statistic]}"
        more = {"value": own | filled, "anomaly": own | mean}.get(statistic, kept | mean)
        made.append({**plain, **more, "name": name, "statistic": statistic})
    for scale, statistic in product(scales, ["value", *(one for one in statistics if one == "anomaly")]):
        window = {"window": table["window"]} if "window" in table else {}
        more = mean if statistic == "anomaly" else filled
        name = f"{plain.get('name', '?')}_exp{scale:g}{_SUFFIXES[statistic]}"
        made.append({**plain, **own, **more, **window, "name": name, "statistic": statistic, "exponential": scale})
    _require_use(thing, table, made)
    return [_feature(one) for one in made]


def _require_use(thing: str, table: Mapping[str, Any], made: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a setting of a table that none of its features has."""
    for key in ("climatology", "window", "lag"):
        if key in table and not any(key in one for one in made):
            raise InputError(f"{thing}: {key} found, and none of its features uses it: take it out")


def _feature(table: Mapping[str, Any], *others: str) -> Feature:
    """Build the feature of a table, which may hold other fields, too."""
    name = str(table.get("name", "?"))
    _known(f"feature {name!r}", table, {*(item.name for item in fields(Feature)), *others})
    table = _without(table, *others)
    absent = [key for key in ("name", "collection", "asset") if key not in table]
    if absent:
        raise InputError(f'feature {name!r}: {", ".join(absent)} missing: write e.g. {absent[0]} = "…"')
    feature: Feature = _typed(f"feature {name!r}", Feature, table)
    return feature


def _mask(table: Mapping[str, Any]) -> Mask:
    own = {"below": float | None, "above": float | None, "unknown": bool}
    feature = _feature(table, *own)
    limits = {
        key: _typed(f"mask {feature.name!r}.{key}", kind, table[key]) for key, kind in own.items() if key in table
    }
    return Mask(feature.name, feature, **limits)


def _unusual(**values: tuple[Any, Any]) -> dict[str, Any]:
    """Return the values that differ from the usual ones; each argument is a pair of both."""
    return {name: value for name, (value, usual) in values.items() if value != usual}


def _without(table: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in keys}


def _known(thing: str, table: Mapping[str, Any], keys: set[str]) -> None:
    for key in table:
        _choice(thing, "field", key, sorted(keys))


def _choice(thing: str, what: str, found: str, allowed: Sequence[str]) -> None:
    if found not in allowed:
        raise InputError(f"{thing}: {unknown_name_message(what, found, [name for name in allowed if name])}")
