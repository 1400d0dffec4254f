"""Signing: hrefs that need a token get it at the moment of reading, in the worker; tokens are never written down."""

from __future__ import annotations

import re

from stac_sm.errors import InputError, ReadError

SIGNERS = ("", "planetary-computer")
"""Ways to sign: none, or the tokens of the Planetary Computer for its own storage."""

_QUERY = re.compile(r"\?[^\s'\")]+")


def signed(href: str, signer: str) -> str:
    """The href with a token that is valid now.

    Raises
    ------
    InputError
        If the signer is unknown, or its package is not installed.
    ReadError
        If no token could be had.
    """
    if not signer:
        return href
    if signer not in SIGNERS:
        raise InputError(f"signer {signer!r} is unknown: known are {', '.join(name for name in SIGNERS if name)}")
    try:
        import planetary_computer
    except ImportError as error:
        raise InputError("signing for the Planetary Computer needs pip install stac_sm[planetary-computer]") from error
    try:
        return str(planetary_computer.sign_url(href))
    except OSError as error:  # requests' errors are OSErrors
        raise ReadError(f"no token for {href}: {without_secrets(str(error))}; try again") from error


def without_secrets(text: str) -> str:
    """Text with the query of every URL, where tokens stand, taken out."""
    return _QUERY.sub("?…", text)
