"""Rates: what a core, a byte and a request cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rates:
    """Table ``[costs]`` of the project file, in US dollars; what a cloud asked for in 2026 unless told."""

    core_hour: float = 0.02
    """One core for an hour, on Spot."""

    gb_read: float = 0.0
    """10^9 bytes read: nothing inside a region."""

    gb_month: float = 0.023
    """10^9 bytes kept for a month."""

    get_1000: float = 0.0004
    """1000 GET requests."""

    put_1000: float = 0.005
    """1000 PUT and LIST requests."""
