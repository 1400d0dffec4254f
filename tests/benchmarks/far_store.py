"""A store that is far away: files of a folder by ranged GET, each answer late; `python far_store.py FOLDER MS`.

Prints its address; then, for each line that it is given, the GETs of pixels so far; ends with its standard input.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.faulty_server import FaultyServer


class FarServer(FaultyServer):
    late = 0.0

    def take(self, method: str, path: str) -> str:
        time.sleep(self.late)
        return super().take(method, path)


if __name__ == "__main__":
    with FarServer(Path(sys.argv[1])) as server:
        server.late = float(sys.argv[2]) / 1000
        print(server.address, flush=True)
        for _ in sys.stdin:
            print(sum(server.gets().values()), flush=True)
