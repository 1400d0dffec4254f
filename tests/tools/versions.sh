#!/usr/bin/env bash
# Unit tests on other Pythons and on the lowest versions that pyproject.toml allows; then the wheel, in an environment of
# its own, makes the demo in an empty folder. Run: bash tests/tools/versions.sh [3.12] [3.13] [lowest] [wheel]; all unless told.
# More arguments for pytest: STAC_SM_TESTS="tests/features/test_cube.py -x".
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
extras='.[zarr,planetary-computer,pgstac,tiles,slurm]'
judges='pytest pytest-xdist hypothesis moto[server] jsonschema psutil h5py setuptools<81 rio-cogeo duckdb coverage rustac stac-geoparquet ismn
  pytesmo stac-check'
tests=${STAC_SM_TESTS:-"tests --ignore tests/integration --ignore tests/test_surface.py --ignore tests/tools/test_habits.py"}

unit_tests() { # of an environment, with more options for pytest
    eval "set -- $tests ${*@Q}"
    "$work/env/bin/python" -m pytest -q -o filterwarnings=default "$@"
}

on_python() {
    UV_PROJECT_ENVIRONMENT="$work/env" uv sync --quiet --locked --python "$1"
    unit_tests
}

on_lowest() {
    uv venv --quiet --python 3.11 "$work/env"
    uv pip install --quiet --python "$work/env/bin/python" --resolution lowest-direct "$extras"
    uv pip freeze --quiet --python "$work/env/bin/python" | grep -v '@ file' >"$work/constraints"
    # shellcheck disable=SC2086 # a list of words
    uv pip install --quiet --python "$work/env/bin/python" --constraint "$work/constraints" $judges
    # The licences are those of the lock. ECMWF's libraries are seen by all that is loaded later, and old XGBoost aborts.
    unit_tests --deselect tests/tools/test_infra.py::test_every_locked_licence_is_known_and_permissive \
        --ignore tests/ingest/providers/test_era5_land.py
    uv pip install --quiet --python "$work/env/bin/python" --constraint "$work/constraints" eccodes eccodeslib
    tests=tests/ingest/providers/test_era5_land.py unit_tests
}

wheel() {
    uv build --quiet --wheel --out-dir "$work/dist"
    uv venv --quiet --python '>=3.11,<3.14' "$work/env" # whichever is at hand
    uv pip install --quiet --python "$work/env/bin/python" "$work"/dist/*.whl
    mkdir "$work/empty"
    (cd "$work/empty" && "$work/env/bin/stac-sm" demo --json)
}

for one in "${@:-3.12 3.13 lowest wheel}"; do
    for what in $one; do
        echo "== $what" >&2
        rm -rf "$work/env"
        case $what in lowest) on_lowest ;; wheel) wheel ;; *) on_python "$what" ;; esac
    done
done
