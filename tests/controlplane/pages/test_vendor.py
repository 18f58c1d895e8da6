"""Scripts of others that the pages bring along are those that were taken, whole, with their licences."""

from __future__ import annotations

import hashlib
from pathlib import Path

import controlplane

VENDOR = Path(controlplane.__file__).parent / "static" / "controlplane" / "vendor"


def test_every_file_is_as_it_was_taken_and_none_is_beside_them():
    lines = (VENDOR / "SHA256SUMS").read_text().splitlines()
    expected = {name: digest for digest, name in (line.split() for line in lines)}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir() if path.name != "SHA256SUMS"}
    assert found == expected


def test_each_brings_its_licence():
    libraries = {path.name.partition(".")[0] for path in VENDOR.iterdir() if path.suffix in (".js", ".css")}
    assert libraries == {"idiomorph", "uPlot"}
    for library in libraries:
        assert (VENDOR / f"{library}.LICENSE").stat().st_size > 100
