#!/usr/bin/env bash
# Installs what the integration tests need beside `uv sync`, on Debian 12, as root or with sudo:
# PostgreSQL with PostGIS from Debian, and pgstac with its STAC API and titiler-pgstac in environments of their own, since
# their dependencies must not meet the project's. Says nothing and takes no time where all is there already.
set -euo pipefail

sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"

if [ ! -e /usr/share/postgresql/15/extension/postgis.control ] || [ ! -x /usr/lib/postgresql/15/bin/initdb ]; then
  export DEBIAN_FRONTEND=noninteractive
  $sudo mkdir -p /etc/postgresql-common # no database of Debian's own: the tests start theirs in a temporary folder
  [ -e /etc/postgresql-common/createcluster.conf ] ||
    echo "create_main_cluster = false" | $sudo tee /etc/postgresql-common/createcluster.conf > /dev/null
  $sudo apt-get -qq update
  $sudo apt-get -qq install --yes --no-install-recommends -o Dpkg::Options::=--force-confold \
    postgresql-15 postgresql-15-postgis-3 > /dev/null
fi

if ! command -v chromium > /dev/null; then # looks at the report page as its readers do
  export DEBIAN_FRONTEND=noninteractive
  $sudo apt-get -qq update
  $sudo apt-get -qq install --yes --no-install-recommends chromium > /dev/null
fi

if ! command -v gdalwarp > /dev/null || ! Rscript -e 'stopifnot(requireNamespace("terra"))' > /dev/null 2>&1; then
  export DEBIAN_FRONTEND=noninteractive # the README's blocks for GDAL and R are run
  $sudo apt-get -qq update
  $sudo apt-get -qq install --yes --no-install-recommends gdal-bin r-base-core r-cran-terra > /dev/null
fi

pgstac="${XDG_CACHE_HOME:-$HOME/.cache}/stac-sm/pgstac-venv"
wanted="stac-fastapi.pgstac==7.2.0 pypgstac[psycopg]==0.10.0 uvicorn" # the mark is written last: half an install is none
if [ "$(cat "$pgstac/installed" 2> /dev/null)" != "$wanted" ]; then
  uv venv --quiet --clear "$pgstac"
  # shellcheck disable=SC2086 # three words, three requirements
  uv pip install --quiet --python "$pgstac/bin/python" $wanted
  echo "$wanted" > "$pgstac/installed"
fi

titiler="${XDG_CACHE_HOME:-$HOME/.cache}/stac-sm/titiler-venv" # tiles of what a search of pgstac finds
wanted="titiler.pgstac==3.2.0 psycopg[binary,pool] uvicorn"
if [ "$(cat "$titiler/installed" 2> /dev/null)" != "$wanted" ]; then
  uv venv --quiet --clear "$titiler"
  # shellcheck disable=SC2086 # words, each a requirement
  uv pip install --quiet --python "$titiler/bin/python" $wanted
  echo "$wanted" > "$titiler/installed"
fi
