"""NASA's archive: search by tile and day, Earthdata Login by token and by password, files with checksums."""

from __future__ import annotations

import logging

import pytest

from stac_sm.core.errors import InputError
from stac_sm.core.period import Period
from stac_sm.fetch.earthdata import EarthdataVisitor, search_granules
from tests.support.services import PASSWORD, TOKEN, nasa

NAMES = [
    "MOD11A1.A2018152.h18v04.061.2021100000000.hdf",
    "MOD11A1.A2018152.h18v04.061.2021200000000.hdf",
    "MOD11A1.A2018153.h18v04.061.2021100000000.hdf",
    "MOD11A1.A2018153.h17v04.061.2021100000000.hdf",
    "MOD11A1.A2018160.h18v04.061.2021100000000.hdf",
    "MYD11A1.A2018153.h18v04.061.2021100000000.hdf",
]
JUNE = Period.parse("2018-06-01/2018-06-03")


@pytest.fixture
def services(monkeypatch, tmp_path):
    monkeypatch.setenv("STAC_SM_RETRY_FIRST_WAIT", "0.001")
    monkeypatch.setenv("STAC_SM_RETRY_LONGEST_WAIT", "0.002")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("EARTHDATA_TOKEN", raising=False)
    with nasa({name: name.encode() * 100 for name in NAMES}) as (archive, login):
        monkeypatch.setenv("STAC_SM_CMR_URL", archive.address)
        monkeypatch.setenv("STAC_SM_EARTHDATA_LOGIN_URL", login.address)
        yield archive, login


@pytest.fixture
def account(monkeypatch, tmp_path):
    file = tmp_path / "netrc"
    file.write_text(f"machine localhost login somebody password {PASSWORD}\n")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))


def found(**more):
    return list(search_granules("MOD11A1", "061", JUNE, ["*.h18v04.*"]))


def test_a_search_goes_through_all_pages(services):
    archive, _ = services
    names = [one.name for one in found()]
    assert names == NAMES[:3]
    assert archive.asked["GET", "/search/granules.umm_json"] == 3
    assert found()[0].size == len(NAMES[0]) * 100
    assert found()[0].checksum.startswith("md5:")


def test_nothing_found_is_an_empty_list(services):
    assert list(search_granules("MCD43A3", "061", JUNE, ["*.h18v04.*"])) == []


def test_a_search_that_answers_nonsense_is_explained(services):
    archive, _ = services
    archive.respond = lambda to, path, query, body, fault: to.send_json(200, {"errors": ["no"]})
    with pytest.raises(InputError, match="no list of granules of MOD11A1 found"):
        found()


def carried_out(file):
    found()[0].carry_out(file, lambda line: None)
    return file.read_bytes()


def test_by_token(services, tmp_path, monkeypatch, caplog, capfd):
    archive, login = services
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("EARTHDATA_TOKEN", TOKEN)
    assert carried_out(tmp_path / "a.hdf") == NAMES[0].encode() * 100
    assert not login.asked
    out, err = capfd.readouterr()
    assert TOKEN not in caplog.text + out + err


def test_by_netrc_through_the_login_and_back(services, tmp_path, account, caplog):
    archive, login = services
    caplog.set_level(logging.DEBUG)
    assert carried_out(tmp_path / "a.hdf") == NAMES[0].encode() * 100
    assert login.asked["GET", "/oauth/authorize"] == 1
    assert all("Authorization" not in headers for _, path, headers in archive.headers if path.startswith("/data"))
    assert all("Cookie" not in headers for _, _, headers in login.headers)
    assert PASSWORD not in caplog.text


def test_no_account_is_said_before_anything_is_fetched(services, tmp_path):
    archive, _ = services
    with pytest.raises(InputError, match="no account of Earthdata Login found: set EARTHDATA_TOKEN"):
        carried_out(tmp_path / "a.hdf")
    assert not [path for _, path in archive.asked if path.startswith("/data")]


def test_an_expired_token_is_explained_and_not_shown(services, tmp_path, monkeypatch):
    archive, _ = services
    archive.token = "another"
    monkeypatch.setenv("EARTHDATA_TOKEN", TOKEN)
    with pytest.raises(InputError, match="make a new token at") as error:
        carried_out(tmp_path / "a.hdf")
    assert TOKEN not in str(error.value)
    assert not (tmp_path / "a.hdf").exists()


def test_terms_that_were_not_accepted_are_a_page_and_no_file(services, tmp_path, monkeypatch):
    archive, _ = services
    monkeypatch.setenv("EARTHDATA_TOKEN", TOKEN)
    one = found()[0]
    archive.faults = ["page"] * 9
    with pytest.raises(InputError, match="accept the terms of the archive"):
        one.carry_out(tmp_path / "a.hdf", lambda line: None)
    assert not (tmp_path / "a.hdf").exists()


def test_busy_and_cut_are_survived_and_a_wrong_checksum_is_not_taken(services, tmp_path, monkeypatch):
    archive, _ = services
    monkeypatch.setenv("EARTHDATA_TOKEN", TOKEN)
    one = found()[0]
    archive.faults = ["429", "cut 100", "503", "cut 7"]
    one.carry_out(tmp_path / "a.hdf", lambda line: None)
    assert (tmp_path / "a.hdf").read_bytes() == NAMES[0].encode() * 100
    archive.wrong_checksum = True
    with pytest.raises(InputError, match="another checksum"):
        carried_out(tmp_path / "b.hdf")
    assert not (tmp_path / "b.hdf").exists()


def test_a_token_goes_to_the_archives_only(monkeypatch):
    monkeypatch.delenv("STAC_SM_CMR_URL", raising=False)
    monkeypatch.delenv("STAC_SM_EARTHDATA_LOGIN_URL", raising=False)
    monkeypatch.setenv("EARTHDATA_TOKEN", TOKEN)
    visitor = EarthdataVisitor()
    sent = {
        url: visitor.headers(url)
        for url in (
            "https://data.lpdaac.earthdatacloud.nasa.gov/a.hdf",
            "https://e4ftl01.cr.usgs.gov/a.hdf",
            "http://data.lpdaac.earthdatacloud.nasa.gov/a.hdf",
            "https://urs.earthdata.nasa.gov/oauth/authorize",
            "https://d1nklfio7vscoe.cloudfront.net/a.hdf",
            "https://evil.example/nasa.gov",
            "https://evilnasa.gov/a",
        )
    }
    assert [url for url, headers in sent.items() if "Authorization" in headers] == list(sent)[:2]
    visitor.remember("https://one.nasa.gov/login", ["a=b; Path=/; Secure", "c"])
    assert visitor.headers("https://one.nasa.gov/x")["Cookie"] == "a=b"
    assert "Cookie" not in visitor.headers("https://two.nasa.gov/x")
