"""The corpus of URLs that have fooled others: none is allowed, and what is allowed is taken apart in one way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fetch.settings import FetchSettings
from gateway.fetch.urls import Target, allowed, redirected
from trichord.errors import RequestError, SettingsError

SETTINGS = FetchSettings(hosts="media.example.com,*.example.org,files.example.com:8443")

REFUSED = [
    "",
    "media.example.com/a.png",
    "//media.example.com/a.png",
    "http://media.example.com/a.png",
    "ftp://media.example.com/a.png",
    "file:///etc/passwd",
    "gopher://media.example.com/",
    "data:image/png;base64,AAAA",
    "https:media.example.com",
    "https:///media.example.com",
    "https://other.example.com/",
    "https://example.org/",
    "https://evilexample.org/",
    "https://media.example.com.evil.net/",
    "https://media.example.com./",
    "https://media.example.com:8443/",
    "https://media.example.com:99999/",
    "https://media.example.com:-1/",
    "https://files.example.com/",
    "https://user@media.example.com/",
    "https://user:password@media.example.com/",
    "https://media.example.com@127.0.0.1/",
    "https://media.example.com%40127.0.0.1/",
    "https://127.0.0.1\\@media.example.com/",
    "https://media.example.com\\@127.0.0.1/",
    "https://media.example.com\\.evil.net/",
    "https:\\\\media.example.com/",
    "https://media.example.com#@127.0.0.1/".replace("#", "%23"),
    "https://127.0.0.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://localhost/",
    "https://a..example.org/",
    "https://.example.org/",
    "https://*.example.org/",
    "https://a\N{FULLWIDTH FULL STOP}example.org/",
    "https://ⓜedia.example.com/",
    "https://media.example.com/größe.png",
    " https://media.example.com/",
    "https://media.example.com/ a",
    "https://media.example.com/\r\nHost: evil.net",
    "https://media.example.com/\x00",
    "https://media.example.com/\t",
    "https://media.example.com/" + "a" * 2048,
]


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_is_refused(url):
    with pytest.raises(RequestError) as raised:
        allowed(url, SETTINGS)
    assert raised.value.field == ""
    assert "127.0.0.1" not in raised.value.message


@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("https://media.example.com", Target("https", "media.example.com", 443, "/"), "media.example.com"),
        ("HTTPS://MEDIA.example.com:443/a", Target("https", "media.example.com", 443, "/a"), "media.example.com"),
        (
            "https://media.example.com/a%20b?c=d%26e#f",
            Target("https", "media.example.com", 443, "/a%20b?c=d%26e"),
            None,
        ),
        ("https://a.b.example.org/a:b", Target("https", "a.b.example.org", 443, "/a:b"), "a.b.example.org"),
        ("https://files.example.com:8443/", Target("https", "files.example.com", 8443, "/"), "files.example.com:8443"),
    ],
)
def test_an_allowed_url_is_taken_apart(url, target, authority):
    assert allowed(url, SETTINGS) == target
    assert allowed(url, SETTINGS).authority == (authority or target.host)


def test_http_is_allowed_where_the_deployment_says_so():
    settings = FetchSettings(hosts="media.example.com", allow_http=True)
    assert allowed("http://media.example.com/a", settings) == Target("http", "media.example.com", 80, "/a")
    with pytest.raises(RequestError):
        allowed("http://media.example.com:443/a", settings)


@given(st.text(max_size=60), st.sampled_from(["", "https://", "https://media.example.com", "https://a.example.org"]))
def test_whatever_is_allowed_goes_to_a_listed_host(rest, start):
    try:
        target = allowed(start + rest, SETTINGS)
    except RequestError:
        return
    assert target.host == "media.example.com" or target.host.endswith(".example.org")
    assert target.path.startswith("/")
    assert target.path.isascii()
    assert target.path.isprintable()
    assert " " not in target.path


HERE = Target("https", "media.example.com", 443, "/a/b?c")


@pytest.mark.parametrize(
    ("location", "host", "path"),
    [
        ("d", "media.example.com", "/a/d"),
        ("/d", "media.example.com", "/d"),
        ("../../../d", "media.example.com", "/d"),
        ("//x.example.org/d", "x.example.org", "/d"),
        ("https://x.example.org", "x.example.org", "/"),
    ],
)
def test_a_redirect_leads_to_what_is_allowed(location, host, path):
    assert redirected(HERE, location, SETTINGS) == Target("https", host, 443, path)


@pytest.mark.parametrize(
    "location",
    [
        "http://media.example.com/",
        "//127.0.0.1/",
        "//evil.net",
        "https://files.example.com:8443/",
        "\\\\127.0.0.1",
        "https://media.example.com:x/",
        "https://[::1",
    ],
)
def test_a_redirect_elsewhere_is_refused(location):
    with pytest.raises(RequestError):
        redirected(HERE, location, SETTINGS)


@pytest.mark.parametrize(
    "hosts", ["127.0.0.1", "localhost", "*", "*.com ", "a b.com", "https://a.com", "a.com/", "[::1]", "a.com:123456"]
)
def test_a_host_that_is_none_stops_the_process(monkeypatch, hosts):
    monkeypatch.setenv("TRICHORD_FETCH_HOSTS", hosts)
    with pytest.raises(SettingsError, match="TRICHORD_FETCH_HOSTS"):
        FetchSettings.from_environment()


def test_hosts_are_listed_by_commas(monkeypatch):
    monkeypatch.setenv("TRICHORD_FETCH_HOSTS", "A.example.com,*.b.net:8443")
    assert FetchSettings.from_environment().hosts == ("a.example.com", "*.b.net:8443")
    monkeypatch.delenv("TRICHORD_FETCH_HOSTS")
    assert FetchSettings.from_environment().hosts == ()
