#!/usr/bin/env bash
# Installs OpenStack Swift, a real object store with an S3 API, for tests/integration/test_swift.py: 45 MB in an
# environment of its own, and memcached from Debian. Says nothing and takes no time where all is there already.
set -euo pipefail

sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo"

if ! command -v memcached > /dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  $sudo apt-get -qq update
  $sudo apt-get -qq install --yes --no-install-recommends memcached > /dev/null
fi

swift="${XDG_CACHE_HOME:-$HOME/.cache}/stac-sm/swift-venv"
wanted="swift==2.38.3" # the mark is written last: half an install is none
if [ "$(cat "$swift/installed" 2> /dev/null)" != "$wanted" ]; then
  uv venv --quiet --clear "$swift"
  uv pip install --quiet --compile-bytecode --python "$swift/bin/python" "$wanted"
  echo "$wanted" > "$swift/installed"
fi
