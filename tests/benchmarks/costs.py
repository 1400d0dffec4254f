"""What the product costs on paper, from a measured tile-month: core-hours, GB, requests and dollars on Spot.

Run: ``python tests/benchmarks/tile_month.py --days 31 --only ours xgboost plain --kinds whole --json > month.json``,
then ``python tests/benchmarks/costs.py [month.json] [--json]``; tile_month.json beside this holds the committed run.

Core-hours are the seconds of the measured run on all its cores, whether they were busy or not; every land tile is taken
for as full as the measured one, which makes them too many. Prices are the defaults of the project file ([costs]).
Requests: of ours as counted in tests/integration/test_requests.py, each file once a tile-month; the plain script reads
the same files a day at a time. Without egress, and without what the inputs cost to keep.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM
from stac_sm.core.land import land_tiles
from stac_sm.product.item import PROFILES
from stac_sm.workflows.project import Rates

MEASURED = Path(__file__).parent / "tile_month.json"
CORES = 2  # of the measured run
MONTH = 30.4
SPANS = {"one tile-month": None, "one global day": 1, "one year": 365.25, "2000-2020": 7671}
NAMES = {"ours": "stac_sm", "xgboost": "stac_sm with XGBoost's own prediction", "plain": "plain script"}
GETS_A_DAY = {"ours": 67 / 30, "xgboost": 67 / 30, "plain": 10.0}  # files of a tile-day: LST, ERA5-Land, LAI, 7 static
PUTS_A_DAY = len(PROFILES) + 3  # the rasters, two pictures and the item


@dataclass(frozen=True)
class Cost:
    """What some tile-days take."""

    core_hours: float
    gb: float
    requests: float
    dollars: float


def cost(name: str, seconds_a_day: float, bytes_a_day: float, tile_days: float, rates: Rates) -> Cost:
    """Of so many tile-days by one way."""
    hours = tile_days * seconds_a_day * CORES / 3600
    gets, puts = tile_days * GETS_A_DAY[name], tile_days * PUTS_A_DAY
    dollars = hours * rates.core_hour + gets / 1000 * rates.get_1000 + puts / 1000 * rates.put_1000
    return Cost(hours, tile_days * bytes_a_day / 1e9, gets + puts, dollars)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=Path, nargs="?", default=MEASURED)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = costs(json.loads(given.measured.read_text())["whole"])
    print(json.dumps(found, indent=1) if given.json else table(found))


def costs(month: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Of each span, made in each of the ways that were measured."""
    tiles, rates = len(land_tiles(MODIS_SINUSOIDAL_1KM)), Rates()
    size = month["stages"]["publish"]["bytes"] / month["days"]
    return {
        f"{span}, {NAMES[name]}": cost(
            name, seconds / month["days"], size, MONTH if days is None else days * tiles, rates
        ).__dict__
        for span, days in SPANS.items()
        for name, seconds in month["seconds"].items()
        if name in NAMES
    }


def table(found: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    lines = ["| what | core-hours | GB | requests | dollars |", "|---|---|---|---|---|"]
    for name, one in found.items():
        lines.append(
            "| "
            + " | ".join([name, *(f"{value:,.3g}" if value < 100 else f"{value:,.0f}" for value in one.values())])
            + " |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
