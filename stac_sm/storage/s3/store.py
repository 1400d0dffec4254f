"""A catalogue's store in a bucket: Amazon S3, or any server that speaks its protocol.

`S3Store` is what `open_store` returns for ``s3://BUCKET/PREFIX``; requests go through `stac_sm.storage.s3.objects`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stac_sm.core.errors import CatalogError, InputError
from stac_sm.storage.address import bucket_and_key
from stac_sm.storage.object_meta import TEMPORARY, ObjectMeta, checked_path
from stac_sm.storage.s3 import objects
from stac_sm.storage.s3.probe import StoreCapabilities, known_capabilities
from stac_sm.storage.single_writer import one_process_message

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

_turns: dict[tuple[int, str, str], threading.Lock] = {}  # by process: after a fork, a lock may be held for ever


@dataclass(frozen=True)
class S3Store:
    """Objects below a prefix of a bucket.

    An object is created by ``If-None-Match: *`` and replaced by ``If-Match``: conditional writes. A server that
    does not keep these conditions (``probe``) may be written by one process only, whose threads take turns;
    another process that was started elsewhere cannot be seen there. Nothing is asked of a server before the first use.
    """

    bucket: str
    """Name of the bucket."""

    prefix: str = ""
    """What all keys begin with, without slashes at its ends; empty for the whole bucket."""

    @classmethod
    def of(cls, root: str) -> S3Store:
        """Open the store of an address. Nothing is asked of the server.

        Parameters
        ----------
        root
            ``s3://BUCKET/PREFIX``.

        Returns
        -------
        S3Store
            Of all objects below the prefix.

        Raises
        ------
        InputError
            If this names no bucket, or no prefix below it.
        """
        bucket, prefix = bucket_and_key(root)
        prefix = prefix.strip("/")
        if not _BUCKET.fullmatch(bucket):
            raise InputError(
                f"store 's3://{bucket.rpartition('@')[2]}/{prefix}' names no bucket: give s3://BUCKET/PREFIX, "
                "with a name of 3 to 63 of a-z0-9.-"
            )
        return cls(bucket, str(checked_path(prefix, f"s3://{bucket}")) if prefix else "")

    @property
    def root(self) -> str:
        """URL without a slash at its end."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def href(self, path: str) -> str:
        """Return the URL of an object, with the scheme ``s3`` and the key as it is."""
        return f"s3://{self.bucket}/{self._key(path)}"

    def exists(self, path: str) -> bool:
        """Return whether there is an object."""
        return objects.exists(self.bucket, self._key(path))

    def read(self, path: str) -> bytes:
        """Read an object. CatalogError where there is none."""
        found = objects.get(self.bucket, self._key(path))
        if found is None:
            raise CatalogError(f"{self.href(path)} is no file: check the path of the catalogue")
        return found[0]

    @contextlib.contextmanager
    def local_file(self, path: str) -> Iterator[Path]:
        """Provide a copy of an object on this machine, which is removed when the context ends."""
        with tempfile.TemporaryDirectory(prefix="stac-sm-") as folder:
            copy = Path(folder, "object")
            if not objects.download(self.bucket, self._key(path), copy):
                raise CatalogError(f"{self.href(path)} is no file: check the path of the catalogue")
            yield copy

    def list_objects(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """List all objects below a folder, in the order of their keys; one request for each thousand."""
        folder = f"{self._key(prefix)}/" if prefix else self._base
        for page in objects.pages(self.bucket, folder):
            for found in page:
                key = str(found["Key"])
                if not key.endswith("/") and not key.rpartition("/")[2].startswith(TEMPORARY):
                    yield ObjectMeta(
                        key.removeprefix(self._base),
                        int(found["Size"]),
                        str(found["ETag"]),
                        found["LastModified"].timestamp(),
                    )

    def list_objects_at(self, folder: str, paths: Iterable[str]) -> Iterator[ObjectMeta]:
        """List some objects, from a listing of their folder: one request for each thousand."""
        named = set(paths)
        return (entry for entry in self.list_objects(folder) if entry.path in named)

    def create(self, path: str, content: bytes | Path) -> bool:
        """Write a new object, all of it or nothing; False if the name is taken."""
        key = self._key(path)
        if self.capabilities().exclusive:
            return objects.create(self.bucket, key, content)
        with self._turn():
            if objects.exists(self.bucket, key):
                return False
            objects.write(self.bucket, key, content)
            return True

    def compare_and_swap(self, path: str, content: bytes, expected: bytes) -> bool:
        """Replace an object that still holds ``expected``; False if it holds something else."""
        key = self._key(path)
        if self.capabilities().exclusive:
            found = objects.get(self.bucket, key)
            if found is None or found[0] != expected:
                return False
            return objects.swap(self.bucket, key, content, found[1])
        with self._turn():
            found = objects.get(self.bucket, key)
            if found is None or found[0] != expected:
                return False
            objects.write(self.bucket, key, content)
            return True

    def replace(self, path: str, content: bytes) -> None:
        """Write a derived object, whether it exists or not."""
        key = self._key(path)
        with contextlib.nullcontext() if self.capabilities().exclusive else self._turn():
            objects.write(self.bucket, key, content)

    def remove(self, path: str) -> None:
        """Remove an object, if it exists."""
        objects.delete(self.bucket, self._key(path))

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold the turn of a thread to look and write; refuse a worker process, since its siblings do the same."""
        if multiprocessing.parent_process() is not None:
            raise InputError(one_process_message(self, "this is a worker of several: give --workers 1"))
        with _turns.setdefault((os.getpid(), self.bucket, self._base), threading.Lock()):
            yield

    @property
    def lacks(self) -> str:
        """What the probe has found missing; empty if nothing."""
        return self.capabilities().lacks

    def capabilities(self) -> StoreCapabilities:
        """Return what the server keeps; tried once in a process, unless it is Amazon's."""
        return known_capabilities(self.bucket, self._base)

    @property
    def _base(self) -> str:
        return f"{self.prefix}/" if self.prefix else ""

    def _key(self, path: str) -> str:
        key = f"{self._base}{checked_path(path, self.root)}"
        if len(key.encode(errors="replace")) > 1024 or key.encode(errors="replace") != key.encode(
            errors="surrogatepass"
        ):
            raise InputError(f"path {path!r} is no key of S3: at most 1024 bytes of UTF-8 are allowed")
        return key
