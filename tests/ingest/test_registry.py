"""A provider that is added as CONTRIBUTING says: its module, a line of the registry, a collection, and nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stac_sm.stac.catalogs.catalog import open_catalog
from tests.support.checkout import ROOT

GUIDE = (ROOT / ".github" / "CONTRIBUTING.md").read_text().partition("### … a provider's product")[2]

PROVIDER = '''
"""Toy soil moisture: a daily grid of latitudes and longitudes in NetCDF."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from stac_sm.core.errors import GranuleError
from stac_sm.core.period import Period, utc_instant
from stac_sm.core.variables import Variable
from stac_sm.ingest.file_content import FileContent
from stac_sm.ingest.formats.cf_grid import cf_series
from stac_sm.ingest.formats.name_dates import named_day
from stac_sm.ingest.formats.netcdf import describe_variables, open_netcdf, unpack_values
from stac_sm.ingest.provider_interface import Download, Granule, RasterLayer, Recognition, ScannedFile
from stac_sm.raster.cog import CogProfile
from stac_sm.stac.items import raster_item

_TOY = Variable("toy_sm", "m3 m-3", "Toy soil moisture", (0.0, 1.0))


@dataclass(frozen=True)
class Toy:
    collection: str = "toy-sm"
    patterns: tuple[str, ...] = ("TOY_*.nc",)
    downloads: ClassVar[tuple[Download, ...]] = (
        Download("Toy soil moisture, daily", "toy-sm", ("toy",), "none", pixels=12, bytes_a_pixel=4),
    )

    def scan(self, file: Path) -> ScannedFile:
        with open_netcdf(file) as data:
            series = cf_series(describe_variables(data, file), "toy", file)
            stored = np.asarray(unpack_values(data["toy"], series.index(0, slice(None))))
        grid, day = series.grid, named_day(file, file.stem[-8:])
        values = (stored[np.ix_(grid.rows, grid.columns)] / 100).astype(np.float32)  # percent by volume
        if np.nanmax(values) > 1:
            raise GranuleError(f"{file}: {np.nanmax(values):g} m3 m-3 found, 0 to 1 expected: fetch it again")
        item = raster_item(
            id=f"TOY.A{day:%Y%j}", collection=self.collection, geobox=grid.geobox, start=utc_instant(day),
            end=utc_instant(Period.of_day(day).end),
        )
        return ScannedFile([Granule(item, {_TOY.name: RasterLayer(_TOY, lambda: values, grid.geobox, CogProfile())})])

    def recognises(self, content: FileContent) -> Recognition | None:
        return Recognition("toy soil moisture") if content.is_field("toy") else None
'''

PROGRAM = """
import json, sys
import stac_sm
from stac_sm.cli.main import main
from stac_sm.ingest.download_table import markdown_table, toml_comments
assert stac_sm.__file__.startswith(sys.argv[1]), stac_sm.__file__
main(["init", "p"], standalone_mode=False)
main(["ingest", sys.argv[2], "--project", "p", "--workers", "1", "--json"], standalone_mode=False)
assert "| `toy-sm` | Toy soil moisture, daily |" in markdown_table()
assert "toy-sm: Toy soil moisture, daily: toy; " in toml_comments()
"""


@pytest.fixture
def copied(tmp_path):
    """A copy of package and catalogue with the three files of the guide."""
    copy = tmp_path / "checkout"
    for name in ("stac_sm", "catalog"):
        shutil.copytree(ROOT / name, copy / name)
    (copy / "stac_sm" / "ingest" / "providers" / "toy.py").write_text(PROVIDER)
    registry = copy / "stac_sm" / "ingest" / "registry.py"
    text, imported = registry.read_text(), "    from stac_sm.ingest.providers."
    for line, after in (
        (f"{imported}soilgrids import SoilGrids\n", f"{imported}toy import Toy\n"),
        ('        "soilgrids": SoilGrids,\n', '        "toy-sm": Toy,\n'),
    ):
        assert text.count(line) == 1
        text = text.replace(line, line + after)
    registry.write_text(text)
    nearest = json.loads((copy / "catalog" / "esa-cci-sm" / "collection.json").read_text())
    asset = nearest["item_assets"]["cci_sm"]
    asset["bands"][0]["name"] = "toy_sm"
    made = nearest | {"id": "toy-sm", "title": "Toy soil moisture", "item_assets": {"toy_sm": asset}}
    (copy / "catalog" / "toy-sm").mkdir()
    (copy / "catalog" / "toy-sm" / "collection.json").write_text(json.dumps(made))
    return copy


def test_three_files_make_a_source_whose_items_are_valid_and_hold_the_values(copied, tmp_path, validate):
    percent = np.array([[10, 20, np.nan, 40], [50, 60, 70, 80], [5, 5, 5, 5]], np.float32)
    coords = {"lat": ("lat", [46.0, 45.0, 44.0], {"units": "degrees_north"}),
              "lon": ("lon", [6.0, 7.0, 8.0, 9.0], {"units": "degrees_east"})}  # fmt: skip
    file = tmp_path / "some_20180601.nc"  # under a name that no pattern has
    xr.Dataset({"toy": (("lat", "lon"), percent, {"units": "percent"})}, coords).to_netcdf(file)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, copied, file],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(copied)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (item,) = open_catalog(tmp_path / "p").items("toy-sm")
    assert item.id == "TOY.A2018152"
    validate(item)
    import rasterio

    with rasterio.open(item.assets["toy_sm"].get_absolute_href()) as data:
        np.testing.assert_allclose(data.read(1, masked=True).filled(np.nan), percent / 100, rtol=1e-6)
        assert data.crs.to_epsg() == 4326


def test_what_the_guides_name_is_there():
    """Files and folders between backticks, but for those whose name the reader chooses."""
    named = set(re.findall(r"`((?:stac_sm|tests|catalog)/[\w./-]+)`", GUIDE))
    assert len(named) > 20
    chosen = {one for one in named if re.search(r"NAME|COLLECTION", one)}
    assert {"stac_sm/ingest/providers/NAME.py", "catalog/COLLECTION/collection.json"} <= chosen
    assert [one for one in sorted(named - chosen) if not Path(ROOT, one).exists()] == []
    names = re.findall(r"`((?:\w+\.)+\w+)`", GUIDE)
    assert "cf_grid.cf_series" in names
