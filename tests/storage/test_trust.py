"""Trust: a hostile catalogue reads no local file, reaches no other scheme and no place near to us."""

import socket

import pytest

from stac_sm.core.errors import CatalogError
from stac_sm.storage import trust
from stac_sm.storage.trust import AddressScope, address_scope, catalog_scope, check_address, check_href

PUBLIC = "https://stac.example.com/api"
GOOD = [
    "https://data.example.com/a.tif",
    "http://data.example.com/a.tif?sig=x%2Fy&se=2",
    "https://8.8.8.8/a.tif",
    "https://data.example.com:8443/a/../b.tif",
]
HOSTILE = [
    "/etc/passwd", "etc/passwd", "../../etc/passwd", "./a.tif", "", "file:///etc/passwd", "FILE:///etc/passwd",
    "file:/etc/passwd", "file://localhost/etc/passwd", "/vsicurl/http://127.0.0.1/", "/vsizip//etc/x.zip/a",
    "/vsimem/a", "/vsis3/bucket/key", "vrt://a.tif", "vrt:///etc/a.tif?bands=1", "GTIFF_DIR:1:/etc/a.tif",
    "GTIFF_RAW:/etc/a.tif", "NETCDF:/etc/a.nc:x", 'HDF5:"/etc/a.h5"://x', "HDF4_SDS:UNKNOWN:a:0", "GTI:/etc/a.gti",
    "DERIVED_SUBDATASET:LOGAMPLITUDE:/etc/a.tif", "<VRTDataset/>", "<GDAL_WMS></GDAL_WMS>", "ftp://example.com/a.tif",
    "gs://bucket/a.tif", "az://c/a.tif", "data:image/tiff;base64,SUkq", "s3://bucket/key.tif", "javascript:1",
    "zip://a.zip!b", "zip+https://a.zip!b", "\\\\host\\share\\a.tif", "C:\\a.tif", "\0/etc/passwd", "//etc/passwd",
    "https://user:pw@example.com/a.tif", "https://user@example.com/a.tif", "https:///a.tif", "https://", "http:a.tif",
    "https://[::1]/a.tif", "http://localhost/a.tif", "http://localhost./a.tif", "http://LOCALHOST/a.tif",
    "http://a.localhost/", "http://127.0.0.1/a.tif", "http://127.1/a.tif", "http://2130706433/", "http://0x7f000001/",
    "http://0177.0.0.1/", "http://0/", "http://0.0.0.0/", "http://[::]/", "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://10.0.0.1/",
    "http://172.16.3.4/", "http://192.168.1.1/", "http://100.64.0.1/", "http://[fd00::1]/", "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/", "http://169.254.169.254/latest/meta-data", "http://2852039166/", "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/", "http://169.254.43518/", "http://[::ffff:169.254.169.254]/",
    "http://100.100.100.200/", "http://metadata.google.internal/", "http://metadata.google.internal./x",
    "http://Metadata.Google.Internal/", "http://[fd00:ec2::254]/", "http://example.com:99999/", "http://[::1/a.tif",
    "https://example.com/a b.tif", "https://example.com/a\r\nHost: x", "https://example.com/<a>", "http://ex\\ample.com",
    "https://127.0.0.1\\@example.com/", "http://224.0.0.1/", "http://255.255.255.255/",
]  # fmt: skip


@pytest.mark.parametrize("href", GOOD)
@pytest.mark.parametrize("root", [PUBLIC, "s3://bucket/catalog", "/data/catalog", "file:///data/catalog"])
def test_what_a_catalogue_may_ask_for(href, root):
    assert check_href(href, root) == href


@pytest.mark.parametrize("href", HOSTILE)
def test_what_a_catalogue_on_the_network_may_not_ask_for(href):
    with pytest.raises(CatalogError, match="is not followed: .* found, not allowed from the catalogue https://stac"):
        check_href(href, PUBLIC)


@pytest.mark.parametrize("href", [href for href in HOSTILE if not href.startswith("s3:")])
def test_nor_may_one_in_a_bucket(href):
    with pytest.raises(CatalogError):
        check_href(href, "s3://bucket/catalog")


def test_a_key_of_a_bucket_is_any_text():
    assert check_href("s3://bucket/a b/c+d<1>.tif", "s3://bucket/") == "s3://bucket/a b/c+d<1>.tif"


def test_buckets_are_for_catalogues_in_buckets_and_for_ones_own():
    for root in ("s3://bucket/catalog", "/data"):
        assert check_href("s3://other/a/b.tif", root) == "s3://other/a/b.tif"
        for bad in ("s3://", "s3://bucket", "s3://bucket/", "s3://a:b@bucket/key", "s3://../key"):
            with pytest.raises(CatalogError):
                check_href(bad, root)


LOCAL = {
    "/data/a.tif": "/data/a.tif",
    "/data/x/../a b.tif": "/data/x/../a b.tif",
    "file:///data/a%20b.tif": "/data/a b.tif",
    "file://localhost/data/a.tif": "/data/a.tif",
    "/data/vsicurl/a.tif": "/data/vsicurl/a.tif",
    "http://127.0.0.1:8000/a.tif": "http://127.0.0.1:8000/a.tif",
    "http://192.168.1.7/a.tif": "http://192.168.1.7/a.tif",
}


@pytest.mark.parametrize(("href", "found"), LOCAL.items())
def test_a_folder_of_ones_own_may_ask_for_files_and_for_neighbours(href, found):
    assert check_href(href, "/data/catalog") == found


@pytest.mark.parametrize(
    "href",
    [
        "/vsicurl/https://a.b/c.tif", "//vsicurl/x", "/VSIMEM/x", "/./vsizip/x", "file:///vsicurl/x", "file:///%76simem/x",
        "vrt:///a.tif", "<VRTDataset/>", "NETCDF:/data/a.nc:x", "file://other/a.tif", "http://169.254.169.254/",
        "https://u:p@a.b/c", "ftp://a/b", "/data/\0.tif", "http://metadata.google.internal/", "",
    ],
)  # fmt: skip
def test_but_not_for_drivers_passwords_and_metadata(href):
    with pytest.raises(CatalogError):
        check_href(href, "/data/catalog")


def test_a_catalogue_may_send_us_as_near_as_it_is_itself():
    near, private = "http://127.0.0.1:80/api", "http://10.1.2.3/api"
    assert check_href("http://127.0.0.1:9/a", near)
    assert check_href("http://10.0.0.1/a", near)
    assert check_href("http://10.0.0.1/a", private)
    with pytest.raises(CatalogError, match="a loopback address found"):
        check_href("http://127.0.0.1/a", private)
    for root in (near, private):
        with pytest.raises(CatalogError, match="a forbidden address found"):
            check_href("http://169.254.169.254/a", root)
        with pytest.raises(CatalogError, match="a local path"):
            check_href("/etc/passwd", root)


def test_a_name_is_as_near_as_its_farthest_address(monkeypatch):
    table = {"home": ["127.0.0.1"], "both": ["10.0.0.1", "8.8.8.8"], "lan": ["10.0.0.1"]}
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda name, *_, **__: [(0, 0, 0, "", (address, 0)) for address in table[name]]
    )
    trust._reach_of_host.cache_clear()
    found = [catalog_scope(f"https://{name}/api") for name in table]
    trust._reach_of_host.cache_clear()
    assert found == [AddressScope.LOOPBACK, AddressScope.PUBLIC, AddressScope.PRIVATE]


def test_an_address_that_a_name_led_to_is_judged():
    check_address("8.8.8.8", AddressScope.PUBLIC)
    for address in ("10.0.0.1", "127.0.0.1", "169.254.169.254", "fe80::1%eth0", "::1", "::ffff:10.0.0.1"):
        with pytest.raises(CatalogError):
            check_address(address, AddressScope.PUBLIC)
    assert address_scope("2001:4860:4860::8888") is AddressScope.PUBLIC


def test_no_token_is_in_a_message():
    with pytest.raises(CatalogError) as failure:
        check_href("https://user:canary@example.com/a.tif?sig=canary", PUBLIC)
    assert "canary" not in str(failure.value)
