"""Turn CQL2 text into CQL2 JSON; text that would make the parser crash is refused before.

`query` calls it for ``filter-lang=cql2-text``; from here on there is one form of a filter.
"""

from __future__ import annotations

import re
from typing import Any

from stac_sm.serve.errors import BadRequestError

MAX_FILTER_NESTING = 32
"""Most brackets, and NOTs and signs in a row, in one another: the parser calls itself for each."""
_MAX_CHARACTERS = 20_000


def parse_text(text: str) -> Any:
    """Turn CQL2 text into CQL2 JSON.

    Parameters
    ----------
    text
        Filter as the client wrote it.

    Returns
    -------
    Any
        CQL2 JSON.

    Raises
    ------
    BadRequestError
        If it is no CQL2, too long or nested too deeply.
    """
    import cql2

    if len(text) > _MAX_CHARACTERS or _nesting(text) > MAX_FILTER_NESTING:  # the parser calls itself
        raise BadRequestError(
            f"filter: more than {_MAX_CHARACTERS} characters, or nested more than {MAX_FILTER_NESTING} times"
        )
    try:
        return cql2.parse_text(text).to_json()
    except (cql2.ParseError, cql2.ValidationError, ValueError, TypeError) as error:
        lines = " ".join(str(error).split())
        raise BadRequestError(f"filter: it is no CQL2 text: {lines[:200]}") from None


def _nesting(text: str) -> int:
    """Return how deep brackets are nested; signs and NOT in a row nest, too."""
    deepest = depth = 0
    for character in re.sub(r"'[^']*'|\"[^\"]*\"", "''", text):
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    runs = re.findall(r"(?:(?:\bnot\b|[-+])\s*)+", text, re.IGNORECASE)
    return deepest + max((len(re.findall(r"\bnot\b|[-+]", run, re.IGNORECASE)) for run in runs), default=0)
