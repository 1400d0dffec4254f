"""Names that nothing has: the message about one, with the right name nearest to it."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def unknown(what: str, found: object, known: Collection[str]) -> str:
    """``source 'era5' is unknown: known are …; did you mean 'era5-land'?``, in the order in which they are given."""
    near = difflib.get_close_matches(str(found).lower(), known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{what} {found!r} is unknown: known are {', '.join(known) or 'none'}{hint}"
