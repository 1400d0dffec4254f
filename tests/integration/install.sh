#!/usr/bin/env bash
# Installs all that tests need beside `uv sync`, on Debian 12, as root or with sudo: packages of Debian in one call, then
# environments, STAC Browser and a base system side by side. Terraform and its AWS provider come from their makers
# (infra/aws/README.md). Takes no time where all is there already.
set -euo pipefail
cd "$(dirname "$0")"

sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"

packages=""
needs() { # PACKAGES, unless the COMMAND is there
  command -v "$1" > /dev/null || packages="$packages ${*:2}"
}
[ -e /usr/share/postgresql/15/extension/postgis.control ] || packages="postgresql-15 postgresql-15-postgis-3"
needs chromium chromium
needs gdalwarp gdal-bin
needs Rscript r-base-core r-cran-terra
needs memcached memcached
needs radosgw radosgw ceph-mon ceph-osd ceph-common
needs slurmctld slurm-wlm munge
needs docker-compose docker-compose
needs mmdebstrap mmdebstrap
needs npm nodejs npm
needs nginx nginx-light
if [ -n "$packages" ]; then
  export DEBIAN_FRONTEND=noninteractive
  $sudo mkdir -p /etc/postgresql-common # no database of Debian's own: the tests start theirs in a temporary folder
  [ -e /etc/postgresql-common/createcluster.conf ] ||
    echo "create_main_cluster = false" | $sudo tee /etc/postgresql-common/createcluster.conf > /dev/null
  $sudo apt-get -qq update
  # shellcheck disable=SC2086 # words, each a package
  $sudo apt-get -qq install --yes --no-install-recommends -o Dpkg::Options::=--force-confold \
    -o Dpkg::Options::=--force-unsafe-io $packages > /dev/null
fi

declare -A running
for part in debian swift slurm infra browser; do
  bash "install_$part.sh" &
  running[$part]=$!
done
failed=""
for part in "${!running[@]}"; do
  wait "${running[$part]}" || failed="$failed install_$part.sh"
done
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
