"""Resolve inputs: find the items that make each feature on each day, from metadata alone.

It comes between `recipe` and `cube`. Planning takes the fingerprints of the inputs from `ResolvedInputs`, prediction
and match-ups take the files. No pixel is read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pystac

from stac_sm.core.errors import CatalogError, InputError
from stac_sm.core.fingerprint import day_input
from stac_sm.core.footprints import footprint
from stac_sm.core.period import Period
from stac_sm.core.text import unknown_name_message
from stac_sm.features.recipe import Feature, Recipe
from stac_sm.features.time_rules import DayFields, RasterSources, Timeline, WeightedField, choose_day_fields
from stac_sm.raster.precedence import in_precedence
from stac_sm.raster.resample import TargetPixels, overlapping_grids
from stac_sm.raster.source import BadItemError, RasterSource, asset_key, raster_source
from stac_sm.stac.catalogs.catalog import open_recipe_catalog
from stac_sm.stac.catalogs.catalog_interface import is_writable
from stac_sm.stac.catalogs.search import BBox, ItemSearch, item_period
from stac_sm.storage.trust import check_href

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

CLIMATOLOGY_COLLECTION = "climatology"
"""Collection of climatologies: the means of many years."""

SPREAD = "std"
"""Key of their asset with the standard deviation, which they have where a recipe asks for it."""

CLIMATOLOGY_PROPERTY = "stac_sm:climatology"
"""Property of its items: which feature's mean, over which days."""

_LONGEST_COMPOSITE = 31  # days: an item that covers a day began at most so long before


@dataclass(frozen=True)
class ResolvedInputs:
    """The files that make each feature on each day."""

    recipe: Recipe
    """The recipe that was resolved."""

    days: tuple[date, ...]
    """Days, in order."""

    by_feature: Mapping[str, Mapping[date, DayFields]]
    """Feature or mask -> day -> files and weights of its value; a day without input is left out."""

    left_out: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Feature or mask -> items that would count, but for a value that cannot be right: id and asset key, as
    ``ID/KEY``, and why. Only those of which there are any."""

    days_found: Mapping[str, Mapping[date, int]] = field(default_factory=dict)
    """Feature or mask -> day with too little history -> days of its average that have input."""

    @property
    def left_out_items(self) -> dict[str, str]:
        """Items that were left out of any feature, and why, in the order of their ids."""
        return dict(sorted((name, why) for items in self.left_out.values() for name, why in items.items()))

    def inputs(self, day: date) -> list[tuple[str, str]]:
        """Return every file that a day needs, for its fingerprint.

        Parameters
        ----------
        day
            A day of the period.

        Returns
        -------
        list of tuple
            Id (item id and asset key) and checksum, ascending, none twice. The checksum covers the bytes of the file,
            what the item says about them, their weight in the day's value, and whether they only fill gaps of others.
        """
        made_of = (days[day] for days in self.by_feature.values() if day in days)
        found = {
            day_input(s.item_id, s.asset, s.provenance_digest, layer.weight, level, age)
            for one in made_of
            for layer, s, level, age in one.layers
        }
        return sorted((one.id, one.checksum) for one in found)

    def items(self, day: date) -> list[tuple[str, str]]:
        """Return every item that a day needs.

        Parameters
        ----------
        day
            A day of the period.

        Returns
        -------
        list of tuple
            Id and href of each item, ascending, none twice.
        """
        return sorted({(s.item_id, s.item_href) for layer in self._layers(day) for s in layer.sources})

    def preliminary_items(self, day: date) -> list[str]:
        """Return the items with preliminary data of their provider that a day needs.

        Parameters
        ----------
        day
            A day of the period.

        Returns
        -------
        list of str
            Ids, ascending, none twice.
        """
        return sorted({s.item_id for layer in self._layers(day) for s in layer.sources if s.preliminary})

    def missing(self, day: date) -> list[str]:
        """List the features and masks without any input on a day.

        Parameters
        ----------
        day
            A day of the period.

        Returns
        -------
        list of str
            Names, in the order of the recipe.
        """
        return [name for name, days in self.by_feature.items() if day not in days]

    def blocked_by(self, day: date) -> list[str]:
        """List the missing features and masks without which a day cannot be predicted.

        Parameters
        ----------
        day
            A day of the period.

        Returns
        -------
        list of str
            Names of masks, and of features whose gaps are not left to the model, in the order of the recipe.
        """
        optional = {feature.name for feature in self.recipe.features} - set(self.recipe.required)
        return [name for name in self.missing(day) if name not in optional]

    def why_blocked(self, day: date) -> list[str]:
        """Describe what is missing of each feature and mask without which a day cannot be predicted.

        Parameters
        ----------
        day
            A day of the period.

        Returns
        -------
        list of str
            Names as `blocked_by` gives them, with the days found and required where history is missing.
        """
        short = {name: days[day] for name, days in self.days_found.items() if day in days}
        sources = {source.name: source for source in self.recipe.sources}
        return [
            f"{name} ({describe_history(sources[name], short[name], short[name])})" if name in short else name
            for name in self.blocked_by(day)
        ]

    def only(self, days: Iterable[date]) -> ResolvedInputs:
        """Return the resolved inputs of some of the days.

        Parameters
        ----------
        days
            Days of the period, in order.

        Returns
        -------
        ResolvedInputs
            The same features and files, for these days.
        """
        return replace(self, days=tuple(days))

    def _layers(self, day: date) -> list[WeightedField]:
        return [layer for days in self.by_feature.values() if day in days for layer in days[day].fields]


def resolve_inputs(
    catalog: ItemSearch, recipe: Recipe, geobox: GeoBox, period: Period, *, days: Sequence[date] | None = None
) -> ResolvedInputs:
    """Find the files of every feature and mask for each day, from metadata alone.

    Parameters
    ----------
    catalog
        Where the items are; a feature may name another catalogue, which is opened.
    recipe
        Features and masks.
    geobox
        The pixels: only files that meet it count.
    period
        Days.
    days
        Days of the period whose files are found, in order; None: all. Few days take less time.

    Returns
    -------
    ResolvedInputs
        Files with weights, by feature and day.

    Raises
    ------
    InputError
        If the GeoBox lies off the Earth.
    CatalogError
        If a collection or an asset of a feature does not exist.
    """
    outline = footprint(geobox)
    if outline is None:
        raise InputError(f"the box {geobox.boundingbox} lies off the Earth: choose another tile")
    target, bbox, asked = TargetPixels(geobox), outline.bounds, tuple(period.days if days is None else days)
    made_of, left_out, days_found = {}, dict[str, Mapping[str, str]](), dict[str, Mapping[date, int]]()
    opened = {
        href: open_recipe_catalog(href, catalog) for href in {feature.catalog for feature in recipe.sources} if href
    }
    for feature in recipe.sources:
        where = opened.get(feature.catalog, catalog)
        bad: dict[str, str] = {}
        timeline = feature_timeline(where, feature, period, target, bbox, bad)
        climatology = climatology_files(catalog, feature, bbox, target, bad)
        if bad:
            left_out[feature.name] = bad
        chosen = [(day, choose_day_fields(feature, timeline, climatology, day)) for day in asked]
        made_of[feature.name] = {day: found for day, found in chosen if found.fields}
        if few := {day: found.days_found for day, found in chosen if found.days_found is not None}:
            days_found[feature.name] = few
        if not made_of[feature.name]:
            _check_asset(where, feature)
    return ResolvedInputs(recipe, asked, made_of, left_out, days_found)


def _check_asset(where: ItemSearch, feature: Feature) -> None:
    """Refuse an asset that the items of a collection of this project never have: a misspelt name finds nothing."""
    if is_writable(where):
        known = where.collection(feature.collection).get("item_assets", {})
        if known and feature.asset not in known and not feature.asset.startswith("*"):
            what = f"feature {feature.name!r}: asset of collection {feature.collection}"
            raise CatalogError(f"{where.root}: {unknown_name_message(what, feature.asset, list(known))}")


def require_inputs(resolved: ResolvedInputs, where: str) -> None:
    """Refuse resolved inputs in which a feature has no file on any day.

    Parameters
    ----------
    resolved
        What `resolve_inputs` found.
    where
        Place or purpose, e.g. a tile id, for the message.

    Raises
    ------
    CatalogError
        Names the features and their collections.
    """
    absent = [feature for feature in resolved.recipe.sources if not resolved.by_feature[feature.name]]
    if absent:
        first, last = resolved.days[0], resolved.days[-1]
        bad = list(resolved.left_out_items.values())
        why = f"; {len(bad)} item(s) left out, e.g. {bad[0]}" if bad else ""
        raise CatalogError(
            f"{where}, {first} to {last}: no item found for {', '.join(map(describe_input, absent))}: "
            f"ingest them, or choose other days{why}"
        )


def describe_history(feature: Feature, fewest: int, most: int) -> str:
    """Describe how many days of a feature's average have input, and how many are required.

    Parameters
    ----------
    feature
        A feature with a trailing or exponential mean.
    fewest, most
        Number of days with input, on the days that have the fewest and the most.

    Returns
    -------
    str
        For messages, e.g. ``5 to 9 of 30 days of history found, 15 are required``.
    """
    found = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    mean, total = feature.exponential_mean, len(feature.ages)
    if mean is None:
        return f"{found} of {total} days of history found, {-(-total // 2)} are required"
    newest = np.cumsum(mean.weights)
    least = int(np.searchsorted(newest, mean.least_weight())) + 1
    return (
        f"{found} of {total} days of history found; days with {mean.least_share:.0%} of the weight are required, e.g. "
        f"the newest {least}"
    )


def describe_input(feature: Feature) -> str:
    """Return what a feature needs, for people: name, collection, asset, and the climatology with the command for it."""
    made = f", climatology {feature.climatology.period}: `stac-sm climatology` makes it" if feature.climatology else ""
    return f"{feature.name} (collection {feature.collection}, asset {feature.asset}{made})"


def other_depths(catalog: ItemSearch, feature: Feature) -> list[str]:
    """Find assets of the same quantity at other depths, for a static feature that no item has.

    Parameters
    ----------
    catalog
        The project's catalogue.
    feature
        A feature, e.g. of the asset ``sand``.

    Returns
    -------
    list of str
        Keys such as ``sand_5-15cm``; none of a feature that changes with time, or is in another catalogue.
    """
    if feature.time != "static" or feature.catalog:
        return []
    depth = re.compile(rf"{re.escape(feature.asset)}_\d+-\d+cm")
    items = catalog.items(feature.collection, left_out={})
    return sorted({key for item in items for key in item.assets if depth.fullmatch(key)})


def feature_timeline(
    where: ItemSearch, feature: Feature, period: Period, target: TargetPixels, bbox: BBox, left_out: dict[str, str]
) -> Timeline:
    """Find the fields of a feature that meet a target and may count for the days of a period.

    Parameters
    ----------
    where
        Catalogue that has the feature's collection.
    feature
        Its collection, asset, time rule and lag decide which items count.
    period
        Days whose values are asked for.
    target
        The pixels.
    bbox
        West, south, east, north of the target in degrees, for the search.
    left_out
        Gets the items with a value that cannot be right, and why.

    Returns
    -------
    Timeline
        Files by the days that they cover.

    Raises
    ------
    CatalogError
        If the collection does not exist, or has no such band.
    """
    span = search_period(feature, period)
    items = where.items(feature.collection, period=span, bbox=bbox, left_out=left_out)
    return Timeline.of(_fields(items, where.root, feature, target, left_out))


def search_period(feature: Feature, period: Period) -> Period | None:
    """Return the days whose items may count for the days of a period.

    Parameters
    ----------
    feature
        Its time rule, lag and average say how far items may lie from a day.
    period
        Days whose values are asked for.

    Returns
    -------
    Period or None
        A longer period; None where all items may count (static features).
    """
    if feature.time == "static":
        return None
    reach = feature.max_gap + _LONGEST_COMPOSITE if feature.time in {"composite", "previous"} else 0
    return period.widened(reach + feature.days_back)


def _fields(
    items: Iterable[pystac.Item], root: str, feature: Feature, target: TargetPixels, left_out: dict[str, str]
) -> dict[Period, list[RasterSource]]:
    """Return files that meet the target, by the days they cover."""
    fields: dict[Period, list[RasterSource]] = {}
    for item, source in _sources(items, root, feature, target, left_out):
        try:
            fields.setdefault(item_period(item), []).append(source)
        except CatalogError as error:
            left_out[f"{item.id}/{source.asset}"] = str(error)
    return fields


def climatology_files(
    catalog: ItemSearch, feature: Feature, bbox: BBox, target: TargetPixels, left_out: dict[str, str]
) -> dict[int, RasterSources]:
    """Find the files of a feature's climatology that meet the target.

    Parameters
    ----------
    catalog
        The project's catalogue, which holds the climatologies.
    feature
        Its ``climatology_key`` selects the items.
    bbox
        West, south, east, north of the target in degrees, for the search.
    target
        The pixels.
    left_out
        Gets the items with a value that cannot be right, and why.

    Returns
    -------
    dict
        Month (1 to 12, or 0 for the whole year) to files; empty for a feature without a climatology.
    """
    if feature.climatology_key is None:
        return {}
    items = [
        item
        for item in catalog.items(CLIMATOLOGY_COLLECTION, bbox=bbox, left_out=left_out)
        if item.properties.get(CLIMATOLOGY_PROPERTY) == feature.climatology_key
    ]
    files: dict[int, list[RasterSource]] = {}
    asset = SPREAD if feature.statistic == "spread" else "mean"
    mean = replace(feature, asset=asset, valid=None, sign="", band="")
    for item, source in _sources(items, catalog.root, mean, target, left_out):
        month = item.properties.get("stac_sm:month", 0)
        if isinstance(month, int) and month in range(13):
            files.setdefault(int(month), []).append(source)
        else:
            left_out[f"{item.id}/{source.asset}"] = (
                f"item {item.id!r}: stac_sm:month {month!r:.40} found, 1 to 12 is required: correct the item"
            )
    return {month: in_precedence(sources) for month, sources in files.items()}


def _sources(
    items: Iterable[pystac.Item], root: str, feature: Feature, target: TargetPixels, left_out: dict[str, str]
) -> list[tuple[pystac.Item, RasterSource]]:
    """Return items that have the feature's asset and meet the target, with what they say about it."""
    found: list[tuple[pystac.Item, RasterSource]] = []
    for item in items:
        key = asset_key(item, feature.asset)  # a collection may keep variables in own items
        if key is None:
            continue
        try:
            found.append((item, raster_source(item, key, feature.band)))
        except BadItemError as error:
            left_out[f"{item.id}/{key}"] = str(error)
    for _, source in found:
        check_href(source.href, root)  # a catalogue must not make us read any place it names
    met = overlapping_grids(list({source.geobox for _, source in found}), target)
    return [
        (item, source.with_feature(feature.valid, feature.sign, root)) for item, source in found if source.geobox in met
    ]
