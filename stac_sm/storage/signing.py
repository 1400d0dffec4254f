"""Signing: hrefs that need a token get it at the moment of reading, in the worker.

Readers of rasters call `sign_href` for each file. Tokens are never written down: `without_secrets` takes them out of
everything that goes into messages, logs and plans.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from stac_sm.core.errors import InputError
from stac_sm.storage.address import LOCAL, S3, address_kind
from stac_sm.storage.retry import AttemptError, FaultKind, fault_of, fault_of_status
from stac_sm.storage.store import STORE_KINDS

_QUERY = re.compile(r"\?[^\s'\")]+")
_PASSWORD = re.compile(r"//[^\s/@'\"]+@")
_FIELD = re.compile(
    r"(?i)\b(x-amz-[\w-]+|authorization|sig|signature|(?:access_?)?token|aws_secret_access_key|aws_session_token)"
    r"(['\"]?\s*[:=]\s*['\"]?)((?:bearer|basic)\s+)?[^\s&'\",)]+"
)


def sign_href(href: str, signer: str, *, renewed: bool = False) -> str:
    """Return an href with a token that is valid now.

    Parameters
    ----------
    href
        Where the file is.
    signer
        How: one of `SIGNERS`.
    renewed
        Whether the token that was given last was refused: then a new one is fetched.

    Returns
    -------
    str
        An ``s3:`` URL as a presigned one of https; an href that needs no token as it is. It is a secret.

    Raises
    ------
    InputError
        If the signer is unknown, its package is not installed, or there are no credentials.
    AttemptError
        If no token is given.
    """
    if signer not in _BY_NAME:
        raise InputError(f"signer {signer!r} is unknown: known are {', '.join(name for name in SIGNERS if name)}")
    return _BY_NAME[signer](href, renewed)


def without_secrets(text: str) -> str:
    """Return text without the query of every URL, user names in URLs, and the values of fields that hold tokens.

    Parameters
    ----------
    text
        A URL, a message or a line of a log.

    Returns
    -------
    str
        With ``…`` in the place of what was taken out.
    """
    return _FIELD.sub(r"\1\2…", _PASSWORD.sub("//…@", _QUERY.sub("?…", text)))


def public_address(address: str) -> str:
    """Return an address without the secrets that it may hold.

    Parameters
    ----------
    address
        A path or a URL, and nothing else: in a text that holds one, `without_secrets` takes them out.

    Returns
    -------
    str
        A path, or the address of an object, as it is: a ``?`` is part of a name there, and begins no query.
    """
    return address if address_kind(address) in {LOCAL, S3} else without_secrets(address)


def _by_scheme(href: str, renewed: bool) -> str:
    """Return a presigned address of an object of a store; other hrefs as they are."""
    kind = STORE_KINDS.get(address_kind(href))
    return href if kind is None or kind.presign is None else kind.presign(href, renewed)


def _planetary_computer(href: str, renewed: bool) -> str:
    try:
        import planetary_computer
    except ImportError as error:
        raise InputError("signing for the Planetary Computer needs pip install stac_sm[planetary-computer]") from error
    if renewed:
        planetary_computer.sas.TOKEN_CACHE.clear()
    try:
        return str(planetary_computer.sign_url(href))
    except OSError as error:  # requests' errors are OSErrors
        status = getattr(getattr(error, "response", None), "status_code", None)
        fault = fault_of(error) if status is None else fault_of_status(status)
        detail = f"no token: {type(error).__name__}" if status is None else f"no token: HTTP {status}"
    raise AttemptError(FaultKind.REFUSED if fault is FaultKind.CREDENTIALS else fault, detail)


_BY_NAME: dict[str, Callable[[str, bool], str]] = {"": _by_scheme, "planetary-computer": _planetary_computer}
SIGNERS = tuple(_BY_NAME)
"""Ways to sign: by the scheme of the href, or with the tokens of the Planetary Computer for its own storage."""
