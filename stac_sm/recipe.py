"""Recipes: the features of a model as data, so that training and prediction build them by the same code."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter, ValidationError

from stac_sm.errors import InputError
from stac_sm.fingerprint import digest
from stac_sm.signing import SIGNERS

RESAMPLINGS = ("nearest", "bilinear", "average")
TIME_RULES = ("static", "daily", "composite", "previous")
MISSING_RULES = ("nodata", "nan")
MASKS = ("frozen", "snow")
DERIVED = ("doy_sin", "doy_cos", "latitude")
_TAKEN = ("site", "network", "lon", "lat", "tile", "row", "col", "date", "sm", "n", "time", "x", "y", "spatial_ref")
"""Columns of the match-up table and coordinates of the cube."""


@dataclass(frozen=True)
class Feature:
    """One input column of a model: where it comes from and how it gets to the pixel and the day."""

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
    """What a pixel without value does: ``nodata`` leaves the pixel out, ``nan`` leaves it to the model."""

    valid: tuple[float, float] | None = None
    """Least and largest stored value; others are codes, no data (MODIS LAI: 0 to 100). None: all are values."""

    catalog: str = ""
    """STAC API or catalogue that has the collection; empty for the project's own."""

    sign: str = ""
    """How hrefs get a token when they are read: ``planetary-computer``, or empty."""

    def __post_init__(self) -> None:
        thing = f"feature {self.name!r}"
        _choice(thing, "sign", self.sign, SIGNERS)
        if self.valid is not None:  # a list where it comes from JSON or TOML
            object.__setattr__(self, "valid", tuple(float(end) for end in self.valid))
        _choice(thing, "resampling", self.resampling, RESAMPLINGS)
        _choice(thing, "time", self.time, TIME_RULES)
        _choice(thing, "missing", self.missing, MISSING_RULES)
        if not self.name or self.max_gap < 0:
            raise InputError(f"{thing}: max_gap {self.max_gap} found; a name, and a max_gap of 0 or more days wanted")


@dataclass(frozen=True)
class Mask:
    """Pixels and days without a valid soil moisture, found in a variable that is read like a feature."""

    name: str
    """``frozen`` or ``snow``."""

    feature: Feature
    """Where the variable comes from; its name is the mask's."""

    below: float | None = None
    """Masked where the variable is smaller than this."""

    above: float | None = None
    """Masked where the variable is larger than this."""

    def __post_init__(self) -> None:
        _choice("recipe", "mask", self.name, MASKS)
        if (self.below is None) == (self.above is None):
            raise InputError(f"mask {self.name!r}: give one of below = … and above = …")


@dataclass(frozen=True)
class Recipe:
    """Features in the order of the model's columns, then derived ones; and masks."""

    features: tuple[Feature, ...]
    """Features that are read from items."""

    derived: tuple[str, ...] = field(default=())
    """Features that are computed from place and day: ``doy_sin``, ``doy_cos``, ``latitude``."""

    masks: tuple[Mask, ...] = field(default=())
    """Where the soil is frozen or under snow, there is no soil moisture."""

    def __post_init__(self) -> None:
        if not self.features:
            raise InputError(
                "recipe: no feature found, one or more wanted: add [[recipe.features]] to the project file"
            )
        for name in self.derived:
            _choice("recipe", "derived", name, DERIVED)
        names = (*self.names, *(mask.name for mask in self.masks))
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise InputError(f"recipe: {', '.join(sorted(repeated))} occurs twice: give every feature its own name")
        taken = sorted(set(names) & set(_TAKEN))
        if taken:
            raise InputError(f"recipe: {', '.join(taken)} is no name for a feature: taken are {', '.join(_TAKEN)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, in order."""
        return (*(feature.name for feature in self.features), *self.derived)

    @property
    def sources(self) -> tuple[Feature, ...]:
        """Everything that is read from items: features, then the variables of the masks."""
        return (*self.features, *(mask.feature for mask in self.masks))

    def feature(self, name: str) -> Feature:
        """Feature of a name; InputError where there is none."""
        _choice("recipe", "feature", name, [feature.name for feature in self.features])
        return next(feature for feature in self.features if feature.name == name)

    def only(self, names: Sequence[str]) -> Recipe:
        """Recipe of some of the features, nothing derived."""
        return Recipe(tuple(self.feature(name) for name in names))

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the canonical JSON."""
        return digest(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, which `from_dict` takes."""
        masks = [
            {**_without(asdict(mask.feature), "missing"), "below": mask.below, "above": mask.above}
            for mask in self.masks
        ]
        return {
            "features": [asdict(feature) for feature in self.features],
            "derived": list(self.derived),
            "masks": [{key: value for key, value in mask.items() if value is not None} for mask in masks],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Recipe:
        """Recipe of a JSON or TOML table.

        Raises
        ------
        InputError
            If a field is missing, unknown or has no such value: names the feature, and the nearest right word.
        """
        content = _typed("recipe", dict[str, Any], content)
        _known("recipe", content, {item.name for item in fields(cls)})
        return cls(
            tuple(_feature(table) for table in _typed("recipe.features", _Tables, content.get("features", []))),
            _typed("recipe.derived", tuple[str, ...], content.get("derived", ())),
            tuple(_mask(table) for table in _typed("recipe.masks", _Tables, content.get("masks", []))),
        )


_Tables = list[dict[str, Any]]


def _typed(thing: str, kind: Any, found: Any) -> Any:
    """A value of a kind; what is close to it (a list for a tuple, 1 for 1.0) is taken."""
    try:
        return TypeAdapter(kind).validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f".{part}" for part in first["loc"])
        raise InputError(f"{thing}{where}: found {first['input']!r}, {first['msg'].lower()}") from error


def _feature(table: Mapping[str, Any], *others: str) -> Feature:
    """Feature of a table, which may hold other fields, too."""
    name = str(table.get("name", "?"))
    _known(f"feature {name!r}", table, {*(item.name for item in fields(Feature)), *others})
    table = _without(table, *others)
    absent = [key for key in ("name", "collection", "asset") if key not in table]
    if absent:
        raise InputError(f'feature {name!r}: {", ".join(absent)} missing: write e.g. {absent[0]} = "…"')
    feature: Feature = _typed(f"feature {name!r}", Feature, table)
    return feature


def _mask(table: Mapping[str, Any]) -> Mask:
    feature = _feature(table, "below", "above")
    below, above = (_typed(f"mask {feature.name!r}.{key}", float | None, table.get(key)) for key in ("below", "above"))
    return Mask(feature.name, feature, below, above)


def _without(table: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in keys}


def _known(thing: str, table: Mapping[str, Any], keys: set[str]) -> None:
    for key in table:
        _choice(thing, "field", key, sorted(keys))


def _choice(thing: str, what: str, found: str, wanted: Sequence[str]) -> None:
    if found not in wanted:
        near = difflib.get_close_matches(str(found), wanted, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"{thing}: {what} {found!r} is unknown: known are {', '.join(wanted)}{hint}")
