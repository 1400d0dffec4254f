"""Print tracked binary files over 200 kB outside ``.readme/``; exit code 1 if there is one.

python tests/tools/large_files.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_BYTES = 200_000


def large_binaries(root: Path = ROOT) -> list[str]:
    """Return the paths of tracked files that hold a NUL byte and over `MOST_BYTES`, pictures of the README aside."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout
    files = [root / name.decode() for name in listed.split(b"\0") if name and not name.startswith(b".readme/")]
    return [
        file.relative_to(root).as_posix()
        for file in files
        if file.is_file() and file.stat().st_size > MOST_BYTES and b"\0" in file.read_bytes()[:8192]
    ]


if __name__ == "__main__":
    found = large_binaries()
    print("\n".join(found))
    sys.exit(bool(found))
