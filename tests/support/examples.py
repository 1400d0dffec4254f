"""How many examples the property tests try: few by default and in CI, many by a command.

``STAC_SM_EXAMPLES=1000 uv run pytest`` tries a thousand of most laws. Without it there are 25: the same ones each time
in CI, others each time elsewhere.
"""

from __future__ import annotations

import os

EXAMPLES = int(os.environ.get("STAC_SM_EXAMPLES", "25"))
"""Examples of a law that says nothing else."""


def examples(usual: int) -> int:
    """Return how many examples a law tries that needs more, or bears fewer, than others.

    Parameters
    ----------
    usual
        Examples beside 100 of the others.
    """
    return max(min(usual, 3), round(usual * EXAMPLES / 100))
