"""Secrets that the site makes for itself and keeps in files under its own folder, readable by their owner alone."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def random_key() -> str:
    return secrets.token_urlsafe(50)


def kept(path: Path, make: Callable[[], str] = random_key) -> str:
    """The content of the file, made on first use. Raises OSError where the folder cannot be written.

    Two processes may start at once: the file is written aside and linked into place, so that both read one and the same key.
    """
    found = read(path)
    if found:
        return found
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    write(aside, make())
    try:
        os.link(aside, path)
    except FileExistsError:
        pass
    finally:
        aside.unlink()
    return read(path)


def read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def write(path: Path, content: str) -> None:
    """Replaces the content; the mode is set at creation, so that no moment exists in which others can read it."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content + "\n")
