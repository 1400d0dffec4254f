"""Members of archives are unpacked in folders of their own, as long as they are used."""

from __future__ import annotations

import tempfile
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stac_sm.core.errors import GranuleError
from stac_sm.ingest.formats.archive import is_archive, unpack_members


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


def test_names_that_leave_the_archive_do_no_harm(tmp_path, place):
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        for name in ("../../evil.nc", "/abs.nc", "__MACOSX/._x.nc", ".hidden", "notes.txt"):
            archive.writestr(name, b"CDF" + name.encode())
    members = list(unpack_members(tmp_path / "a", lambda first: first.startswith(b"CDF")))
    assert [(member.name, member.file.read_bytes()[3:].decode()) for member in members] == [
        (name, name) for name in ("../../evil.nc", "/abs.nc", "notes.txt")
    ]
    assert all(place in member.file.parents for member in members)
    for member in members:
        member.remove()
    assert not list(place.iterdir())


def test_an_archive_without_room_is_named(tmp_path, place, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr("x.nc", b"CDF" * 100)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10}))
    with pytest.raises(GranuleError, match="member x.nc has 300 bytes, 10 are free"):
        list(unpack_members(tmp_path / "a", lambda first: True))
    assert not list(place.iterdir())


@given(cut=st.integers(0, 400), flip=st.integers(0, 400))
def test_damage_is_an_error_or_nothing_is_lost(tmp_path_factory, cut, flip):
    path = tmp_path_factory.mktemp("d") / "a"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.nc", b"CDF" * 100)
        archive.writestr("y.nc", bytes(range(256)))
    whole = bytearray(path.read_bytes())
    whole[flip % len(whole)] ^= 0x55
    path.write_bytes(whole[: len(whole) - cut % len(whole)])
    if not is_archive(path):
        return
    with suppress(GranuleError):
        for member in unpack_members(path, lambda first: True):
            assert member.file.read_bytes() in (b"CDF" * 100, bytes(range(256)))
            member.remove()
