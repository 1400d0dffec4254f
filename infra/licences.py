"""Prints the licences of what stac-sm installs: ``uv run python infra/licences.py [--json]``.

What counts is the lock: every package that `uv export --no-dev` names for this machine. Exit code 1 if a licence is
unknown, or one that a user of an Apache-2.0 project should look at has not been looked at below.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata, version

_PERMISSIVE = re.compile(
    r"(?i)\b(apache|bsd|mit|isc|psf|python software foundation|zlib|unlicense|public domain|hpnd|0bsd|cc0)\b"
)
_LOOKED_AT = {
    "certifi": "MPL-2.0: a list of certificates, unchanged",
    "tqdm": "MPL-2.0 AND MIT: unchanged",
    "odc-stac": "Apache-2.0: in its file LICENSE, not in its metadata",
}
"""Licences that are not plainly permissive, or not said in a package's metadata, and why they do."""


def main(arguments: list[str]) -> int:
    """Print the table; 1 if something needs to be looked at."""
    rows = [_row(name, number) for name, number in _locked()]
    if "--json" in arguments:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            print(f"{row['package']:32} {row['version']:12} {row['licence']}{'' if row['fine'] else '   LOOK AT THIS'}")
    return 0 if all(row["fine"] for row in rows) else 1


def _locked() -> list[tuple[str, str]]:
    command = ["uv", "export", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes", "--no-annotate", "--quiet"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = [re.match(r"([\w.-]+)==(\S+)", line) for line in listed.splitlines()]
    return [(match[1], match[2]) for match in found if match and _installed(match[1]) == match[2]]


def _installed(name: str) -> str | None:
    """Version that is installed: the lock names those for other machines, too."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _row(name: str, number: str) -> dict[str, object]:
    licence = _licence(metadata(name))
    fine = name in _LOOKED_AT or (bool(_PERMISSIVE.search(licence)) and not re.search(r"(?i)\b[al]?gpl", licence))
    return {"package": name, "version": number, "licence": _LOOKED_AT.get(name, licence), "fine": fine}


def _licence(about: PackageMetadata) -> str:
    """What a package says of its licence: the expression, its classifiers, or the first line of the old field."""
    if expression := about.get("License-Expression"):
        return str(expression)
    told = [one.rpartition(" :: ")[2] for one in about.get_all("Classifier") or [] if one.startswith("License ::")]
    first = str(about.get("License") or "unknown").strip().partition("\n")[0]
    return "; ".join(told) if told and told != ["OSI Approved"] else first


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
