"""What import-linter and ruff cannot say: rules over the syntax trees of our own code, each with a sentence why."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from permsite.version import VERSION
from resilience.operations import OPERATIONS

ROOT = Path(__file__).resolve().parent.parent
APPS = ("permissions", "permsite", "resilience", "controlplane")
Rule = Callable[[str, ast.AST], Iterator[int]]

WRITING_METHODS = {
    "save",
    "delete",
    "create",
    "update",
    "bulk_create",
    "bulk_update",
    "get_or_create",
    "update_or_create",
}


def modules(*apps: str) -> Iterator[tuple[str, ast.Module]]:
    for app in apps:
        for path in sorted((ROOT / app).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if "/migrations/" not in name:
                yield name, ast.parse(path.read_text(encoding="utf-8"), filename=name)


def broken(rule: Rule, *apps: str) -> list[str]:
    return [f"{name}:{line}" for name, tree in modules(*apps) for line in rule(name, tree)]


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an attribute chain, calls and subscripts on the way left out; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else node.attr
    if isinstance(node, ast.Call):
        return dotted(node.func)
    if isinstance(node, ast.Subscript):
        return dotted(node.value)
    return ""


def opens_a_transaction(name: str, tree: ast.AST) -> Iterator[int]:
    """One door: a second transaction would write without the realm's lock, its audit and its revision.

    The triggers are laid and the first realm is made by `migrate`, before there is a realm to lock.
    """
    if name == "permissions/writing.py" or name.startswith("permissions/triggers/"):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and dotted(node).split(".")[-1] in {"atomic", "set_autocommit"}:
            yield node.lineno


def writes_a_table(name: str, tree: ast.AST) -> Iterator[int]:
    """Only use cases write, so that nobody passes their guards by; `audit` its entries, `writing` and `triggers` the realm."""
    free = (
        "permissions/services/",
        "permissions/triggers/",
        "permissions/models/",
        "permissions/audit.py",
        "permissions/writing.py",
    )
    if name.startswith(free):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRITING_METHODS:
            on = dotted(node.func.value)
            if (
                ".objects" in on
                or "queryset" in on.lower()
                or (node.func.attr in {"save", "delete"} and not node.args and on != "super")
            ):
                yield node.lineno


def empties_a_store(name: str, tree: ast.AST) -> Iterator[int]:
    """KEYS blocks a server, FLUSHDB and clear() take what others put there: several sites may share one store."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        method, on = node.func.attr, dotted(node.func.value)
        asked = {word.value.upper() for word in node.args[:1] if isinstance(word, ast.Constant) and isinstance(word.value, str)}
        by_method = method in {"flushdb", "flushall"} or (method == "clear" and on in {"cache", "caches"})
        by_command = method == "execute_command" and asked & {"KEYS", "FLUSHDB", "FLUSHALL"}
        if by_method or by_command:
            yield node.lineno


def hides_an_own_module(name: str, tree: ast.AST) -> Iterator[int]:
    """A part of ours is there or the site is broken: an import that may fail turns a slip of the pen into a missing feature."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Try):
            continue
        caught = {dotted(part) for handler in node.handlers if handler.type for part in ast.walk(handler.type)}
        if caught & {"ImportError", "ModuleNotFoundError"}:
            yield from (inner.lineno for inner in node.body if _imports_own(inner))


def _imports_own(node: ast.stmt) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    return any(name.split(".")[0] in APPS for name in names)


def shadows_our_package(name: str, tree: ast.AST) -> Iterator[int]:
    """`permissions` is ours: DRF's module under that name would be taken for it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "rest_framework":
            yield from (node.lineno for alias in node.names if alias.name == "permissions" and alias.asname is None)


def says_nothing_of_itself(name: str, tree: ast.AST) -> Iterator[int]:
    """The first line of a module says what it is."""
    if isinstance(tree, ast.Module) and tree.body and ast.get_docstring(tree) is None:
        yield 1


RULES: list[tuple[Rule, tuple[str, ...], str, str]] = [
    (opens_a_transaction, ("permissions",), "permissions/x.py", "with transaction.atomic():\n    pass"),
    (writes_a_table, ("permissions",), "permissions/api/x.py", "Role.objects.filter(name='x').update(title='y')"),
    (writes_a_table, ("permissions",), "permissions/admin/x.py", "def f(role):\n    role.save()"),
    (empties_a_store, APPS, "permsite/x.py", "client.flushdb()"),
    (empties_a_store, APPS, "permsite/x.py", "caches['default'].clear()"),
    (empties_a_store, APPS, "permsite/x.py", "client.execute_command('KEYS', '*')"),
    (hides_an_own_module, APPS, "permsite/x.py", "try:\n    from permissions import pdp\nexcept ImportError:\n    pdp = None"),
    (shadows_our_package, APPS, "permissions/api/x.py", "from rest_framework import permissions"),
    (says_nothing_of_itself, APPS, "permsite/x.py", "VALUE = 1"),
]


@pytest.mark.parametrize(("rule", "apps"), [(r, a) for r, a, _, _ in RULES], ids=lambda v: getattr(v, "__name__", ""))
def test_no_module_breaks_a_rule(rule: Rule, apps: tuple[str, ...]) -> None:
    assert broken(rule, *apps) == [], rule.__doc__


@pytest.mark.parametrize(
    ("rule", "name", "source"), [(r, n, s) for r, _, n, s in RULES], ids=lambda v: getattr(v, "__name__", "")
)
def test_each_rule_catches_what_it_is_for(rule: Rule, name: str, source: str) -> None:
    assert list(rule(name, ast.parse(source))) != []


def test_the_import_contracts_hold() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


SCRIPTS = ROOT / "resilience" / "lua"
LAWS = ROOT / "resilience" / "laws"
KEYSPACE = {"__init__", "keyspace"}


def test_every_script_has_its_law_and_its_row_and_every_law_its_script() -> None:
    shared = {path.stem for path in SCRIPTS.glob("*prelude.lua")}
    scripts = {path.stem for path in SCRIPTS.glob("*.lua")} - shared
    assert scripts == set(OPERATIONS)
    assert scripts <= {path.stem for path in LAWS.glob("*.py")}
    for name in scripts:
        head = (SCRIPTS / f"{name}.lua").read_text().split("\nlocal ")[0]
        assert all(f"-- {word}" in head for word in ("KEYS", "ARGV", "RETURNS", "TTL", "LAW")), name


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.lua")), ids=lambda path: path.stem)
def test_a_script_keeps_the_rules_of_scripts(path: Path) -> None:
    code = re.sub(r"--.*", "", path.read_text())
    # A key made in the script would be in a slot that the cluster never looked at; a key without an end would stay for ever.
    assert not re.search(r"redis\.p?call\('(?:KEYS|SCAN|FLUSH\w+|EVAL|SELECT)'", code)
    for command in re.findall(r"redis\.p?call\('SET',([^\n]*)", code):
        assert "'PX'" in command, f"{path.stem} sets a key without a time to live"
    for argument in re.findall(r"redis\.p?call\('(?!PUBLISH|TIME)\w+',\s*([^,)]+)", code):
        assert ".." not in argument, f"{path.stem} makes the key {argument} itself"


def test_no_module_is_named_for_everything() -> None:
    vague = {"utils.py", "util.py", "common.py", "misc.py", "helpers.py"}
    assert [path for app in (*APPS, "tests") for path in (ROOT / app).rglob("*.py") if path.name in vague] == []


def test_the_version_is_one() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"] == VERSION


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:  # an unpacked archive
        return [path for app in (*APPS, "tests", "docs", "scripts") for path in (ROOT / app).rglob("*") if path.is_file()]
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_a_package_registry_or_the_machine_it_was_written_on() -> None:
    """Either would tie a clone to where it was made. Written apart, so that this file does not find itself."""
    forbidden = re.compile(
        rb"pypi\." + rb"org|files\.python" + rb"hosted|registry\." + rb"npmjs|[\s\"'`(=]/wo" + rb"rk/|/root/\.py" + rb"env"
    )
    found = [str(path.relative_to(ROOT)) for path in tracked() if forbidden.search(path.read_bytes())]
    assert found == []
