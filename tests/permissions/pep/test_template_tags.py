"""`{% can %}` and `{% if_can %}`: what a page shows, and that it never breaks."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.template import Context, Template, TemplateSyntaxError

from permissions import pdp
from tests.permissions.pep.rows import Post
from tests.permissions.pep.world import WORLD
from tests.worlds import apply

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def alice() -> User:
    apply(WORLD)
    return User.objects.create_user("alice")


def shown(text: str, **names: Any) -> str:
    return Template("{% load permissions %}" + text).render(Context(names))


def test_the_answer_is_a_variable_or_a_text(alice: User) -> None:
    text = '{% can "post:edit" post as ok %}{% if ok %}yes{% else %}no{% endif %}'
    assert shown(text, user=alice, post=Post(pk=7)) == "yes"
    assert shown(text, user=alice, post=Post(pk=8)) == "no"
    assert shown('{% can "post:view" %}', user=alice) == "True"
    assert shown('{% can "post.view" %}', user=alice) == "True"


def test_the_block_shows_one_of_two_parts(alice: User) -> None:
    text = "{% if_can code post %}edit{% else %}read{% endif_can %}"
    assert shown(text, user=alice, code="post:edit", post="post:7") == "edit"
    assert shown(text, user=alice, code="post:edit", post="post:8") == "read"
    assert shown('{% if_can "post:view" %}x{% endif_can %}', user=AnonymousUser()) == ""
    assert (
        shown(
            '{% for p in posts %}{% if_can "post:edit" p %}{{ p.pk }}{% endif_can %}{% endfor %}', user=alice, posts=[Post(pk=7)]
        )
        == "7"
    )


def test_the_user_of_the_request_is_asked_about_where_the_page_names_none(alice: User, rf: Any) -> None:
    request = rf.get("/")
    request.user = alice
    assert shown('{% can "post:view" %}', request=request) == "True"


def test_another_realm_may_be_named(alice: User) -> None:
    assert shown('{% can "post:view" realm="shop" %}', user=alice) == "False"
    apply('realm: shop\npermissions: [{code: "post:view"}]\nbindings: [{subject: "user:alice", allow: ["post:view"]}]')
    assert shown('{% can "post:view" realm="shop" %}', user=alice) == "True"


@pytest.mark.parametrize(
    "text",
    [
        '{% can "post:view" gone %}',
        '{% can "post:view" user.gone %}',
        '{% can "post:view" "" %}',
        '{% can "post:view" empty %}',
        '{% can "post:view" unsaved %}',
        '{% can "post:view" "post:*" %}',
        "{% can gone %}",
        "{% can seven %}",
        '{% can "post" %}',
        '{% can "post:*" %}',
        '{% can "post:view" realm=seven %}',
        '{% can "post:print" %}',
    ],
)
def test_whatever_is_missing_or_wrong_is_a_no_and_never_the_realm(text: str, alice: User) -> None:
    assert shown(text, user=alice, empty=None, unsaved=Post(), seven=7) == "False"
    assert shown('{% can "post:view" %}') == "False"


def test_a_fault_is_a_no_and_is_logged(alice: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object, **__: object) -> Any:
        raise RuntimeError("out of order")

    monkeypatch.setattr(pdp, "decide", broken)
    assert shown('{% can "post:view" %}', user=alice) == "False"
    assert "out of order" in caplog.text


def test_a_page_rendered_on_the_event_loop_does_not_break(alice: User) -> None:
    async def rendered() -> str:
        return shown('{% can "post:view" %}', user=alice)

    assert async_to_sync(rendered)() in {"True", "False"}


@pytest.mark.parametrize("text", ["{% can %}", "{% can a b c %}", "{% can a realm=b realm=c %}", "{% if_can %}x{% endif_can %}"])
def test_a_tag_that_is_written_wrong_is_told_at_once(text: str) -> None:
    with pytest.raises(TemplateSyntaxError):
        shown(text)
