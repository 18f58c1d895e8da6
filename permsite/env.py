"""Typed readers of the environment. A wrong value stops the start with the name of the setting, never with a default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from resilience import address

_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off", ""})


class SettingError(ImproperlyConfigured):
    """An environment variable holds what its setting cannot take."""


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, default).strip()


def flag(name: str, *, default: bool = False) -> bool:
    value = os.environ.get(name)
    if value is None:
        return default
    word = value.strip().lower()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise SettingError(f"{name} is {value!r}; it takes 1 or 0")


def number(name: str, default: int, *, min_value: int = 0, max_value: int | None = None) -> int:
    value = os.environ.get(name, "").strip()
    if not value:
        return default
    try:
        result = int(value)
    except ValueError:
        raise SettingError(f"{name} is {value!r}; it takes a whole number") from None
    if result < min_value or (max_value is not None and result > max_value):
        bounds = f"at least {min_value}" if max_value is None else f"between {min_value} and {max_value}"
        raise SettingError(f"{name} is {result}; it must be {bounds}")
    return result


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = text(name) or default
    if value not in allowed:
        raise SettingError(f"{name} is {value!r}; it takes {' or '.join(allowed)}")
    return value


def words(name: str, default: tuple[str, ...] = ()) -> list[str]:
    """A list separated by commas; blanks around its members do not count."""
    value = os.environ.get(name)
    if value is None:
        return list(default)
    return [word for part in value.split(",") if (word := part.strip())]


def url(name: str, *, schemes: tuple[str, ...], default: str = "") -> str:
    value = text(name) or default
    if value and urlsplit(value).scheme not in schemes:
        # The value is not repeated: a URL carries a password.
        raise SettingError(f"{name} must be a URL that begins with {', '.join(f'{s}:' for s in schemes)}")
    return value


def mail(name: str) -> dict[str, object]:
    """smtp://user:password@host:port, smtp+tls:// (STARTTLS) or smtps:// (TLS), as Django's settings of mail; {}: none."""
    value = url(name, schemes=("smtp", "smtp+tls", "smtps"))
    if not value:
        return {}
    parts = urlsplit(value)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.path not in ("", "/") or parts.query or parts.fragment:
        # The value is not repeated: it carries a password.
        raise SettingError(f"{name} must be an address such as smtp+tls://user:password@mail.example.org:587, without a path")
    return {
        "EMAIL_URL": f"{parts.scheme}://{host}",
        "EMAIL_HOST": host,
        "EMAIL_PORT": port or {"smtp": 25, "smtp+tls": 587, "smtps": 465}[parts.scheme],
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": parts.scheme == "smtp+tls",
        "EMAIL_USE_SSL": parts.scheme == "smtps",
    }


def redis_url(name: str) -> str:
    value = text(name)
    if value:
        try:
            address.parse(value)
        except ValueError as error:
            raise SettingError(f"{name}: {error}") from None
    return value


def origin(name: str) -> str:
    """scheme://host[:port], without path, query or slash at the end; empty when not set."""
    value = text(name).rstrip("/")
    if not value:
        return ""
    parts = urlsplit(value)
    more = (parts.username, parts.path, parts.query, parts.fragment)
    if parts.scheme not in {"http", "https"} or not parts.hostname or any(more):
        raise SettingError(f"{name} is {value!r}; it takes an address such as https://permsite.example.org, without a path")
    return value


def secret(name: str, default: str = "") -> str:
    """The value of NAME, or the content of the file that NAME_FILE names. Both at once would leave open which one counts."""
    path = text(f"{name}_FILE")
    value = os.environ.get(name, "")
    if not path:
        return value or default
    if value:
        raise SettingError(f"{name} and {name}_FILE are both set; one of them is enough")
    try:
        content = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingError(f"{name}_FILE: {path} cannot be read: {error.strerror}") from None
    if not content:
        raise SettingError(f"{name}_FILE: {path} is empty")
    return content


def secrets(name: str) -> list[str]:
    """Several secrets, separated by commas, in the variable or one a line in its file."""
    return [part for line in secret(name).splitlines() for word in line.split(",") if (part := word.strip())]
