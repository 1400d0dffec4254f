"""NASA's archives: which granules there are, by the Common Metadata Repository, and their files behind Earthdata Login.

An account is a token (``EARTHDATA_TOKEN``) or a line for ``urs.earthdata.nasa.gov`` in ``.netrc``, as earthaccess takes
them. A token goes to hosts of NASA and the USGS only, a password to the login only, and cookies to the host that set
them. earthaccess itself is not used: it brings s3fs, which holds boto3 back (see DECISIONS.md).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from stac_sm.core.errors import InputError
from stac_sm.core.period import ONE_DAY, Period
from stac_sm.fetch.request import AccountError, Say
from stac_sm.fetch.transfer import http_opener, save
from stac_sm.storage.http.client import account_header
from stac_sm.storage.http.documents import Web
from stac_sm.storage.retry import FaultKind

CMR = "https://cmr.earthdata.nasa.gov"
LOGIN = "https://urs.earthdata.nasa.gov"
CMR_VARIABLE, LOGIN_VARIABLE, TOKEN_VARIABLE = "STAC_SM_CMR_URL", "STAC_SM_EARTHDATA_LOGIN_URL", "EARTHDATA_TOKEN"
"""Variables of the environment: other addresses of the two services, and a token."""

_HOSTS = (".nasa.gov", ".usgs.gov")
_PAGE = 2000
_ADVICE = {
    FaultKind.CREDENTIALS: f"Earthdata Login refuses the account: make a new token at {LOGIN}/profile "
    f"({TOKEN_VARIABLE}), or correct the line for it in ~/.netrc",
    FaultKind.REFUSED: f"log in at {LOGIN} once in a browser and accept the terms of the archive (LP DAAC, NSIDC), "
    "then run the same command again",
}


@dataclass(frozen=True)
class Granule:
    """A file of the archive."""

    name: str
    """Name of the file."""

    url: str
    """Where it is."""

    size: int | None
    """Bytes; None where the repository does not say."""

    checksum: str
    """``md5:`` or ``sha256:`` and the digest; empty where the repository states none of these."""

    def carry_out(self, file: Path, say: Say) -> None:
        """Write the granule to a file, with the account of the user.

        Parameters
        ----------
        file
            Where it goes.
        say
            Not called: there is no queue.

        Raises
        ------
        AccountError
            If there is no account, or the archive refuses it.
        InputError
            If the archive breaks off.
        """
        visitor = EarthdataVisitor()
        visitor.require_account()
        opener = http_opener(self.url, root=_address(CMR_VARIABLE, CMR), visitor=visitor)
        save(file, opener, size=self.size, checksum=self.checksum, advice=_ADVICE, account=(*_ADVICE,))


@dataclass
class EarthdataVisitor:
    """An account of Earthdata Login on its way through the hosts of a download."""

    cookies: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)
    """By host and port."""

    def require_account(self) -> None:
        """Refuse to start without an account.

        Raises
        ------
        AccountError
            If the environment has no token, and ``.netrc`` no line for the login.
        """
        if not os.environ.get(TOKEN_VARIABLE) and not account_header(_login_host()):
            raise AccountError(
                f"no account of Earthdata Login found: set {TOKEN_VARIABLE} to a token of {LOGIN}/profile, or put "
                f"`machine {_login_host()} login NAME password PASSWORD` into ~/.netrc"
            )

    def headers(self, url: str) -> Mapping[str, str]:
        """Return the headers for an address: account and cookies that are for its host, none of another.

        Parameters
        ----------
        url
            Of the next hop.

        Returns
        -------
        dict of str to str
            ``Authorization``, ``Cookie``, or none.
        """
        parts, found = urlsplit(url), dict[str, str]()
        host, token = parts.hostname or "", os.environ.get(TOKEN_VARIABLE, "")
        if host == _login_host():
            found |= account_header(host)
        elif token and _is_archive(parts.scheme, host):
            found["Authorization"] = f"Bearer {token}"
        kept = self.cookies.get(parts.netloc)
        if kept:
            found["Cookie"] = "; ".join(f"{name}={value}" for name, value in kept.items())
        return found

    def remember(self, url: str, cookies: Sequence[str]) -> None:
        """Keep the cookies that an address has set, for its own host only.

        Parameters
        ----------
        url
            Which set them.
        cookies
            Values of ``Set-Cookie``.
        """
        for cookie in cookies:
            name, is_one, value = cookie.partition(";")[0].partition("=")
            if is_one:
                self.cookies.setdefault(urlsplit(url).netloc, {})[name.strip()] = value.strip()


def search_granules(product: str, version: str, period: Period | None, names: Sequence[str] = ()) -> Iterator[Granule]:
    """Find the granules of a product.

    Parameters
    ----------
    product
        Short name, such as ``MOD11A1``.
    version
        Such as ``061``; empty: any.
    period
        Days that a granule must meet; None: all.
    names
        Patterns of the name of a granule with ``*``, of which one must fit; none: any name.

    Yields
    ------
    Granule
        Each with a file to download, in the order of the repository.

    Raises
    ------
    CatalogError
        If the repository gives no answer.
    InputError
        If its answer is none.
    """
    root = _address(CMR_VARIABLE, CMR)
    query: list[tuple[str, str]] = [("short_name", product), ("page_size", str(_PAGE))]
    query += [("version", version)] if version else []
    if period is not None:
        last = period.end - ONE_DAY
        query.append(("temporal", f"{period.start}T00:00:00Z,{last}T23:59:59Z"))
    query += [("readable_granule_name[]", name) for name in names]
    query += [("options[readable_granule_name][pattern]", "true")] if names else []
    address, after = f"{root}/search/granules.umm_json?{urlencode(query)}", ""
    while True:
        answer = Web(root).request(address, headers={"CMR-Search-After": after} if after else None)
        try:
            items = _items(answer.body)
            yield from (one for item in items if (one := _granule(item)) is not None)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{root}: no list of granules of {product} found ({error!r}): try again later") from error
        after = answer.headers.get("CMR-Search-After", "")
        if not after or not items:
            return


def _items(body: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(body)["items"]
    return found


def _granule(item: Mapping[str, Any]) -> Granule | None:
    """Return the file of one granule; None where the archive offers none to download."""
    umm = item["umm"]
    links = [one["URL"] for one in umm.get("RelatedUrls", []) if one.get("Type") == "GET DATA"]
    links = [link for link in links if urlsplit(link).scheme in {"http", "https"}]
    if not links:
        return None
    name = links[0].rpartition("/")[2]
    facts = umm.get("DataGranule", {}).get("ArchiveAndDistributionInformation", [])
    own = next((one for one in facts if one.get("Name") == name), facts[0] if len(facts) == 1 else {})
    stated = own.get("Checksum") or {}
    kind = str(stated.get("Algorithm", "")).replace("-", "").lower()
    checksum = f"{kind}:{stated['Value']}" if kind in {"md5", "sha256"} else ""
    return Granule(name, links[0], own.get("SizeInBytes"), checksum)


def _address(variable: str, default: str) -> str:
    return (os.environ.get(variable) or default).rstrip("/")


def _login_host() -> str:
    return urlsplit(_address(LOGIN_VARIABLE, LOGIN)).hostname or ""


def _is_archive(scheme: str, host: str) -> bool:
    """Return whether a token may go to a host: to the archives' own by https, or to that of another repository."""
    own = urlsplit(_address(CMR_VARIABLE, CMR)).hostname
    return (scheme == "https" and host.endswith(_HOSTS)) or (CMR_VARIABLE in os.environ and host == own)
