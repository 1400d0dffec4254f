"""What the product costs on paper, from a measured tile-month: core-hours, GB, requests and dollars on Spot.

Run: ``python tests/benchmarks/tile_month.py --days 31 --only ours xgboost plain --kinds whole --save``, which writes
tile_month.json beside this, recipe by recipe; then ``python tests/benchmarks/costs.py [FILE] [--json] [--write]``.
``--write`` puts the table into README.md beside this.

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

HEAD = "| what | core-hours | GB | requests | dollars |"
MEASURED = Path(__file__).parent / "tile_month.json"
CORES = 2  # of the measured run
MONTH = 30.4
README = Path(__file__).with_name("README.md")
SPANS = {"one tile-month": None, "one global day": 1, "one year": 365.25, "2000-2020": 7671}
NAMES = {"ours": "stac_sm", "xgboost": "stac_sm with XGBoost's own prediction", "plain": "plain script"}
GETS_A_DAY = {"ours": 67 / 30, "xgboost": 67 / 30, "plain": 10.0}  # files of a tile-day: LST, ERA5-Land, LAI, 7 static
GETS_A_MONTH = {"glass-sm": 0, "memory": 89 + 4}  # besides: ERA5-Land of days before, mean and spread of two variables
PUTS_A_DAY = len(PROFILES) + 3  # the rasters, two pictures and the item


@dataclass(frozen=True)
class Cost:
    """What some tile-days take."""

    core_hours: float
    gb: float
    requests: float
    dollars: float


def cost(gets_a_day: float, seconds_a_day: float, bytes_a_day: float, tile_days: float, rates: Rates) -> Cost:
    """Of so many tile-days by one way."""
    hours = tile_days * seconds_a_day * CORES / 3600
    gets, puts = tile_days * gets_a_day, tile_days * PUTS_A_DAY
    dollars = hours * rates.core_hour + gets / 1000 * rates.get_1000 + puts / 1000 * rates.put_1000
    return Cost(hours, tile_days * bytes_a_day / 1e9, gets + puts, dollars)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=Path, nargs="?", default=MEASURED)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    given = parser.parse_args()
    found = costs(json.loads(given.measured.read_text()))
    print(json.dumps(found, indent=1) if given.json else table(found))
    if given.write:
        before, _, after = README.read_text().partition(HEAD)
        README.write_text(before + table(found) + "\n\n" + after.partition("\n\n")[2])


def costs(measured: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Of each span, made with each recipe in each of the ways that were measured."""
    tiles, rates = len(land_tiles(MODIS_SINUSOIDAL_1KM)), Rates()
    found = {}
    for span, days in SPANS.items():
        for recipe, kinds in measured.items():
            month = kinds["whole"]
            size = month["stages"]["publish"]["bytes"] / month["days"]
            for name in [name for name in NAMES if name in month["seconds"]]:
                gets, seconds = GETS_A_DAY[name] + GETS_A_MONTH[recipe] / MONTH, month["seconds"][name] / month["days"]
                one = cost(gets, seconds, size, MONTH if days is None else days * tiles, rates)
                found[f"{span}, {recipe}, {NAMES[name]}"] = one.__dict__
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    lines = [HEAD, "|---|---|---|---|---|"]
    for name, one in found.items():
        lines.append(
            "| "
            + " | ".join([name, *(f"{value:,.3g}" if value < 100 else f"{value:,.0f}" for value in one.values())])
            + " |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
