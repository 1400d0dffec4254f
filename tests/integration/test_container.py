"""infra/container: the Dockerfile passes its linter, and its steps make a system in which a worker runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.dockerfile import build
from tests.support.missing import need

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
CONTAINER = ROOT / "infra/container"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "stac-sm")
JUDGES, BASE = CACHE / "infra-venv", CACHE / "base.tar"
MIB = 1 << 20


def needed(file):
    need("a base system for containers", None if file.exists() and os.getuid() == 0 else f"no {file} here, or not root")
    return file


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The last stage of the Dockerfile, on Debian 12 with its Python."""
    return build(CONTAINER / "Dockerfile", ROOT, needed(BASE), tmp_path_factory.mktemp("container"))


def test_the_dockerfile_passes_hadolint():
    needed(JUDGES / "installed")
    done = subprocess.run(
        [JUDGES / "bin/hadolint", CONTAINER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    script = subprocess.run(
        [JUDGES / "bin/shellcheck", CONTAINER / "slim.sh"], capture_output=True, text=True, check=False
    )
    assert (script.returncode, script.stdout) == (0, "")


def test_its_steps_make_a_system_in_which_the_command_runs(image):
    done = image.run(image.command)
    assert done.returncode == 0, done.stderr
    assert "Make global 1 km daily soil moisture" in done.stdout
    assert image.user == "10001:10001"


def test_a_worker_in_it_reads_and_writes_a_cog(image):
    code = (
        "import numpy, rasterio, pyproj, xgboost, boto3, distributed, pyhdf.SD, netCDF4, stackstac, odc.stac, numba\n"
        "from stac_sm.raster.cog import CogProfile, verify_cog, write_cog\n"
        "from stac_sm.core.grid import MODIS_SINUSOIDAL_1KM as grid\n"
        "from stac_sm.stac.catalogs.catalog import skeleton_folder\n"
        "from stac_sm.workflows.submit.job import infra_file\n"
        "from pathlib import Path\n"
        "values = numpy.full((64, 64), 0.25, numpy.float32)\n"
        "write_cog(values, Path('/tmp/a.tif'), geobox=grid.geobox('h18v04')[:64, :64], profile=CogProfile())\n"
        "verify_cog(values, Path('/tmp/a.tif'), profile=CogProfile())\n"
        "assert (skeleton_folder() / 'catalog.json').is_file() and infra_file('kubernetes/job.yaml').is_file()\n"
        "print('done')\n"
    )
    done = image.run(["python", "-c", code])
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_the_user_cannot_change_the_program(image):
    assert image.run(["touch", "/opt/stac-sm/bin/stac-sm"]).returncode != 0
    assert image.run(["id", "-u"]).stdout.strip() == "10001"


def test_nothing_to_build_with_is_left(image):
    for tool in ("uv", "gcc", "pytest", "moto_server"):
        assert image.run(["sh", "-c", f"command -v {tool}"]).returncode != 0, tool


def test_the_size_is_the_one_that_is_stated(image):
    said = re.search(r"(\d+) MB of its own", (CONTAINER / "README.md").read_text())
    done = subprocess.run(["du", "--summarize", "--bytes", image.root / "opt/stac-sm"], capture_output=True, text=True)
    measured = int(done.stdout.split()[0]) / 1e6
    print(f"size: {measured:.0f} MB")
    assert said is not None
    assert abs(measured - int(said[1])) < 0.1 * measured, measured


def services():
    return yaml.safe_load((CONTAINER / "compose.yaml").read_text())["services"]


def test_compose_reads_the_whole_service(tmp_path):
    """docker-compose of Debian: older than the name of a project, so that line is left out."""
    need("docker-compose", None if shutil.which("docker-compose") else "it is not installed")
    text = (CONTAINER / "compose.yaml").read_text()
    (tmp_path / "compose.yaml").write_text(text.replace("name: stac-sm\n", ""))
    names = re.findall(r"^(STAC_SM_\w+)=$", (CONTAINER / ".env.example").read_text(), re.MULTILINE)

    def config(environment):
        return subprocess.run(["docker-compose", "config"], cwd=tmp_path, env=os.environ | environment,
                              capture_output=True, text=True, check=False)  # fmt: skip

    done = config({name: f"value-of-{name}" for name in names})
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)["services"]
    assert set(read) == set(services())
    assert read["worker"]["environment"]["AWS_SECRET_ACCESS_KEY"] == "value-of-STAC_SM_SECRET_KEY"
    assert read["tiles"]["environment"]["PGPASSWORD"] == "value-of-STAC_SM_DB_PASSWORD"
    without = config({})
    assert without.returncode != 0
    assert "copy .env.example to .env" in without.stderr


def test_the_services_are_of_the_versions_that_the_tests_run():
    known = (ROOT / "tests/integration/install_debian.sh").read_text() + (ROOT / "infra/browser/build.sh").read_text()
    packages = {"api": "stac-fastapi.pgstac==", "database": "pypgstac[psycopg]==", "tiles": "titiler.pgstac==",
                "browser": "stac-browser@"}  # fmt: skip
    for name, package in packages.items():
        version = re.search(re.escape(package) + r"([\d.]+\d)", known)[1]
        assert services()[name]["image"].rpartition(":")[2].removeprefix("v") == version, name


def test_images_are_pinned_and_hold_no_secret():
    text = (CONTAINER / "Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON=python:\d+\.\d+\.\d+-slim-bookworm@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert "latest" not in text
    assert set(services()) == {"objects", "scheduler", "worker", "database", "api", "tiles", "browser"}
    for name, service in services().items():
        assert re.search(r":[\w.-]*\d", service["image"].rpartition("/")[2]), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        for key, value in service.get("environment", {}).items():
            if re.search("SECRET|PASSWORD", key):
                assert value.startswith("${"), (name, key)
