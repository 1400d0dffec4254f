"""Loading pgstac, as far as it goes without a database (the rest: `integration/test_serve_pgstac.py`)."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import rasterio.crs, pyproj  # their PROJ before eckit's
import eccodes
from stac_sm.core.errors import InputError
from stac_sm.stac.pgstac import load_pgstac
try:
    load_pgstac(None, "postgresql://127.0.0.1:1/none?connect_timeout=1")
except InputError as error:
    print(error)
"""


def test_a_process_that_has_read_grib_ends_well():
    """eccodes makes its libldap visible to all; psycopg's took that one's data for its own, and died at the end."""
    pytest.importorskip("eccodes")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert "check address and rights" in done.stdout, done.stderr
    assert done.returncode == 0
