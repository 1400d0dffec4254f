"""Build the sections of triple collocation and of the protocol of a validation's page.

`page` puts them between its own sections. Every number comes from `stac_sm.core.scores`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stac_sm.core.scores.triplets import TripletSummary
from stac_sm.workflows.reporting.html import HtmlContent, html_element, html_table
from stac_sm.workflows.reporting.labels import UNIT
from stac_sm.workflows.reporting.score_tables import spread_text
from stac_sm.workflows.validation.protocol import ValidationProtocol
from stac_sm.workflows.validation.triplets import StationTriplets

_FIGURES = (("snr_db", 1), ("error_std", 4), ("correlation", 2))  # name, digits


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
        "variances are positive, at most a fifth of the resamples are degenerate, and each correlation lies in its "
        "interval. Errors are in the units of the first data set of the triplet.",
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
            *(
                spread_text(one.spread[name], digits)
                for name, digits in (("snr_db", 1), ("error_std", 4), ("correlation", 2))
            ),
            *([one.dependent] if dependent else []),
        ]
        for one in found
    ]
    names = ["data set", "triplet", "sites", "SNR, dB", f"error, {UNIT}", "R with the truth"]
    return html_table(caption, [*names, *(["why dependent"] if dependent else [])], rows, id=anchor)
