"""Readers of the environment: typed, and loud about what they cannot take."""

from __future__ import annotations

import pytest

from permsite import env


@pytest.mark.parametrize(("text", "value"), [("1", True), ("true", True), ("ON", True), ("0", False), ("no", False), ("", False)])
def test_a_flag_reads_the_usual_words(monkeypatch, text, value):
    monkeypatch.setenv("STRICT_WRITES", text)
    assert env.flag("STRICT_WRITES") is value


def test_a_flag_refuses_what_is_neither_yes_nor_no(monkeypatch):
    monkeypatch.setenv("STRICT_WRITES", "maybe")
    with pytest.raises(env.SettingError, match="STRICT_WRITES is 'maybe'; it takes 1 or 0"):
        env.flag("STRICT_WRITES")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("two", "NUM_PROXIES is 'two'; it takes a whole number"),
        ("-1", "between 0 and 10"),
        ("11", "NUM_PROXIES is 11; it must be between 0 and 10"),
    ],
)
def test_a_number_refuses_what_is_none_and_what_is_out_of_bounds(monkeypatch, text, message):
    monkeypatch.setenv("NUM_PROXIES", text)
    with pytest.raises(env.SettingError, match=message):
        env.number("NUM_PROXIES", 0, max_value=10)


def test_a_choice_names_what_it_takes(monkeypatch):
    monkeypatch.setenv("ADMIN_THEME", "jazzy")
    with pytest.raises(env.SettingError, match="ADMIN_THEME is 'jazzy'; it takes unfold or plain"):
        env.choice("ADMIN_THEME", "unfold", ("unfold", "plain"))


def test_words_are_separated_by_commas_and_lose_their_blanks(monkeypatch):
    monkeypatch.setenv("ALLOWED_HOSTS", "a.example.org, b.example.org ,")
    assert env.words("ALLOWED_HOSTS", ("localhost",)) == ["a.example.org", "b.example.org"]
    monkeypatch.delenv("ALLOWED_HOSTS")
    assert env.words("ALLOWED_HOSTS", ("localhost",)) == ["localhost"]


def test_a_url_of_another_scheme_is_refused_without_showing_its_password(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "http://user:hidden@db.example.org")
    with pytest.raises(env.SettingError, match="DATABASE_URL must be a URL that begins with postgres:") as raised:
        env.url("DATABASE_URL", schemes=("postgres", "sqlite"))
    assert "hidden" not in str(raised.value)
    monkeypatch.setenv("REDIS_URL", "http://user:hidden@cache.example.org")
    with pytest.raises(env.SettingError, match="REDIS_URL: a Redis URL begins with redis://") as raised:
        env.redis_url("REDIS_URL")
    assert "hidden" not in str(raised.value)


def test_a_store_may_be_named_or_not(monkeypatch):
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert env.redis_url("REDIS_URL") == ""
    monkeypatch.setenv("REDIS_URL", " redis+cluster://h1:7000,h2:7000/ ")
    assert env.redis_url("REDIS_URL") == "redis+cluster://h1:7000,h2:7000/"


@pytest.mark.parametrize(
    "value", ["permsite.example.org", "https://x.org/path", "ftp://x.org", "https://user@x.org", "https://x.org?a=1"]
)
def test_an_origin_is_an_address_and_nothing_more(monkeypatch, value):
    monkeypatch.setenv("PUBLIC_URL", value)
    with pytest.raises(env.SettingError, match="PUBLIC_URL is"):
        env.origin("PUBLIC_URL")


def test_an_origin_loses_its_last_slash(monkeypatch):
    monkeypatch.setenv("PUBLIC_URL", "https://permsite.example.org/")
    assert env.origin("PUBLIC_URL") == "https://permsite.example.org"


def test_a_secret_may_come_from_a_file(monkeypatch, tmp_path):
    (tmp_path / "key").write_text("from the file\n")
    monkeypatch.delenv("SECRET_KEY", raising=False)
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "key"))
    assert env.secret("SECRET_KEY") == "from the file"


def test_a_secret_in_two_places_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET_KEY", "one")
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(env.SettingError, match="SECRET_KEY and SECRET_KEY_FILE are both set"):
        env.secret("SECRET_KEY")


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), (" \n", "is empty")])
def test_a_secrets_file_that_gives_nothing_is_refused(monkeypatch, tmp_path, content, message):
    if content is not None:
        (tmp_path / "key").write_text(content)
    monkeypatch.delenv("AUDIT_KEY", raising=False)
    monkeypatch.setenv("AUDIT_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(env.SettingError, match=f"AUDIT_KEY_FILE: .*{message}"):
        env.secret("AUDIT_KEY")


def test_old_keys_stand_one_a_line_or_behind_commas(monkeypatch, tmp_path):
    (tmp_path / "old").write_text("first,second\nthird\n")
    monkeypatch.delenv("SECRET_KEY_FALLBACKS", raising=False)
    monkeypatch.setenv("SECRET_KEY_FALLBACKS_FILE", str(tmp_path / "old"))
    assert env.secrets("SECRET_KEY_FALLBACKS") == ["first", "second", "third"]
