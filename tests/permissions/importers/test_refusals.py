"""A catalogue that cannot be read as it should is refused, with the role and the text that are wrong."""

from __future__ import annotations

from typing import Any

import pytest

from permissions.errors import Invalid
from permissions.importers import FORMATS


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("data", [None, [], {}, {"roles": {}}, "roles", 7])
def test_a_file_without_a_list_of_roles(name: str, data: Any) -> None:
    with pytest.raises(Invalid, match="must be a JSON object with a list of roles"):
        FORMATS[name](data)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("role", "message"),
    [
        ("r", r"roles\[0\]: must be a mapping, not a text"),
        ({"permissions": []}, r"roles\[0\].name: name must be a text, not NoneType"),
        ({"name": "", "permissions": []}, r"roles\[0\].name: name must not be empty"),
        ({"name": "a\x00b", "permissions": []}, r"roles\[0\].name: name .* contains a control character"),
        ({"name": "x" * 256, "permissions": []}, r"roles\[0\].name: name .* has 256 characters"),
        ({"name": "r", "permissions": "s3:Get"}, r"roles\[0\].permissions: must be a list of texts, not a text"),
        ({"name": "r", "permissions": [1]}, r"roles\[0\].permissions: must be a list of texts"),
        ({"name": "r", "permissions": ["nonsense"]}, r"roles\[0\].permissions\[0\]: 'nonsense' is not written"),
        ({"name": "r", "permissions": [""]}, r"roles\[0\].permissions\[0\]: '' is not written"),
    ],
    ids=range(9),
)
def test_a_role_that_is_wrong(name: str, role: Any, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        FORMATS[name]({"roles": [role]})


@pytest.mark.parametrize("name", FORMATS)
def test_two_roles_of_one_name(name: str) -> None:
    with pytest.raises(Invalid, match=r"roles\[1\].name: 'r' is the name of 2 roles"):
        FORMATS[name]({"roles": [{"name": "r", "permissions": []}, {"name": "r", "permissions": []}]})


@pytest.mark.parametrize("name", FORMATS)
def test_all_mistakes_are_named_at_once(name: str) -> None:
    with pytest.raises(Invalid) as refusal:
        FORMATS[name]({"roles": [{"name": "r", "permissions": ["nonsense", "more"]}, {"name": ""}]})
    assert {problem.where for problem in refusal.value.problems} >= {
        "roles[0].permissions[0]",
        "roles[0].permissions[1]",
        "roles[1].name",
    }


@pytest.mark.parametrize("name", FORMATS)
def test_a_catalogue_that_is_no_list_of_texts(name: str) -> None:
    with pytest.raises(Invalid, match="catalogue: must be a JSON list of texts"):
        FORMATS[name]({"roles": []}, catalogue={"a": 1})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("aws", "s3"),
        ("aws", "s3:Get Object"),
        ("aws", "a:b:c"),
        ("gcp", "storage"),
        ("gcp", "a.b.*"),
        ("gcp", "a:b.get"),
        ("azure", "P/a?/read"),
        ("azure", "/read"),
        ("kubernetes", "pods:get"),
        ("kubernetes", "core/pods"),
        ("kubernetes", "core/a:b:get"),
    ],
)
def test_a_code_that_is_not_of_the_source(name: str, text: str) -> None:
    with pytest.raises(Invalid, match=r"roles\[0\].permissions\[0\]"):
        FORMATS[name]({"roles": [{"name": "r", "permissions": [text]}]})


def test_an_included_role_that_is_not_there() -> None:
    with pytest.raises(Invalid, match=r"roles\[0\].includes\[0\]: there is no role 'x' in the file"):
        FORMATS["kubernetes"]({"roles": [{"name": "r", "permissions": [], "includes": ["x"]}]})
