#!/usr/bin/env bash
# Installs Slurm, a real batch scheduler, for tests/integration/test_slurm.py: Debian's slurm-wlm and munge. No service
# of Debian's own is started: the tests start theirs in a temporary folder. Takes no time where all is there already.
set -euo pipefail

sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"

if ! command -v slurmctld > /dev/null || ! command -v slurmd > /dev/null || ! command -v munged > /dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  $sudo apt-get -qq update
  $sudo apt-get -qq install --yes --no-install-recommends slurm-wlm munge > /dev/null
fi
