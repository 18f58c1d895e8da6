"""The one place where a name of ours or of a caller becomes part of a key."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_CALLER: Final = re.compile(r"[A-Za-z0-9_.:-]{1,200}")


def check_name(name: object, what: str = "name") -> str:
    """A configured name as it is. Raises ValueError for one that could not stand in a key as itself."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{what} is {name!r}; it takes 1 to 100 letters, digits, '_', '.' or '-'")
    return name


def caller_key(key: object) -> str:
    """What a caller named, safe inside a hash tag: as it is where it can be read, else a digest of 128 bits."""
    if not isinstance(key, str):
        raise ValueError(f"a key is a text, not {type(key).__name__}")
    if _CALLER.fullmatch(key):
        return key
    # A brace would end the hash tag, a space the log line, a million characters the server's memory.
    return "#" + blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
