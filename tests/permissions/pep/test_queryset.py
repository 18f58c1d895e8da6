"""What a filtered queryset is: lazy, as new as its execution, whole or refused, and never a grant that no revision made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection, models
from django.db.models import Value
from django.db.models.functions import Concat, Lower
from django.test.utils import CaptureQueriesContext

from permissions import pdp
from permissions.entities import ResourceRef
from permissions.pep import decisions, queryset
from permissions.pep.queryset import permitted
from tests.permissions.pep.rows import Blog, Message, Note, Post
from tests.worlds import apply

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("rows")]

WORLD = """
permissions: [{code: "post:view"}, {code: "post:edit"}, {code: "note:view"}]
subjects: [{id: "user:alice"}, {id: "user:bob"}]
resources:
  - {id: "blog:1"}
  - {id: "blog:2"}
  - {id: "post:1", parent: "blog:1"}
  - {id: "post:2", parent: "blog:1"}
  - {id: "post:3", parent: "blog:2"}
bindings:
  - {subject: "user:alice", allow: ["post:view"], scope: "blog:1"}
  - {subject: "user:bob", allow: ["post:view"]}
  - {subject: "user:bob", deny: ["post:view"], scope: "blog:2"}
"""


@pytest.fixture(autouse=True)
def _world(rows: None) -> None:
    apply(WORLD)
    Post.objects.bulk_create([Post(pk=n, title=f"Post{n}") for n in range(1, 6)])


def seen(who: str, **options: Any) -> list[int]:
    return [post.pk for post in Post.objects.permitted(who, "post:view", **options)]


def test_it_answers_as_new_as_it_is_run() -> None:
    kept = Post.objects.permitted("user:alice", "post:view", full=True)
    assert [post.pk for post in kept.all()] == [1, 2]
    apply('bindings: [{subject: "user:alice", deny: ["post:view"], scope: "post:2"}]')
    assert [post.pk for post in kept.all()] == [1]


def test_making_it_asks_nothing() -> None:
    with CaptureQueriesContext(connection) as queries:
        Post.objects.permitted("user:alice", "post:view").filter(title="x").order_by("title")[:3]
    assert len(queries) == 0


def test_it_goes_together_with_whatever_querysets_do() -> None:
    rows = Post.objects.permitted("user:bob", "post:view")
    assert rows.count() == 4
    assert rows.exists()
    assert rows.filter(pk__gt=2).values_list("pk", flat=True).first() == 4
    assert list(Post.objects.exclude(pk__in=rows).values_list("pk", flat=True)) == [3]
    assert list((rows | Post.objects.filter(pk=3)).distinct().values_list("pk", flat=True)) == [1, 2, 3, 4, 5]
    assert rows.permitted("user:alice", "post:view").count() == 2
    assert rows.update(title="x") == 4
    assert Post.objects.get(pk=3).title == "Post3"
    assert rows.filter(pk=3).delete()[0] == 0
    assert [post.pk for post in rows.iterator()] == [1, 2, 4, 5]
    assert rows.aggregate(most=models.Max("pk"))["most"] == 5


def test_it_may_be_awaited() -> None:
    async def asked() -> list[int]:
        return [post.pk async for post in Post.objects.permitted("user:alice", "post:view")]

    assert async_to_sync(asked)() == [1, 2]


def test_nobody_in_particular_sees_nothing_and_nothing_is_asked() -> None:
    with CaptureQueriesContext(connection) as queries:
        assert list(Post.objects.permitted(AnonymousUser(), "post:view")) == []
        assert list(Post.objects.permitted(User(username="bob"), "post:view")) == []
        assert list(Post.objects.permitted(User(pk=7, username="*"), "post:view")) == []
    assert len(queries) == 0
    assert seen("user:nobody") == []


def test_an_account_is_its_subject_and_a_superuser_sees_all_but_what_is_denied() -> None:
    bob = User.objects.create_user("bob")
    assert list(Post.objects.permitted(bob, "post:view", full=True).values_list("pk", flat=True)) == [1, 2, 4, 5]
    root = User.objects.create_superuser("root")
    assert Post.objects.permitted(root, "post:view", full=True).count() == 5
    assert Post.objects.permitted(root, "post:nobody-knows", full=True).count() == 5
    assert seen("user:root", full=True) == [], "a subject that is only named is held to what pdp.check says"
    apply('bindings: [{subject: "user:root", deny: ["post:view"], scope: "post:2"}]')
    assert Post.objects.permitted(root, "post:view", full=True).count() == 4
    bob.is_active = False
    bob.save()
    assert Post.objects.permitted(bob, "post:view", full=True).count() == 0


def test_another_realm_has_rules_of_its_own() -> None:
    apply('realm: shop\npermissions: [{code: "post:view"}]\nbindings: [{subject: "user:alice", allow: ["post:view"]}]')
    assert seen("user:alice", realm="shop") == [1, 2, 3, 4, 5]
    with pytest.raises(pdp.InvalidRequestError, match="no realm"):
        seen("user:alice", realm="nowhere")


@pytest.mark.parametrize("most", [1_000, 0])
@pytest.mark.parametrize(
    ("change", "who", "expected"),
    [
        # What is moved below what was granted, after the grant was judged, was never both at once.
        ('resources: [{id: "post:3", parent: "blog:1"}]', "user:alice", [1, 2]),
        ('resources: [{id: "post:2", parent: "blog:2"}]', "user:alice", [1]),
        ('resources: [{id: "blog:2", parent: "blog:1"}]', "user:alice", [1, 2]),
        ('resources: [{id: "post:4", parent: "blog:1"}]', "user:alice", [1, 2]),
        # Nor is what was moved away from a deny allowed by it.
        ('resources: [{id: "post:3", parent: "blog:1"}]', "user:bob", [1, 2, 4, 5]),
        ('resources: [{id: "post:1", parent: "blog:2"}]', "user:bob", [2, 4, 5]),
        ('resources: [{id: "post:1", parent: "blog:1", inherit: false}]', "user:alice", [2]),
    ],
)
def test_what_moves_while_the_query_is_made_is_left_out(
    change: str, who: str, expected: list[int], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = decisions.rule
    monkeypatch.setattr(queryset, "MOST_LISTED", most)

    def late(*given: Any, **options: Any) -> Any:
        found = judge(*given, **options)
        apply(change)
        return found

    monkeypatch.setattr(decisions, "rule", late)
    assert seen(who) == expected


def test_a_model_that_sql_cannot_name_is_refused_and_says_why() -> None:
    class Clever(models.Model):
        at = models.DateField()
        permission_resource = property(lambda self: f"clever:{self.pk}")

        class Meta:
            app_label = "pep_tests"

        def __str__(self) -> str:
            return "clever"

    rows: Any = Clever._default_manager.all()
    with pytest.raises(TypeError, match="ResourceRef"):
        permitted(rows, "user:alice", "post:view")
    with pytest.raises(TypeError, match="DateField"):
        permitted(rows, "user:alice", "post:view", resource="clever:{at}")
    with pytest.raises(TypeError, match="no field 'gone'"):
        permitted(rows, "user:alice", "post:view", resource="clever:{gone}")
    with pytest.raises(TypeError, match="no single row"):
        permitted(Post.objects.all(), "user:alice", "post:view", resource="post:{title__x}")
    with pytest.raises(pdp.InvalidRequestError, match="resource_type:action"):
        permitted(Post.objects.all(), "user:alice", "view")
    with pytest.raises(pdp.InvalidRequestError, match="type:id"):
        permitted(Post.objects.all(), "alice", "post:view")


def test_a_name_may_be_an_expression() -> None:
    rows = Post.objects.annotate(name=Concat(Value("n-"), Lower("title")))
    apply('bindings: [{subject: "user:alice", allow: ["note:view"], scope: "note:n-post4"}]\nresources: [{id: "note:n-post4"}]')
    found = rows.permitted("user:alice", "note:view", resource=ResourceRef("note:{name}"), full=True)
    assert [post.pk for post in found] == [4]


def test_while_no_decision_can_be_given_it_raises_and_is_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> Any:
        raise pdp.Unavailable("the database does not answer")

    rows = Post.objects.permitted("user:alice", "post:view")
    monkeypatch.setattr(pdp, "permitted", away)
    for run in (list, models.QuerySet.count, models.QuerySet.exists):
        with pytest.raises(pdp.Unavailable):
            run(rows.all())


@pytest.mark.parametrize("who", ["user:alice", "user:bob"])
def test_the_query_grows_with_what_is_held_and_not_with_the_table(who: str) -> None:
    pdp.check(who, "post:view")

    def size() -> tuple[int, int]:
        with CaptureQueriesContext(connection) as queries:
            found = len(seen(who))
        assert found
        return len(queries), max(len(query["sql"]) for query in queries)

    before = size()
    apply(
        "resources:\n"
        + "\n".join(f'  - {{id: "post:{n}", parent: "blog:{1 if who == "user:alice" else 2}"}}' for n in range(10, 1_500))
    )
    pdp.check(who, "post:view", full=True)
    after = size()
    assert after[0] <= before[0] + 1
    assert after[1] < 4_000, "1,490 ids would be longer"


def test_a_text_key_is_compared_byte_by_byte() -> None:
    Note.objects.bulk_create([Note(pk=key) for key in ("a", "A", "ä")])
    apply('bindings: [{subject: "user:alice", allow: ["note:view"], scope: "note:a"}]\nresources: [{id: "note:a"}]')
    assert [note.pk for note in Note.objects.permitted("user:alice", "note:view", full=True)] == ["a"]


def test_a_row_whose_name_is_empty_is_allowed_to_nobody() -> None:
    Message.objects.bulk_create([Message(channel=1), Message(channel=None)])
    assert Message.objects.permitted("user:bob", "post:view").count() == 1
    assert permitted(Post.objects.all(), "user:bob", "post:view", resource="blog:{blog}").count() == 0
    Post.objects.filter(pk=1).update(blog=Blog._default_manager.create(pk=9, slug="x"))
    assert permitted(Post.objects.all(), "user:bob", "post:view", resource="blog:{blog}").count() == 1
    assert permitted(Post.objects.all(), "user:bob", "post:view", resource="blog:{blog__slug}").count() == 1


CASES: list[Callable[[], object]] = [
    lambda: ResourceRef("post"),
    lambda: ResourceRef("post:7"),
    lambda: ResourceRef("{pk}"),
    lambda: ResourceRef("po*t:{pk}"),
    lambda: ResourceRef("post:{pk:>5}"),
    lambda: ResourceRef("post:{pk"),
    lambda: ResourceRef("post:{}"),
    lambda: ResourceRef("post:{a.b}"),
]


@pytest.mark.parametrize("make", CASES)
def test_a_template_that_is_written_wrong_is_told_at_once(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        make()
