#!/usr/bin/env bash
# Installs what tests/integration/test_browser.py needs: Node, to build STAC Browser (infra/browser/build.sh), which is
# kept in ~/.cache/stac-sm/browser; Chromium comes with install_debian.sh. Says nothing and takes no time where all is
# there already.
set -euo pipefail
cd "$(dirname "$0")/../.."

sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"

if ! command -v npm > /dev/null && [ ! -e "${XDG_CACHE_HOME:-$HOME/.cache}/stac-sm/browser/built" ]; then
  export DEBIAN_FRONTEND=noninteractive
  $sudo apt-get -qq update
  $sudo apt-get -qq install --yes --no-install-recommends nodejs npm > /dev/null
fi
bash infra/browser/build.sh
