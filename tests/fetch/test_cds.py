"""The Climate Data Store by cdsapi as it is, against a server that speaks its API: queue, errors, tokens, results."""

from __future__ import annotations

import json
import logging

import pytest

from stac_sm.core.errors import InputError
from stac_sm.fetch.cds import CdsRequest
from stac_sm.fetch.request import EmptyAnswerError, StillQueuedError
from tests.support.services import TOKEN, ClimateDataStore, zipped

INPUTS = {"variable": ["volumetric_soil_water_layer_1"], "year": "2018", "month": "06", "day": ["01"]}
CONTENT = zipped(b"CDF" + bytes(5000))


@pytest.fixture
def store(monkeypatch, tmp_path):
    monkeypatch.setenv("STAC_SM_RETRY_FIRST_WAIT", "0.01")
    monkeypatch.setenv("STAC_SM_RETRY_LONGEST_WAIT", "0.02")
    with ClimateDataStore(make=lambda dataset, inputs: CONTENT) as service:
        rc = tmp_path / "cdsapirc"
        rc.write_text(f"url: {service.address}/api\nkey: {TOKEN}\n")
        monkeypatch.setenv("CDSAPI_RC", str(rc))
        yield service


@pytest.fixture
def file(tmp_path):
    return tmp_path / "granules" / "era5.zip"


def carried_out(file, request=CdsRequest("reanalysis-era5-land", INPUTS)):
    lines = []
    request.carry_out(file, lines.append)
    return lines


def test_a_request_is_submitted_waited_for_and_fetched(store, file):
    lines = carried_out(file)
    assert file.read_bytes() == CONTENT
    assert [line.split()[0] for line in lines] == ["request", "accepted", "running", "successful"]
    assert [job["inputs"] for job in store.jobs.values()] == [INPUTS]
    assert [path.name for path in file.parent.iterdir()] == ["era5.zip"]


def test_it_goes_on_with_the_request_of_a_fetch_that_was_stopped(store, file):
    store.looks = 1000
    with pytest.raises(StillQueuedError, match="is running after .* h: run the same command again"):
        carried_out(file, CdsRequest("reanalysis-era5-land", INPUTS, longest_queue_s=0.1))
    (id,) = store.jobs
    assert json.loads((file.parent / ".era5.zip.request").read_text())["id"] == id
    assert not file.exists()
    store.looks = 0
    lines = carried_out(file)
    assert lines[0] == f"goes on with request {id}"
    assert file.read_bytes() == CONTENT
    assert len(store.jobs) == 1, "no second place in the queue"


def test_another_request_is_not_taken_for_it(store, file):
    store.looks = 1000
    with pytest.raises(StillQueuedError):
        carried_out(file, CdsRequest("reanalysis-era5-land", INPUTS, longest_queue_s=0.05))
    store.looks = 0
    carried_out(file, CdsRequest("reanalysis-era5-land", INPUTS | {"day": ["02"]}))
    assert [job["inputs"]["day"] for job in store.jobs.values()] == [["01"], ["02"]]


def test_a_request_that_the_service_has_forgotten_is_sent_again(store, file):
    file.parent.mkdir()
    (file.parent / ".era5.zip.request").write_text(json.dumps({"id": "gone", "inputs": INPUTS}))
    carried_out(file)
    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("outcome", "kind", "words"),
    [
        ("failed", InputError, "failed at the Climate Data Store: .*internal error"),
        ("rejected", InputError, "queue is full"),
        ("empty", EmptyAnswerError, "None of the data you have requested is available yet"),
        ("licence", InputError, "licences have been accepted.*accept the licence at"),
    ],
)
def test_what_fails_is_explained_and_asked_anew_next_time(store, file, outcome, kind, words):
    store.outcomes = [outcome]
    with pytest.raises(kind, match=words):
        carried_out(file)
    assert not file.exists()
    carried_out(file)
    assert file.read_bytes() == CONTENT


def test_an_expired_token_is_explained_and_in_no_message(store, file, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    store.token = "renewed"
    with pytest.raises(InputError, match=r"refuses the key \(401\): it may have expired") as found:
        carried_out(file)
    out, err = capfd.readouterr()
    seen = "".join([str(found.value), repr(found.value.__cause__), caplog.text, out, err])
    assert TOKEN not in seen
    for path in file.parent.glob("**/*"):
        assert TOKEN not in path.read_text(errors="replace")


def test_an_error_of_the_caller_is_not_said_to_be_one_of_the_service(store, file):
    def say(line: str) -> None:
        raise ZeroDivisionError(line)

    with pytest.raises(ZeroDivisionError):
        CdsRequest("reanalysis-era5-land", INPUTS).carry_out(file, say)


def test_a_good_token_is_in_no_log_and_no_file(store, file, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    lines = carried_out(file)
    out, err = capfd.readouterr()
    assert TOKEN not in "".join([*lines, caplog.text, out, err])
    assert TOKEN.encode() not in b"".join(path.read_bytes() for path in file.parent.glob("**/*"))


@pytest.mark.parametrize("faults", [["429", "503"], ["", "", "", "429"]])
def test_a_busy_service_and_a_cut_body_are_survived(store, file, faults):
    store.faults, store.result_faults = list(faults), ["cut 100", "cut 7"]
    carried_out(file)
    assert file.read_bytes() == CONTENT


def test_a_result_that_is_no_zip_is_refused(store, file):
    store.make = lambda dataset, inputs: b"PK" + bytes(100)
    with pytest.raises(InputError, match="no zip that can be read"):
        carried_out(file)
    assert not file.exists()
    broken = bytearray(CONTENT)
    broken[45] ^= 255
    store.make = lambda dataset, inputs: bytes(broken)
    (file.parent / ".era5.zip.request").unlink()
    with pytest.raises(InputError, match="no zip that can be read"):
        carried_out(file)


def test_no_account_and_a_key_of_the_old_service_are_explained(store, file, monkeypatch, tmp_path):
    monkeypatch.setenv("CDSAPI_RC", str(tmp_path / "none"))
    with pytest.raises(InputError, match="no account of the Climate Data Store found"):
        carried_out(file)
    monkeypatch.setenv("CDSAPI_URL", store.address)
    monkeypatch.setenv("CDSAPI_KEY", "1234:old")
    with pytest.raises(InputError, match="before September 2024"):
        carried_out(file)
