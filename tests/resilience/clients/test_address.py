"""The URL of a Redis: what it may say, and that no error and no log repeats a password."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.address import Address, connection_options, default_url, masked, parse, resolve

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", Address("standalone", (("h", 6379),))),
        ("redis://h:7000/3", Address("standalone", (("h", 7000),), db=3)),
        ("redis://h:7000?db=3", Address("standalone", (("h", 7000),), db=3)),
        ("REDIS://h/", Address("standalone", (("h", 6379),))),
        ("redis://[::1]:7000/0", Address("standalone", (("::1", 7000),))),
        ("redis://[::1]", Address("standalone", (("::1", 6379),))),
        ("redis://u:p%40%2F@h", Address("standalone", (("h", 6379),), username="u", password="p@/")),
        ("redis://:p@h", Address("standalone", (("h", 6379),), password="p")),
        ("redis://:p:q@h", Address("standalone", (("h", 6379),), password="p:q")),
        ("redis://:p@q@h", Address("standalone", (("h", 6379),), password="p@q")),
        ("rediss://h", Address("standalone", (("h", 6379),), tls=True)),
        (
            "rediss://h?ssl_ca_certs=%2Fca.pem&ssl_cert_reqs=none&ssl_check_hostname=no",
            Address(
                "standalone",
                (("h", 6379),),
                tls=True,
                tls_options=(("ssl_ca_certs", "/ca.pem"), ("ssl_cert_reqs", "none"), ("ssl_check_hostname", False)),
            ),
        ),
        ("unix:///run/v.sock", Address("unix", path="/run/v.sock")),
        ("unix://:p@/run/v%20w.sock?db=2", Address("unix", path="/run/v w.sock", password="p", db=2)),
        ("unix:///run/v.sock?username=u&password=p", Address("unix", path="/run/v.sock", username="u", password="p")),
        ("redis+cluster://a:1,b,[::1]:3/", Address("cluster", (("a", 1), ("b", 6379), ("::1", 3)))),
        ("rediss+cluster://u:p@a:1/0", Address("cluster", (("a", 1),), username="u", password="p", tls=True)),
        (
            "redis+sentinel://u:p@a,b:2/main/4?sentinel_password=s",
            Address("sentinel", (("a", 26379), ("b", 2)), "", "main", 4, "u", "p", sentinel_password="s"),
        ),
        ("redis+sentinel://a/main", Address("sentinel", (("a", 26379),), service="main")),
    ],
)
def test_each_kind_of_url_is_read(url, expected):
    assert parse(url) == expected
    assert parse(expected) is expected


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (None, "is text, not NoneType"),
        (7, "is text, not int"),
        (b"redis://h", "is text, not bytes"),
        ("", "begins with redis://"),
        ("h:6379", "begins with redis://"),
        ("http://h", "begins with redis://"),
        ("redis:h", "begins with redis://"),
        ("redis://", "host 1 of a Redis URL is empty"),
        ("redis:///0", "host 1 of a Redis URL is empty"),
        ("redis+cluster://a:1,,b:2/", "host 2 of a Redis URL is empty"),
        ("redis://a:1,b:2", "names one host"),
        ("redis://h:0", "no number from 1 to 65535"),
        ("redis://h:65536", "no number from 1 to 65535"),
        ("redis://h:999999999999999999999", "no number from 1 to 65535"),
        ("redis://h:-1", "no number from 1 to 65535"),
        ("redis://h:٣", "no number from 1 to 65535"),
        ("redis://[::1:6379", "IPv6 address in brackets"),
        ("redis://[::1]x6379", "IPv6 address in brackets"),
        (f"redis://{'h' * 64}", "no name a resolver takes"),
        ("redis://h/x", "is no number"),
        ("redis://h/-1", "is no number"),
        ("redis://h/1/2", "is no number"),
        ("redis://h/1?db=2", "names its database once"),
        ("redis://h?db=1&db=2", "db twice"),
        ("redis://h?timeout=1", "takes the options db, username, password"),
        ("redis://h?ssl_ca_certs=x", "takes the options"),
        ("rediss://h?ssl_cert_reqs=maybe", "takes required, optional, none"),
        ("rediss://h?ssl_check_hostname=maybe", "takes true or false"),
        ("rediss://h?ssl_ca_certs=", "ssl_ca_certs in a Redis URL is empty"),
        ("redis://u:p@h?password=p", "names its login once"),
        ("redis://h h", "no blanks"),
        ("redis://h\x00", "no blanks and no control characters"),
        ("redis+cluster://h/1", "no databases but 0"),
        ("redis+sentinel://h", "names the service"),
        ("redis+sentinel://h/main/x", "is no number"),
        ("unix://run/v.sock", "by its whole path"),
        ("unix://", "by its whole path"),
    ],
)
def test_what_cannot_be_is_refused_and_says_what_would_be_right(url, problem):
    with pytest.raises(ValueError) as raised:
        parse(url)
    assert problem in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@h",
        f"redis://{SECRET}@h",
        f"redis://user:{SECRET}",  # no host: read as host and port
        f"redis://:a/{SECRET}@h",
        f"redis://:a?{SECRET}@h",
        f"redis://:a#{SECRET}@h:6379",
        f"redis://:a,{SECRET}@h:x",
        f"redis://h?password={SECRET}",
        f"redis://h?pasword={SECRET}",
        f"redis://h?{SECRET}",
        f"redis://h/{SECRET}",
        f"redis://h:{SECRET}",
        f"unix://:{SECRET}@/run/v.sock",
        f"unix://:a/{SECRET}@/run/v.sock",
        f"rediss+sentinel://:{SECRET}@h/main?sentinel_password={SECRET}",
        f"{SECRET}://h",
        f"rediss://h?ssl_cert_reqs={SECRET}",
    ],
)
def test_neither_an_error_nor_the_masked_form_shows_a_password(url):
    assert SECRET not in masked(url)
    try:
        address = parse(url)
    except ValueError as error:
        assert SECRET not in str(error)
    else:
        assert SECRET not in str(address) and SECRET not in repr(address)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    for scheme in ("redis", "rediss", "unix", "redis+cluster", "redis+sentinel"):
        try:
            address = parse(f"{scheme}://{text}")
        except ValueError:
            continue
        assert address.path or address.hosts
        assert all(0 < port < 65536 and host for host, port in address.hosts)
        assert parse(str(address)).hosts == address.hosts


def test_a_node_has_the_login_and_the_tls_of_its_cluster():
    cluster = parse("rediss+cluster://u:p@a:1,b:2/?ssl_cert_reqs=none")
    node = cluster.at("c", 3)
    assert node.kind == "standalone" and node.hosts == (("c", 3),) and node.password == "p"
    assert connection_options(node)["ssl_cert_reqs"] == "none" and connection_options(node)["ssl_check_hostname"] is False


def test_the_default_is_djangos_setting_and_else_the_environments(settings, monkeypatch):
    settings.REDIS_URL = "redis://from-django"
    monkeypatch.setenv("REDIS_URL", " redis://from-environment ")
    assert default_url() == "redis://from-django" and resolve(None).hosts == (("from-django", 6379),)
    settings.REDIS_URL = ""
    assert default_url() == ""
    with pytest.raises(ValueError, match="REDIS_URL is not set"):
        resolve(None)
    monkeypatch.delitem(sys.modules, "django.conf")
    assert default_url() == "redis://from-environment"
    monkeypatch.delitem(os.environ, "REDIS_URL")
    assert default_url() == ""
