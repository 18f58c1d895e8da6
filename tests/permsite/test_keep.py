"""Secrets that the site keeps for itself: made once, whoever asks first, and readable by their owner alone."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from permsite import keep


def test_a_secret_is_made_once_and_read_afterwards(tmp_path):
    path = tmp_path / "folder" / "key"
    assert keep.kept(path) == keep.kept(path) == keep.read(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_many_that_start_at_once_agree_on_one_secret(tmp_path):
    with ThreadPoolExecutor(max_workers=16) as pool:
        found = set(pool.map(lambda _: keep.kept(tmp_path / "key"), range(64)))
    assert len(found) == 1
    assert os.listdir(tmp_path) == ["key"]


def test_writing_replaces_a_file_that_others_could_read(tmp_path):
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o644)
    keep.write(path, "new")
    assert keep.read(path) == "new" and path.stat().st_mode & 0o777 == 0o600


def test_a_missing_file_reads_as_nothing(tmp_path):
    assert keep.read(tmp_path / "none") == ""
