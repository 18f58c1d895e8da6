"""Texts that no bundle can be read from: each is refused with a reason, none takes the process along."""

from __future__ import annotations

import pytest

from permissions.bundle import yaml_text
from permissions.bundle.reader import MAX_CHARACTERS, read
from permissions.errors import Invalid

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "name", "line", "message"),
    [
        ("", "x.yaml", 1, "is empty; a bundle begins with 'version: 1'"),
        ("# nothing but a comment", "x.yaml", 1, "is empty"),
        ("", "x.json", 1, "is not JSON"),
        ("a: b: c", "x.yaml", 1, "is not YAML: mapping values are not allowed"),
        ("version: 1\n\tx: 1", "x.yaml", 2, "is not YAML"),
        ("version: 1\n---\nversion: 1", "x.yaml", 2, "a second document begins here"),
        ("version: 1\nx: \x07", "x.yaml", 2, "is not YAML: control characters are not allowed"),
        ('version: "\ud800"', "x.yaml", None, "contains a lone surrogate"),
        ("[" * 100_000, "x.yaml", 1, "nests deeper than 32 levels"),
        ("{a: " * 100_000, "x.yaml", 1, "nests deeper than 32 levels"),
        ("[" * 100_000, "x.json", None, "nests deeper than 32 levels"),
        ('{"a":' * 40 + "1" + "}" * 40, "x.json", None, "nests deeper than 32 levels"),
        ('{"a":' * 40 + "1" + "}" * 40, "x.yaml", None, "nests deeper than 32 levels"),
        ("a: &a [*a]", "x.yaml", 1, "the alias *a refers to what contains it"),
        ("a: *a", "x.yaml", 1, "the alias *a has no anchor above it"),
        (BOMB, "x.yaml", 7, "holds more than 2,000,000 values, aliases written out"),
        ("version: 1\n<<: {a: 1}", "x.yaml", 2, "merge keys (<<) are not read"),
        ("? [a]\n: b", "x.yaml", 1, "a key must be a text, not a list or a mapping"),
        ('{"version": 1,\n "a": NaN}', "x.json", 2, "NaN is no JSON number"),
        ('{"version": 1' + "0" * 5000 + "}", "x.json", None, "holds a number that cannot be read"),
        ('{"version": 1,}', "x.json", 1, "is not JSON"),
        ("just a text", "x.yaml", 1, "must be a mapping with keys such as 'version', not a text"),
    ],
    ids=range(22),
)
def test_it_is_refused_with_a_reason(text: str, name: str, line: int | None, message: str) -> None:
    with pytest.raises(Invalid) as refusal:
        read(text, name=name)
    [problem] = refusal.value.problems
    assert (problem.line, message in problem.message) == (line, True), problem


def test_the_size_is_bounded() -> None:
    with pytest.raises(Invalid, match=r"big\.yaml has 67,108,865 characters"):
        read(" " * (MAX_CHARACTERS + 1), name="big.yaml")


def test_aliases_are_read_where_they_are_few() -> None:
    bundle = read('version: 1\nroles:\n- {name: a, permissions: &p ["a:b"]}\n- {name: b, permissions: *p}\n', name="x")
    assert bundle.roles is not None
    assert [role.permissions[0].code for role in bundle.roles] == ["a:b", "a:b"]


@pytest.mark.parametrize("word", ["yes", "NO", "on", "Off", "010", "0x1f", "0b1", "1_000", "12:30", "12:30:45.5", "0o17"])
def test_a_word_that_means_two_things_is_refused(word: str) -> None:
    with pytest.raises(Invalid, match="means different things to YAML"):
        read(f'version: 1\nsubjects: [{{id: "user:a", attributes: {{x: {word}}}}}]', name="x")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("0", 0),
        ("-12", -12),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("-1.0e+16", -1e16),
        ("'yes'", "yes"),
        ('"010"', "010"),
        ("!!str 7", "7"),
        ("2026-01-01", "2026-01-01"),
        ("no way", "no way"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_plain_words_are_read_as_json_has_them(word: str, value: object) -> None:
    data, _, problems = yaml_text.load(f"x: {word}")
    assert problems == []
    assert data == {"x": value}
    assert type(data["x"]) is type(value)


def test_an_unknown_tag_is_refused_where_it_stands() -> None:
    with pytest.raises(Invalid, match=r"line 2, realm: the tag '!!python/name:os.system' is not known here|is not known here"):
        read("version: 1\nrealm: !!python/name:os.system x", name="x")


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read("\ufeffversion: 1", name="x").roles is None
    assert read('\ufeff{"version": 1}', name="x.json").roles is None
