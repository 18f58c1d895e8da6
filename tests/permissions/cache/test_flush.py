"""Flush: what an operator makes every process forget; counted first, a revision, never needed for a right answer."""

from __future__ import annotations

import io
import itertools
import re
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client

from permissions import audit, pdp, revisions, triggers
from permissions.cache import catch_up, events, flush, targets
from permissions.cache.events import Event
from permissions.cache.flush import Counted, Target, target
from permissions.errors import NotFound
from permissions.models import AuditEvent, Changelog, Realm, Subject
from permissions.writing import SYSTEM, permission_write
from resilience import telemetry
from tests.worlds import apply

WORLD = """
version: 1
realm: default
permissions: [{code: "post:read"}, {code: "post:edit"}]
roles:
  - {name: reader, permissions: ["post:read"]}
  - {name: editor, permissions: ["post:edit"]}
subjects:
  - {id: "user:alice"}
  - {id: "user:amy"}
  - {id: "user:Anna"}
  - {id: "user:bob"}
  - {id: "key:a"}
  - {id: "user:50%"}
  - {id: "user:a_b"}
teams:
  - {id: "team:inner", members: ["user:amy"]}
  - {id: "team:eng", members: ["team:inner", "user:bob"]}
resources: [{id: "server:7"}, {id: "channel:9", parent: "server:7"}, {id: "post:1", parent: "channel:9"}, {id: "server:8"}]
bindings:
  - {subject: "user:alice", role: reader}
  - {subject: "team:eng", role: editor, scope: "server:7"}
  - {subject: "user:alice", role: editor, scope: "server:8"}
  - {subject: "user:*", role: reader}
"""


def flushed(tag: str, value: str = "", **more: Any) -> flush.Flushed:
    return flush.flush("default", target(tag, value), actor=SYSTEM, **more)


def log_of(rev: int) -> list[tuple[str, str]]:
    return list(
        Changelog.objects.filter(rev=rev, realm_id=head().realm_id).order_by("object_id").values_list("kind", "object_id")
    )


def head() -> revisions.Head:
    return revisions.head("default")


IDS = ["", "a", "ab", "aba", "abab", "user:a", "user:A", "user:a*b", "u:%", "u:_", "u:[a]", "u:?", "üser:ß", "a" * 40 + "b"]
PATTERNS = [
    *("*", "**", "a", "a*", "*a", "*a*", "a*a", "ab*ab", "*b*a*", "user:*", "user:a*b", "u:%", "u:_", "u:[a]", "u:?", "ü*ß"),
    "a*" * 20 + "c",
]


class TestThePattern:
    def test_it_says_what_the_plain_reading_says(self) -> None:
        for pattern, ref in itertools.product(PATTERNS, IDS):
            plain = re.compile(".*".join(re.escape(part) for part in re.sub(r"\*+", "*", pattern).split("*")), re.DOTALL)
            if len(ref) < 20:  # the expression would take minutes for the others
                assert targets.id_pattern(pattern)(ref) == bool(plain.fullmatch(ref)), (pattern, ref)
        assert not targets.id_pattern("a*" * 100 + "c")("a" * 512)

    @pytest.mark.both_databases
    def test_the_database_reads_it_the_same_way(self, db: None) -> None:
        realm = Realm.objects.get(name="default")
        Subject.objects.filter(realm=realm).delete()
        refs = [f"u:{ref}x" for ref in IDS]
        Subject.objects.bulk_create(Subject(realm=realm, ref=ref) for ref in refs)
        for pattern in PATTERNS:
            wanted = f"u:{pattern}x"
            expected = sum(map(targets.id_pattern(wanted), refs))
            assert flush.count("default", Target("subject", wanted)).rows_subjects == expected, pattern


@pytest.mark.both_databases
@pytest.mark.django_db
class TestTheCount:
    @pytest.fixture(autouse=True)
    def _world(self) -> None:
        apply(WORLD)

    @pytest.mark.parametrize(
        ("tag", "value", "subjects", "resources"),
        [
            ("subject", "user:a*", 3, 0),
            ("subject", "user:A*", 1, 0),
            ("subject", "*a*", 7, 0),
            ("subject", "user:50%", 1, 0),
            ("subject", "user:5_%", 0, 0),
            ("subject", "nobody", 0, 0),
            ("resource", "server:*", 0, 2),
            ("role", "reader", 1, 0),
            ("role", "editor", 5, 0),  # alice; the team, its inner team, and who is in them
            ("role", "nothing", 0, 0),
            ("team", "team:eng", 4, 0),
            ("team", "team:inner", 2, 0),
            ("team", "user:bob", 0, 0),
            ("scope", "server:7", 4, 3),
            ("scope", "channel:9", 0, 2),
            ("scope", "server:8", 1, 1),
            ("all", "", 9, 4),
        ],
    )
    def test_rows_are_counted_and_nothing_is_written(self, tag: str, value: str, subjects: int, resources: int) -> None:
        before = head()
        assert flush.count("default", target(tag, value)) == Counted(subjects, resources, 0, 0)
        assert head() == before


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
class TestTheRevision:
    @pytest.fixture(autouse=True)
    def _world(self) -> None:
        apply(WORLD)

    @pytest.mark.parametrize("tag", ["subject", "resource", "role", "team", "scope"])
    def test_it_is_one_revision_with_a_token_and_one_row(self, tag: str) -> None:
        before = head()
        value = "server:7" if tag == "scope" else "team:eng" if tag == "team" else "it's*"
        done = flushed(tag, value)
        assert (done.revision, head().rev) == (before.rev + 1, before.rev + 1)
        assert head().stamp != before.stamp
        assert revisions.parse(done.token).rev == done.revision
        assert log_of(done.revision) == [("f", f"{tag}:{value}")]

    def test_all_is_the_row_that_means_everything(self) -> None:
        assert log_of(flushed("all").revision) == [("*", "")]

    def test_each_flush_is_a_revision_of_its_own(self) -> None:
        first, second = flushed("role", "editor"), flushed("role", "editor")
        assert second.revision == first.revision + 1

    def test_it_shares_the_revision_of_what_else_its_block_changes(self) -> None:
        with permission_write("default", SYSTEM) as write:
            triggers.mark(write.realm.pk, [("f", "subject:user:*"), ("f", "role:x")])
            Subject.objects.create(realm=write.realm, ref="user:new")
            triggers.mark(write.realm.pk, [("f", "role:x")])
        assert log_of(write.revision) == [("f", "role:x"), ("f", "subject:user:*"), ("s", "user:new")]
        rows = Changelog.objects.filter(rev=write.revision)
        assert len({(row.stamp, row.at) for row in rows}) == 1

    def test_rolled_back_it_never_was(self) -> None:
        before = head()
        with pytest.raises(ZeroDivisionError), permission_write("default", SYSTEM) as write:
            triggers.mark(write.realm.pk, [("f", "role:editor")])
            _ = 1 / 0
        assert head() == before
        assert not Changelog.objects.filter(kind="f").exists()

    def test_it_drowns_in_everything_and_never_hides_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with permission_write("default", SYSTEM) as write:
            triggers.mark(write.realm.pk, [("f", "role:editor")])
            triggers.mark(write.realm.pk, [("*", "")])
            triggers.mark(write.realm.pk, [("f", "role:reader")])
        assert log_of(write.revision) == [("*", "")]

    def test_more_objects_than_a_revision_holds_become_everything(self) -> None:
        from permissions.triggers import postgresql_core, sqlite

        assert postgresql_core.MAX_OBJECTS == sqlite.MAX_OBJECTS
        with permission_write("default", SYSTEM) as write:
            triggers.mark(write.realm.pk, [("f", "role:editor")])
            Subject.objects.bulk_create(
                (Subject(realm=write.realm, ref=f"user:n{i}") for i in range(sqlite.MAX_OBJECTS)), batch_size=5_000
            )
        assert log_of(write.revision) == [("*", "")]

    def test_it_is_audited_and_the_chain_holds(self) -> None:
        done = flushed("subject", "user:a*", reason="loaded wrongly", request_id="r1")
        entry = AuditEvent.objects.get(action=flush.ACTION)
        assert (entry.object_type, entry.object_id, entry.reason, entry.request_id) == (
            "cache",
            "subject:user:a*",
            "loaded wrongly",
            "r1",
        )
        assert entry.revision == done.revision
        assert entry.after == {"rows": {"subjects": 3, "resources": 0}, "memory": {"subjects": 0, "resources": 0}}
        assert audit.verify("default").first_bad is None
        call_command("verify_audit", verbosity=0)

    def test_it_is_told_as_an_event_that_names_nothing(self) -> None:
        told: list[Event] = []
        leave = events.on_own(told.append)
        happened = telemetry.Queue(prefix="cache.")
        done = flushed("role", "editor")
        leave()
        happened.close()
        assert [(event.rev, event.objects) for event in told] == [(done.revision, None)]
        assert [event.attributes["tag"] for event in happened.drain() if event.name == "cache.flushed"] == ["role"]

    def test_a_realm_that_is_not_there_is_said_so(self) -> None:
        for work in (
            lambda: flush.count("elsewhere", target("all")),
            lambda: flush.flush("elsewhere", target("all"), actor=SYSTEM),
        ):
            with pytest.raises(NotFound, match="elsewhere"):
                work()

    def test_export_and_apply_do_not_mind_it(self) -> None:
        rev = flushed("subject", "user:a*").revision
        call_command("export", stdout=(out := io.StringIO()))
        apply(out.getvalue())
        assert head().rev == rev, "the same again is no change"
        assert log_of(rev) == [("f", "subject:user:a*")]

    def test_strict_mode_takes_it(self, settings: Any) -> None:
        settings.STRICT_WRITES = True
        triggers.install(connection)
        try:
            rev = flushed("role", "editor").revision
        finally:
            settings.STRICT_WRITES = False
            triggers.install(connection)
        assert log_of(rev) == [("f", "role:editor")]


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
class TestThisProcess:
    @pytest.fixture(autouse=True)
    def _world(self) -> None:
        apply(WORLD)
        pdp.check("user:alice", "post:read")
        pdp.check("user:bob", "post:edit", "post:1")

    def held(self) -> tuple[set[str], set[str]]:
        cache = catch_up.find("default")
        assert cache is not None
        return set(cache.subjects.keys()), set(cache.resources.keys())

    @pytest.mark.parametrize(
        ("tag", "value", "subjects", "resources"),
        [
            ("subject", "user:a*", {"user:bob"}, {"post:1"}),
            ("role", "editor", set(), {"post:1"}),
            ("team", "team:eng", {"user:alice"}, {"post:1"}),
            ("scope", "server:7", {"user:alice"}, set()),
            ("resource", "post:*", {"user:alice", "user:bob"}, set()),
            ("all", "", set(), set()),
        ],
    )
    def test_it_forgets_what_was_counted_and_keeps_the_rest(
        self, tag: str, value: str, subjects: set[str], resources: set[str]
    ) -> None:
        assert self.held() == ({"user:alice", "user:bob"}, {"post:1"})
        done = flushed(tag, value)
        assert done.counted.memory_subjects == 2 - len(subjects)
        assert done.counted.memory_resources == 1 - len(resources)
        catch_up.catch_up("default")
        assert self.held() == (subjects, resources)
        assert pdp.check("user:alice", "post:read", token=done.token).allowed
        assert pdp.check("user:bob", "post:edit", "post:1", token=done.token).allowed


@pytest.mark.both_databases
class TestWhereRevisionsAreShown:
    def test_the_api_lists_it_by_its_kind(self, db: None) -> None:
        from tests.permissions.api.world import build

        cast = build()
        rev = flushed("subject", "user:a*").revision
        found = cast.alice.get("revisions/?kind=f").json["results"]
        assert [row["revision"] for row in found] == [rev]
        assert {"kind": "f", "object": "subject:user:a*"} in found[0]["changes"]

    @pytest.mark.parametrize(("language", "label"), [("en", "flush"), ("zh-hans", "清出缓存")])
    def test_the_admin_names_it_in_both_languages(self, db: None, language: str, label: str) -> None:
        from django.contrib.auth.models import User

        root = User.objects.create_superuser("root2", password="x")
        client = Client(headers={"accept-language": language})
        client.force_login(root)
        flushed("subject", "user:a*")
        page = client.get(f"/admin/permissions/realm/{Realm.objects.get(name='default').pk}/revisions/")
        assert page.status_code == 200
        text = re.sub(r"\s+", " ", page.content.decode())
        assert "subject:user:a*" in text
        assert f">{label}<" in text or f"{label} <code>" in text, text[text.index("subject:user:a*") - 200 :][:300]
