#!/usr/bin/env bash
# Builds STAC Browser from npm for `stac-sm serve`, which then has it at /browser: node 18 or later, 2 minutes, 6 MB.
# It goes to ~/.cache/stac-sm/browser, or to the folder that is named: build.sh DIR; STAC_SM_BROWSER=DIR tells serve.
# Says nothing and takes no time where it is built already.
set -euo pipefail

lock="$(cd "$(dirname "$0")" && pwd)/package-lock.json" # versions and hashes of all that is built in
folder="${1:-${XDG_CACHE_HOME:-$HOME/.cache}/stac-sm/browser}"
browser="@radiantearth/stac-browser@4.0.1"
openlayers="ol-stac@1.1.0" # newer ones want two names of OpenLayers that the Browser's own has not
wanted="$browser $openlayers $(sha256sum < "$lock" | cut -c1-12)"
[ "$(cat "$folder/built" 2> /dev/null)" != "$wanted" ] || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm pack --silent "$browser" > /dev/null
tar -xzf ./*.tgz
cd package
npm pkg set "dependencies.${openlayers%@*}=^${openlayers#*@}"
cp "$lock" .
npm ci --silent --no-audit --no-fund > /dev/null # installs what the lock file says, or fails
SB_pathPrefix=/browser/ SB_historyMode=history npx vue-cli-service build --noSourceMaps --dest dist > "$work/build.log" 2>&1 ||
  { tail -40 "$work/build.log" >&2; exit 1; }

# The settings that come with the build are not loaded: the page loads those that the server gives, set at run time.
sed -i 's|<head>|<head><script src="/browser/config.js"></script>|' dist/index.html
rm -f dist/config.js
mkdir -p "$(dirname "$folder")"
rm -rf "$folder"
mv dist "$folder"
echo "$wanted" > "$folder/built" # last: half a build is none
