#!/bin/sh
# Takes out of a virtual environment what a worker never reads: tests of libraries, caches, headers, debug symbols.
# Usage: slim.sh FOLDER
set -eu

site="$(echo "$1"/lib/python3*/site-packages)"
find "$site" -type d \( -name tests -o -name test -o -name __pycache__ \) \
  -not -path '*/numpy/*' -not -path '*/numba/*' -prune -exec rm -rf {} +
find "$site" \( -name '*.pyi' -o -name '*.pxd' -o -name '*.a' \) -delete
rm -rf "$site"/pyarrow/include "$site"/pyarrow/src "$site"/pyarrow/libarrow_flight* "$site"/numpy/_core/include
