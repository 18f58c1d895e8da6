"""What an API key looks like, and how one is read out of a header."""

from __future__ import annotations

import re

import pytest

from permissions.engine.keys import digest_of, new_key, parse

KEY = "ps_ab12cd34_" + "A-_z" * 10 + "xyz"


def test_a_new_key_has_a_public_prefix_and_a_secret_of_256_bits():
    key = new_key()
    assert re.fullmatch(r"ps_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", key.plain)
    assert key.plain[3:11] == key.prefix
    assert key.digest == digest_of(key.plain)
    assert re.fullmatch(r"[0-9a-f]{64}", key.digest)


def test_no_two_keys_are_alike():
    keys = [new_key() for _ in range(200)]
    assert len({key.plain for key in keys}) == len({key.prefix for key in keys}) == 200


@pytest.mark.parametrize("header", [KEY, f"Bearer {KEY}", f"bearer {KEY}", f"BEARER   {KEY} ", f"  {KEY}"])
def test_a_key_is_read_with_the_scheme_or_bare(header):
    assert parse(header) == (KEY, "ab12cd34")


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        "Bearer",
        "Bearer ",
        f"Basic {KEY}",
        f"Token {KEY}",
        f"Bearer{KEY}",
        f"Bearer Bearer {KEY}",
        f"Bearer {KEY} x",
        f"{KEY},{KEY}",
        KEY[:-1],
        KEY + "x",
        KEY + "\n\n x",
        KEY.upper(),
        KEY.replace("ps_", "pt_"),
        KEY.replace("ab12", "AB12"),
        KEY[:-1] + "é",
        KEY[:-1] + "=",
        "ps_" + "٣" * 8 + KEY[11:],
        "x" * 100_000,
    ],
    ids=lambda header: header[:30],
)
def test_anything_else_is_no_key(header):
    assert parse(header) is None


def test_the_digest_of_any_text_can_be_taken():
    assert len(digest_of("\ud800")) == 64
