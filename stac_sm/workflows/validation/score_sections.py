"""Build the sections of triple collocation and of the protocol of a validation's page.

`page` puts them between its own sections. Every number comes from `stac_sm.core.scores`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stac_sm.core.scores.resampling import CONFIDENCE, NO_INTERVAL
from stac_sm.core.scores.triplets import TripletSummary
from stac_sm.workflows.reporting.html import HtmlContent, html_element, html_table
from stac_sm.workflows.reporting.labels import UNIT
from stac_sm.workflows.reporting.score_tables import spread_text, with_interval
from stac_sm.workflows.validation.protocol import ValidationProtocol
from stac_sm.workflows.validation.triplets import StationTriplets

_FIGURES = (("snr_db", "SNR, dB", 1), ("error_std", f"error, {UNIT}", 4), ("correlation", "R with the truth", 2))
_MOST_ROWS = 300


def triplet_content(found: StationTriplets) -> Iterator[HtmlContent]:
    """Yield tables of triple collocation: triplets with independent errors, and apart those with dependent ones.

    Parameters
    ----------
    found
        All triplets at all sites.

    Yields
    ------
    HtmlContent
        Nothing where there is no triplet.
    """
    summaries = found.summaries
    if not summaries:
        return
    yield html_element(
        "p",
        f"A triplet counts at a site that has {found.least_days} common days, where all covariances and error "
        "variances are positive, at most a fifth of the resamples are degenerate, and each correlation and error lies "
        "in its interval. Errors are in the units of the first data set of the triplet.",
    )
    independent = [one for one in summaries if not one.dependent]
    if independent:
        yield _triplets("Triplets with independent errors, median and quartiles over sites", independent, "triplets")
    dependent = [one for one in summaries if one.dependent]
    if dependent:
        yield html_element("h3", "Triplets with dependent errors")
        yield html_element(
            "p",
            "Triple collocation requires independent errors. These triplets do not have them: errors of the data sets "
            "that depend on each other are estimated too small. They are shown for comparison and enter no headline.",
        )
        yield _triplets(
            "Triplets with dependent errors, median and quartiles over sites", dependent, "dependent-triplets"
        )
    yield from _at_sites(found)


def _at_sites(found: StationTriplets) -> Iterator[HtmlContent]:
    """Yield the triplets of each site that are not refused, with their intervals: a table to open."""
    there = [(site, one) for site, triplets in found.sites.items() for one in triplets if one.status == "ok"]
    rows: list[list[HtmlContent]] = [
        [
            site,
            ", ".join(one.names),
            "dependent" if one.dependent else "independent",
            str(one.n),
            f"{one.degenerate} of {one.resamples}",
            "yes" if one.determined else "no",
            each.name,
            *(
                with_interval(getattr(each, name), each.intervals.get(name, NO_INTERVAL), digits)
                for name, _, digits in _FIGURES
            ),
        ]
        for site, one in there
        for each in one.data_sets
    ]
    if not rows:
        return
    names = ["site", "triplet", "errors", "days", "degenerate resamples", "determined", "data set"]
    names += [heading for _, heading, _ in _FIGURES]
    more = f"; {_MOST_ROWS} lines of {len(rows)}, all are in the files" if len(rows) > _MOST_ROWS else ""
    caption = f"Triplets of each site, with {100 * CONFIDENCE:g} % intervals{more}"
    table = html_table(caption, names, rows[:_MOST_ROWS], id="triplets-of-sites")
    yield html_element("details", html_element("summary", f"Triple collocation at {len(found.sites)} sites"), table)


def protocol_content(protocol: ValidationProtocol) -> Iterator[HtmlContent]:
    """Yield the table of the protocol.

    Parameters
    ----------
    protocol
        How the validation was made.

    Yields
    ------
    HtmlContent
        One table.
    """
    yield html_table(
        "How station and product are compared",
        ["what", "value"],
        [list(line) for line in protocol.lines],
        id="protocol",
        class_="facts",
    )


def _triplets(caption: str, found: Sequence[TripletSummary], anchor: str) -> HtmlContent:
    dependent = any(one.dependent for one in found)
    rows: list[list[HtmlContent]] = [
        [
            one.name,
            ", ".join(one.names),
            f"{one.determined} of {one.places}",
            *(spread_text(one.spread[name], digits) for name, _, digits in _FIGURES),
            *([one.dependent] if dependent else []),
        ]
        for one in found
    ]
    names = ["data set", "triplet", "sites", *(heading for _, heading, _ in _FIGURES)]
    return html_table(caption, [*names, *(["why dependent"] if dependent else [])], rows, id=anchor)
