#!/usr/bin/env bash
# Writes what stac-sm is built of, as CycloneDX 1.6 JSON: each locked package with its version and hashes.
#   bash infra/sbom.sh FILE
# CYCLONEDX names the program where it is installed; otherwise uv fetches it.
set -euo pipefail
cd "$(dirname "$0")/.."
file="${1:?name the file to write}"
locked=$(mktemp)
trap 'rm -f "$locked"' EXIT
uv export --quiet --frozen --no-dev --no-emit-project --all-extras > "$locked"
program=(uvx --quiet --from "cyclonedx-bom==7.5.0" cyclonedx-py)
[ -z "${CYCLONEDX:-}" ] || program=("$CYCLONEDX")
"${program[@]}" requirements "$locked" --pyproject pyproject.toml \
  --output-format JSON --spec-version 1.6 --output-reproducible --output-file "$file" --validate
