"""S3 sessions: one boto3 client a process, one policy of retries, errors in our words; and the same access for GDAL.

Credentials, region and endpoint come from boto3's own chain (``AWS_PROFILE``, roles, SSO, ``AWS_ENDPOINT_URL_S3``, …).
No message holds what a server said of a request: it may repeat keys, signatures or tokens. `objects` sends its requests
through here; readers of rasters take `presign_href` or `gdal_env`.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from stac_sm.core.errors import CatalogError, InputError, StacSmError
from stac_sm.storage.address import bucket_and_key

ATTEMPTS = 8
"""Times a request is sent at most; botocore's standard mode pauses between them, with jitter, up to 20 s."""

_KEPT = 4  # clients of settings that were in force before
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
_REJECTED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId", "401"}
_DENIED = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "Forbidden"}
_REGION = {
    "301", "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
}  # fmt: skip
_BROKEN = {"IncompleteReadError", "ResponseStreamingError", "ReadTimeoutError", "FlexibleChecksumError"}
_UNREACHABLE = {
    "EndpointConnectionError", "ConnectTimeoutError", "ConnectionClosedError", "ProxyConnectionError", "SSLError",
    "HTTPClientError", "ReadTimeoutError", "ResponseStreamingError", "IncompleteReadError", "FlexibleChecksumError",
}  # fmt: skip
_NO_CREDENTIALS = {
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound", "NoAuthTokenError",
    "SSOTokenLoadError", "UnauthorizedSSOTokenError", "TokenRetrievalError", "MetadataRetrievalError",
    "InvalidConfigError", "RefreshWithMFAUnsupportedError", "ConfigNotFound", "ConfigParseError",
}  # fmt: skip


class RefusedError(Exception):
    """A store's answer that decides something: no such key, condition not met, conflict, not implemented."""

    def __init__(self, status: int, retried: bool) -> None:
        super().__init__(status)
        self.status = status
        """HTTP status."""
        self.retried = retried
        """Whether the request was sent more than once: an earlier one may have been carried out."""


@dataclass(frozen=True)
class _Access:
    session: Any
    client: Any
    signs: bool


_access: dict[tuple[object, ...], _Access] = {}
_locks: dict[int, threading.Lock] = {}  # by process: after a fork, the parent's lock may be held for ever
_made: Counter[str] = Counter()


def s3_client() -> Any:
    """Return the boto3 client of this process: made at the first call, safe in threads, new when ``AWS_*`` changes."""
    return _accessed().client


def public_client(endpoint: str, region: str) -> Any:
    """Return a boto3 client of a public bucket: it signs nothing, so it needs no credentials and takes none along.

    Parameters
    ----------
    endpoint
        URL of the service; empty for Amazon's.
    region
        AWS region of the bucket, such as ``eu-central-1``.

    Returns
    -------
    botocore.client.BaseClient
        A new one.
    """
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    config = Config(
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=32,
        signature_version=UNSIGNED,
        ignore_configured_endpoint_urls=True,  # those of the user's own store
        s3={"addressing_style": "path"} if endpoint else None,
    )
    return boto3.session.Session().client("s3", endpoint_url=endpoint or None, region_name=region, config=config)


def aws_client(name: str, region: str) -> Any:
    """Return a boto3 client of another AWS service, by the same chain of credentials.

    Parameters
    ----------
    name
        Of the service, as boto3 spells it, such as ``batch``.
    region
        AWS region, such as ``eu-central-1``.

    Returns
    -------
    botocore.client.BaseClient
        A new one.
    """
    return _accessed().session.client(name, region_name=region)


def endpoint_url() -> str:
    """Return where requests go, without a user's name and password."""
    parts = urlsplit(s3_client().meta.endpoint_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")


def settings_to_pass_on() -> dict[str, str]:
    """Return endpoint and region that another machine needs to reach the same store; never a secret.

    Returns
    -------
    dict of str to str
        ``AWS_ENDPOINT_URL_S3`` if requests do not go to Amazon, ``AWS_REGION`` if one is set.
    """
    endpoint, region = endpoint_url(), _accessed().session.region_name
    found = {} if _is_amazon(urlsplit(endpoint).hostname or "") else {"AWS_ENDPOINT_URL_S3": endpoint}
    return found | ({"AWS_REGION": region} if region else {})


def requests_made() -> Counter[str]:
    """Return how many requests this process has made so far, by operation (``list_objects_v2``, …), without retries."""
    return Counter(_made)


def send_request(
    operation: str, bucket: str, key: str | None = None, *, refusals: Collection[int] = (), **arguments: Any
) -> dict[str, Any]:
    """Send one request; a ``Body`` in the answer is read to its end.

    botocore sends again what failed on its way (standard mode). Here, a body that broke off is asked for again, and
    expired credentials are renewed once.

    Raises
    ------
    RefusedError
        If the answer is one of these HTTP statuses.
    InputError
        If bucket, region, endpoint or credentials are wrong, or access is denied.
    CatalogError
        If there is no such object, or the store does not answer.
    """
    place = f"s3://{bucket}" + ("" if key is None else f"/{key}")
    named = {"Bucket": bucket} | ({} if key is None else {"Key": key})
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _send(operation, named | arguments)
        except Exception as error:
            answer = _answer(error).get("ResponseMetadata", {})
            if answer.get("HTTPStatusCode") in refusals and _code(error) != "NoSuchBucket":
                retried = attempt > 1 or answer.get("RetryAttempts", 0) > 0
                raise RefusedError(answer["HTTPStatusCode"], retried) from None
            if attempt == ATTEMPTS or not _worth_again(operation, error, attempt):
                raise _explained(error, place) from None  # the cause may quote secrets
        wait_before_retry(attempt)
    raise AssertionError("the last attempt returns or raises")


def wait_before_retry(attempt: int) -> None:
    """Wait for a random time that grows with the number of attempts, at most 5 s."""
    time.sleep(random.uniform(0.01, min(5.0, 0.05 * 2**attempt)))


def gdal_options(href: str) -> dict[str, str]:
    """Return GDAL's configuration for reading an ``s3://`` href with the access that boto3 has now.

    Ask again for each file: a role's credentials are refreshed in between. They are secrets: never write them down.
    rasterio takes them by ``gdal_env`` only.

    Raises
    ------
    InputError
        If there are no credentials; ``AWS_NO_SIGN_REQUEST=YES`` reads public buckets without.
    """
    place = urlsplit(s3_client().meta.endpoint_url)
    options = {} if place.hostname is None or _is_amazon(place.hostname) else _endpoint_options()
    access = _accessed()
    if access.session.region_name:
        options["AWS_REGION"] = access.session.region_name
    return options | (_keys(access, href) if access.signs else {"AWS_NO_SIGN_REQUEST": "YES"})


def gdal_env(href: str, **options: Any) -> Any:
    """Return a ``rasterio.Env`` in which GDAL reads an ``s3://`` href; more options may be given.

    rasterio takes credentials from a session only, and asks for them when the ``with`` block is entered.
    """
    import rasterio
    from rasterio.session import Session

    class Boto3Session(Session):  # type: ignore[misc, unused-ignore]
        @classmethod
        def hascreds(cls, config: dict[str, Any]) -> bool:
            return "AWS_ACCESS_KEY_ID" in config or "AWS_NO_SIGN_REQUEST" in config

        def get_credential_options(self) -> dict[str, str]:
            return gdal_options(href)

    return rasterio.Env(session=Boto3Session(), **options)


def presign_href(href: str, *, seconds: int = 3600, renewed: bool = False) -> str:
    """Return an ``s3://`` href as a URL that anyone can read for a time. It is a secret: never write it down.

    Parameters
    ----------
    href
        An object.
    seconds
        How long the URL is valid, if the credentials behind it are.
    renewed
        Whether to fetch new credentials first, because those in use were refused.

    Returns
    -------
    str
        Of http or https, percent-encoded.

    Raises
    ------
    InputError
        If there are no credentials.
    """
    if renewed:
        forget_sessions()
    bucket, key = bucket_and_key(href)
    try:
        named = {"Bucket": bucket, "Key": key}
        return str(s3_client().generate_presigned_url("get_object", Params=named, ExpiresIn=seconds))
    except Exception as error:
        raise _explained(error, href) from None


def forget_sessions() -> None:
    """Forget all sessions: the next request reads files, roles and tokens again."""
    _access.clear()


def credentials_origin() -> str:
    """Return where credentials come from, in words: never what they are.

    Raises
    ------
    InputError
        If there are none.
    """
    from botocore.exceptions import BotoCoreError, NoCredentialsError

    access = _accessed()
    if not access.signs:
        return "no credentials (AWS_NO_SIGN_REQUEST): public buckets only"
    try:
        found = access.session.get_credentials()
        if found is None:
            raise NoCredentialsError
        found.get_frozen_credentials()
    except BotoCoreError as error:
        raise _explained(error, "S3") from None
    return f"credentials by {found.method}"


def is_amazon_s3() -> bool:
    """Return whether requests go to Amazon S3, whose conditional writes are documented: it need not be probed."""
    return _is_amazon(urlsplit(s3_client().meta.endpoint_url).hostname or "")


def _is_amazon(host: str) -> bool:
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _endpoint_options() -> dict[str, str]:
    parts = urlsplit(endpoint_url())
    style = (s3_client().meta.config.s3 or {}).get("addressing_style")
    return {
        "AWS_S3_ENDPOINT": parts.netloc + parts.path,
        "AWS_HTTPS": "YES" if parts.scheme == "https" else "NO",
        "AWS_VIRTUAL_HOSTING": "TRUE" if style == "virtual" else "FALSE",  # as boto3 with an endpoint of one's own
    }


def _keys(access: _Access, href: str) -> dict[str, str]:
    from botocore.exceptions import BotoCoreError, NoCredentialsError

    try:
        found = access.session.get_credentials()
        if found is None:
            raise NoCredentialsError
        keys = found.get_frozen_credentials()
    except BotoCoreError as error:
        raise _explained(error, href) from None
    return {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_SESSION_TOKEN": keys.token or "",  # an empty one keeps GDAL from taking another from the environment
    }


def _accessed() -> _Access:
    process = os.getpid()
    key = (process, *sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    with _locks.setdefault(process, threading.Lock()):
        if key not in _access:
            _access[key] = _connect()
            for old in list(_access)[:-_KEPT]:
                del _access[old]
        return _access[key]


def _connect() -> _Access:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    signs = os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() not in {"YES", "TRUE", "ON", "1"}  # as GDAL
    config = Config(
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=32,
        signature_version="s3v4" if signs else UNSIGNED,  # botocore still presigns by version 2, which Amazon ends
    )
    try:
        session = boto3.session.Session()
        client = session.client("s3", config=config)
        if "AWS_REQUEST_CHECKSUM_CALCULATION" not in os.environ and not _is_amazon(
            urlsplit(client.meta.endpoint_url).hostname or ""
        ):
            # boto3 adds a checksum behind each body that it sends by https, and says so by `Content-Encoding:
            # aws-chunked`, which some stores keep. Without it, the signature holds the SHA-256 of the body.
            client = session.client("s3", config=config.merge(Config(request_checksum_calculation="when_required")))
        return _Access(session, client, signs)
    except BotoCoreError as error:
        raise _explained(error, "S3") from None
    except ValueError:  # botocore of an endpoint that is no URL
        names = "AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL"
        raise InputError(f"the endpoint for S3 is no URL: {names} must be http(s)://HOST[:PORT]") from None


def _send(operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
    s3 = s3_client()
    with _locks[os.getpid()]:
        _made[operation] += 1
    answer: dict[str, Any] = getattr(s3, operation)(**arguments)
    if "Body" in answer:
        with contextlib.closing(answer["Body"]) as body:  # its own `with` gives the stream below, errors and all
            answer["Body"] = body.read()
    return answer


def _worth_again(operation: str, error: Exception, attempt: int) -> bool:
    if _code(error) in _EXPIRED and attempt == 1:
        forget_sessions()
        return True
    return operation == "get_object" and type(error).__name__ in _BROKEN


def _code(error: Exception) -> str:
    """Return the code of a server's answer, or the name of botocore's error."""
    code = _answer(error).get("Error", {}).get("Code")
    return str(code) if code else type(error).__name__


def _answer(error: Exception) -> dict[str, Any]:
    """Return what a server answered; empty where it did not (botocore then says None)."""
    return getattr(error, "response", None) or {}


def _explained(error: Exception, place: str) -> StacSmError | Exception:
    """Return the error that a user can act on; what is none of botocore's is a fault of ours and stays as it is."""
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, ClientError):
        return _answered(error, place)
    if isinstance(error, RecursionError):  # botocore asks for the bucket's region as often as it is redirected
        return InputError(
            f"{place}: {endpoint_url()} redirects without an end: check AWS_ENDPOINT_URL_S3 and AWS_REGION"
        )
    if not isinstance(error, BotoCoreError):
        return error
    name = type(error).__name__
    if name in _NO_CREDENTIALS:
        return InputError(
            f"{place}: no usable credentials ({name}): log in, set AWS_PROFILE or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_NO_SIGN_REQUEST=YES for a public bucket"
        )
    if name in _UNREACHABLE:
        return CatalogError(
            f"{place}: {endpoint_url()} cannot be reached or breaks off ({name}) after {ATTEMPTS} attempts: "
            "check AWS_ENDPOINT_URL_S3, AWS_REGION and the network, then run again"
        )
    return InputError(f"{place} cannot be asked for ({name}): check the names of bucket and key, and the region")


def _answered(error: Any, place: str) -> StacSmError:
    code, meta = _code(error), error.response.get("ResponseMetadata", {})
    status = int(meta.get("HTTPStatusCode", 0))
    said, where = f"{place}: {endpoint_url()} answers {code} ({status})", place.split("/")[2]
    if code == "NoSuchBucket":
        return InputError(f"{said}: there is no bucket {where!r}: create it, or check name, endpoint and region")
    if code in _REGION or status == 301:
        region = meta.get("HTTPHeaders", {}).get("x-amz-bucket-region", "another one")
        asked = s3_client().meta.region_name
        return InputError(f"{said}: bucket {where!r} is in region {region}, not {asked}: set AWS_REGION")
    if code in _EXPIRED:
        return InputError(f"{said}: the credentials have expired: renew them and run again, what is done stays done")
    if code in _REJECTED:
        return InputError(f"{said}: it does not take these credentials: check AWS_PROFILE or AWS_ACCESS_KEY_ID")
    if code in _DENIED or status == 403:
        required = (
            "s3:GetObject, s3:PutObject below the prefix, and s3:ListBucket, without which what is not there is denied"
        )
        return InputError(f"{said}: access is denied: allow {required}")
    if code == "RequestTimeTooSkewed":
        return InputError(f"{said}: the clock of this machine is wrong: set it")
    if code in {"NoSuchKey", "404"}:
        return CatalogError(f"{place} is no file: check the path of the catalogue")
    if (status >= 500 and status != 501) or code in {"SlowDown", "429"}:
        return CatalogError(f"{said} after {1 + meta.get('RetryAttempts', 0)} attempts: try again later")
    return InputError(f"{said}: the request is not possible there: check endpoint, bucket and key")
