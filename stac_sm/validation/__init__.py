"""Validation of the product: against stations that no model has seen, and against other products on their own cells.

One item says what was found: a page, its numbers, the scores of every cell. It is published by the same rule as the
product, and made again only when what it is made from changes.
"""

from __future__ import annotations

from stac_sm.validation.others import OTHERS, VALIDATED, Comparison, Other
from stac_sm.validation.step import COLLECTION, Validated, against_others, validate

__all__ = ["COLLECTION", "OTHERS", "VALIDATED", "Comparison", "Other", "Validated", "against_others", "validate"]
