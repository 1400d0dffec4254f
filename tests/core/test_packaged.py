"""Folders that the wheel carries: of the package where it is installed, of the checkout otherwise."""

from __future__ import annotations

from stac_sm.core import packaged
from stac_sm.core.packaged import packaged_folder
from tests.support.checkout import ROOT


def test_in_a_checkout_they_lie_beside_the_package():
    assert packaged_folder("catalog") == ROOT / "catalog"
    assert packaged_folder("infra") == ROOT / "infra"


def test_an_installed_package_reads_its_own(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "stac_sm"
    (package / "_catalog").mkdir(parents=True)
    (package.parent / "catalog").mkdir()  # of another package
    monkeypatch.setattr(packaged, "files", lambda name: package)
    assert packaged_folder("catalog") == package / "_catalog"
