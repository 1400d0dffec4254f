"""Tokens: had at the moment of reading, from the real signer of the Planetary Computer; never in a message."""

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stac_sm.core.errors import InputError
from stac_sm.storage.signing import sign_href, without_secrets

BLOB = "https://elevationeuwest.blob.core.windows.net/copernicus-dem/COP30_hh/a.tif"


@pytest.fixture
def tokens(monkeypatch):
    """A token service on this machine that the signer is pointed to; counts what it was asked for."""
    asked = []

    class Service(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            until = (datetime.now(UTC) + timedelta(minutes=45)).strftime("%Y-%m-%dT%H:%M:%SZ")
            body = json.dumps({"token": "sig=canary", "msft:expiry": until}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    import planetary_computer.settings as settings

    settings.Settings.get.cache_clear()
    monkeypatch.setenv("PC_SDK_SAS_URL", f"http://127.0.0.1:{server.server_port}/api/sas/v1/token")
    yield asked
    settings.Settings.get.cache_clear()
    server.shutdown()
    server.server_close()


def test_a_blob_gets_the_token_of_its_container(tokens):
    assert sign_href(BLOB, "planetary-computer") == BLOB + "?sig=canary"
    assert tokens == ["/api/sas/v1/token/elevationeuwest/copernicus-dem"]
    sign_href(BLOB, "planetary-computer")
    assert len(tokens) == 1  # a token that is still valid serves again


def test_other_hrefs_stay_as_they_are(tokens):
    assert sign_href("/data/a.tif", "") == "/data/a.tif"
    assert sign_href("https://example.com/a.tif", "planetary-computer") == "https://example.com/a.tif"
    assert tokens == []


def test_an_unknown_signer_is_refused():
    with pytest.raises(InputError, match="'aws' is unknown: known are planetary-computer"):
        sign_href(BLOB, "aws")


def test_no_query_is_left_in_a_text():
    text = "RasterioIOError('HTTP 403 /vsicurl/https://a.b/c.tif?sig=canary&se=2 (denied)') and https://d/e?x=canary"
    assert "canary" not in without_secrets(text)
    assert "https://a.b/c.tif?…" in without_secrets(text)
