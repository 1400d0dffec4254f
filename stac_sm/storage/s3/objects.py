"""S3 objects: reading one, and writing one under a condition.

`stac_sm.storage.s3.store` and the probe call these functions. A write whose answer was lost is recognised by a mark in
the object's metadata, so that trying again does not count as another writer's. Readers are sent the media type of what
is written, and how long it stays as it is.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from stac_sm.core.errors import CatalogError, ConflictError, InputError, StacSmError
from stac_sm.storage.object_meta import cache_control, media_type
from stac_sm.storage.s3.session import ATTEMPTS, RefusedError, send_request, wait_before_retry

PART_BYTES = 16 << 20
"""A file larger than two parts goes up in parts of this size, or of a 10,000th of it."""

_MARK = "stac-sm-write"
_REFUSALS = frozenset({404, 409, 412, 501})
_CHECKSUMS = {f"Checksum{name}" for name in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")}

Condition = dict[str, str]
"""``IfMatch`` or ``IfNoneMatch``."""


class UnsupportedError(InputError):
    """The store has no conditional requests."""


def get(bucket: str, key: str) -> tuple[bytes, str] | None:
    """Return content and ETag of an object; None if there is none."""
    try:
        answer = send_request("get_object", bucket, key, refusals={404})
    except RefusedError:
        return None
    return answer["Body"], str(answer["ETag"])


def download(bucket: str, key: str, file: Path) -> bool:
    """Write the content of an object to a file, some part at a time; False if there is no object.

    Raises
    ------
    CatalogError
        If the object was replaced meanwhile, or the store does not answer.
    """
    first = get_part(bucket, key, 0, {})
    if first is None:
        return False
    size, etag, body = first
    with file.open("wb") as opened:
        while body:
            opened.write(body)
            if opened.tell() >= size:
                break
            found = get_part(bucket, key, opened.tell(), {"IfMatch": etag})
            if found is None:
                raise CatalogError(f"s3://{bucket}/{key} was replaced while it was read: run again")
            body = found[2]
    return True


def get_part(bucket: str, key: str, start: int, condition: Condition) -> tuple[int, str, bytes] | None:
    """Return size and ETag of an object, and its bytes from a place on; None if it is missing or changed."""
    try:
        span = f"bytes={start}-{start + 2 * PART_BYTES - 1}"
        answer = send_request("get_object", bucket, key, refusals={404, 412, 416}, Range=span, **condition)
    except RefusedError as refused:
        return (0, "", b"") if refused.status == 416 else None  # an empty object has no range
    size = int(str(answer.get("ContentRange", "")).rpartition("/")[2] or answer["ContentLength"])
    return size, str(answer["ETag"]), answer["Body"]


def range_reader(bucket: str, key: str) -> tuple[int, Callable[[int, int], bytes]]:
    """Return the size of an object, and a function that reads its bytes from a first one to the one before another.

    All that is read is of the version that is there now.

    Raises
    ------
    CatalogError
        If there is no such object.
    """
    found = send_request("head_object", bucket, key)

    def read(start: int, stop: int) -> bytes:
        same = {"IfMatch": found["ETag"]}
        return bytes(send_request("get_object", bucket, key, Range=f"bytes={start}-{stop - 1}", **same)["Body"])

    return int(found["ContentLength"]), read


def exists(bucket: str, key: str) -> bool:
    """Return whether there is an object."""
    return _head(bucket, key) is not None


def pages(bucket: str, prefix: str) -> Iterator[list[dict[str, Any]]]:
    """Yield all objects whose keys begin with a prefix, in the order of their keys, by pages of at most 1000."""
    more: dict[str, Any] = {}
    while True:
        answer = send_request("list_objects_v2", bucket, Prefix=prefix, **more)
        yield answer.get("Contents", [])
        if not answer.get("IsTruncated"):
            return
        more = {"ContinuationToken": answer["NextContinuationToken"]}


def delete(bucket: str, key: str) -> None:
    """Remove an object, if it exists."""
    send_request("delete_object", bucket, key)


def write(bucket: str, key: str, content: bytes | Path) -> None:
    """Write an object, whether it exists or not."""
    _upload(bucket, key, content, {}, {})


def create(bucket: str, key: str, content: bytes | Path) -> bool:
    """Write a new object; return False if the key is taken.

    Raises
    ------
    ConflictError
        If the store keeps answering that another request is at work on the key.
    UnsupportedError
        If the store has no conditional requests.
    """
    return _settled(bucket, key, content, {"IfNoneMatch": "*"})


def swap(bucket: str, key: str, content: bytes, etag: str) -> bool:
    """Replace an object that has an ETag; return False if it has another, or is gone.

    An own swap whose answer was lost counts as done, unless another writer has swapped since: then it is False.

    Raises
    ------
    ConflictError
        If the store keeps answering that another request is at work on the key.
    UnsupportedError
        If the store has no conditional requests.
    """
    return _settled(bucket, key, content, {"IfMatch": etag})


def _settled(bucket: str, key: str, content: bytes | Path, condition: Condition) -> bool:
    """Write until the answer is yes or no; one mark for all attempts, so that each knows the others."""
    mark = secrets.token_hex(8)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _upload(bucket, key, content, {_MARK: mark}, condition)
            return True
        except RefusedError as refused:
            if refused.status == 501:
                raise UnsupportedError(f"s3://{bucket} has no conditional requests: another store is needed") from None
            if (refused.retried or attempt > 1) and _mark(bucket, key) == mark:
                return True  # an earlier attempt was carried out, its answer lost
            if refused.status in {404, 412}:
                return False
        wait_before_retry(attempt)  # 409: another request on this key is at work
    raise ConflictError(f"s3://{bucket}/{key} is being written by others all the time: run again when it is quiet")


def _upload(bucket: str, key: str, content: bytes | Path, marks: dict[str, str], condition: Condition) -> None:
    if isinstance(content, Path) and content.stat().st_size > 2 * PART_BYTES:
        upload_parts(bucket, key, _cut(content), marks, condition)
        return
    body = content.read_bytes() if isinstance(content, Path) else content
    refusals = _REFUSALS if condition else ()
    headers = _headers(key, asset=isinstance(content, Path))
    send_request("put_object", bucket, key, refusals=refusals, Body=body, Metadata=marks, **headers, **condition)


def _headers(key: str, *, asset: bool) -> dict[str, Any]:
    return {"ContentType": media_type(key), "CacheControl": cache_control(key, asset=asset)}


def upload_parts(bucket: str, key: str, bodies: Iterable[bytes], marks: dict[str, str], condition: Condition) -> None:
    """Write an object in parts: nothing is seen of them until they are joined, under the condition.

    Raises
    ------
    RefusedError
        If the condition is not met (412), or others are at work (409).
    """
    headers = _headers(key, asset=True)
    upload = send_request("create_multipart_upload", bucket, key, Metadata=marks, **headers)["UploadId"]
    try:
        parts = [_part(bucket, key, upload, number, body) for number, body in enumerate(bodies, start=1)]
        join = {"UploadId": upload, "MultipartUpload": {"Parts": parts}, **condition}
        send_request("complete_multipart_upload", bucket, key, refusals=_REFUSALS, **join)
    except BaseException as error:
        with contextlib.suppress(StacSmError, RefusedError):  # may not be allowed: then a rule of the bucket cleans up
            send_request("abort_multipart_upload", bucket, key, refusals={404}, UploadId=upload)
        if isinstance(error, RefusedError) and error.status == 404:
            raise RefusedError(409, retried=True) from None  # joined by an attempt whose answer was lost, or aborted
        raise


def _part(bucket: str, key: str, upload: str, number: int, body: bytes) -> dict[str, Any]:
    answer = send_request("upload_part", bucket, key, UploadId=upload, PartNumber=number, Body=body)
    return {"PartNumber": number} | {name: answer[name] for name in answer if name == "ETag" or name in _CHECKSUMS}


def _cut(file: Path) -> Iterator[bytes]:
    size = max(PART_BYTES, -(-file.stat().st_size // 10_000))
    with file.open("rb") as opened:
        while body := opened.read(size):
            yield body


def _mark(bucket: str, key: str) -> str | None:
    found = _head(bucket, key)
    return None if found is None else found.get("Metadata", {}).get(_MARK)


def _head(bucket: str, key: str) -> dict[str, Any] | None:
    try:
        return send_request("head_object", bucket, key, refusals={404})
    except RefusedError:
        return None
