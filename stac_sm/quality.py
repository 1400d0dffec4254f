"""Quality flags of the product."""

from __future__ import annotations

from enum import IntFlag


class Quality(IntFlag):
    """Bits of the ``qa`` band."""

    GAP_FILLED = 1
    """An input was filled from other days."""

    FROZEN = 2
    """The soil is frozen: no value."""

    SNOW = 4
    """The soil is under snow: no value."""

    NOT_APPLICABLE = 8
    """The features are unlike all that the model was trained on: the value stays, its error may be larger."""

    CLIPPED = 16
    """The prediction lay outside the physical range and was set to its end."""

    INPUT_MISSING = 32
    """A feature that the model needs has no value: no value."""

    READ_TOLERATED = 64
    """A file could not be read, and the run was told to go on."""

    WATER = 128
    """Sea or lake: no value."""
