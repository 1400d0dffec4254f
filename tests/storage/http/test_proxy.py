"""Proxies: the environment decides, and this machine is never asked through one; Python's own rules are the judge."""

from __future__ import annotations

import os
import urllib.request

import pytest

from stac_sm.storage.http.proxy import proxy_of


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name == "REQUEST_METHOD"]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment(monkeypatch, name):
    assert proxy_of("https", "host.example") == ""
    monkeypatch.setenv(name, "user:word@proxy:3128")
    assert proxy_of("https", "host.example") == "http://user:word@proxy:3128"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_this_machine_is_asked_directly(monkeypatch, host):
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert proxy_of("http", host) == ""


def test_a_header_of_a_cgi_client_is_no_proxy(monkeypatch):
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    monkeypatch.setenv("HTTP_PROXY", "http://evil:3128")
    assert proxy_of("http", "host.example") == ""


@pytest.mark.parametrize(
    "rule", ["", "*", "host.example", ".example", "example", "other", "st.example", "a, host.example "]
)
@pytest.mark.parametrize("host", ["host.example", "HOST.example", "a.host.example", "host.example.org", "10.1.2.3"])
def test_exceptions_are_those_of_python(monkeypatch, rule, host):
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", rule)
    assert (proxy_of("http", host) == "") == bool(urllib.request.proxy_bypass_environment(host))


def test_networks_are_exceptions_too(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "10.0.0.0/8")
    assert proxy_of("http", "10.1.2.3") == ""
    assert proxy_of("http", "11.1.2.3") != ""
