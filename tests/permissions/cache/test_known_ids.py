"""Known ids: no id that a row names is ever called unknown; whatever is let through in error is little, and said."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.utils.safestring import mark_safe
from hypothesis import given
from hypothesis import strategies as st

from permissions.cache import known_ids
from permissions.cache.known_ids import KnownIds, capacity_for, load
from permissions.errors import NotFound
from permissions.models import ApiKey, Changelog, Membership, Realm, Resource, RoleBinding, Subject
from permissions.revisions import head
from permissions.writing import SYSTEM, permission_write
from tests.permissions.acme import Acme
from tests.permissions.triggers.threads import PATIENCE_S, in_thread

committed = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
ODD = ("user:Ł", "user:ﬁ", "user:\U0001f9ea", "dévice:é:7", "user:" + "x" * 500, "user:%", "user:'; --", "user:a b")


@given(st.lists(st.text(alphabet=st.characters(), max_size=40)))
def test_whatever_was_added_is_known(refs: list[str]) -> None:
    known = KnownIds(16, refs)
    assert all(ref in known for ref in refs)
    assert len(known) <= len(set(refs))


def test_an_id_is_known_from_the_moment_it_is_added_whoever_adds_meanwhile() -> None:
    known = KnownIds(40_000)
    wrong: list[str] = []
    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads change in the middle of everything
    try:

        def add(name: int) -> None:
            for number in range(5_000):
                ref = f"user:{name}:{number}"
                known.add(ref)
                if ref not in known or f"user:{name}:0" not in known:
                    wrong.append(ref)

        threads = [threading.Thread(target=add, args=(name,)) for name in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    assert wrong == []
    assert all(f"user:{name}:{number}" in known for name in range(6) for number in range(5_000))


def test_a_full_filter_lets_little_through_and_says_how_much() -> None:
    known = KnownIds(20_000, (f"user:{number}" for number in range(20_000)))
    let_through = sum(f"user:nobody:{number}" in known for number in range(50_000)) / 50_000
    assert let_through < 0.01  # 0.4 % is planned
    assert known.error_rate == pytest.approx(let_through, abs=0.002)


def test_with_room_to_grow_a_million_ids_take_less_than_two_megabytes() -> None:
    assert KnownIds(capacity_for(1_000_000)).size_bytes < 1_900_000


def test_a_crowded_filter_says_so_and_still_knows_every_id() -> None:
    known = KnownIds(100)
    refs = [f"resource:{number}" for number in range(5_000)]
    for ref in refs:
        known.add(ref)
    assert known.is_crowded
    assert all(ref in known for ref in refs)
    assert known.error_rate > 0.5


def test_the_same_id_again_takes_no_room() -> None:
    known = KnownIds(10)
    for _ in range(1_000):
        known.add("user:ann")
    assert len(known) == 1
    assert not known.is_crowded


def test_an_empty_filter_knows_nothing() -> None:
    known = KnownIds(1)
    assert "user:ann" not in known
    assert known.error_rate == 0.0


class _Liar(str):
    """A text that hashes otherwise than its equal."""

    def __hash__(self) -> int:
        return 7


def test_a_text_of_another_class_is_the_text() -> None:
    known = KnownIds(10, [_Liar("user:ann"), mark_safe("user:bob")])
    assert "user:ann" in known
    assert mark_safe("user:ann") in known
    assert _Liar("user:bob") in known
    assert _Liar("user:nobody") not in known


@pytest.mark.parametrize("capacity", [0, -1, True, 1.5, float("nan"), float("inf"), "5", None, 1 << 33])
def test_a_capacity_that_cannot_be_is_refused(capacity: Any) -> None:
    with pytest.raises(ValueError, match="capacity is "):
        KnownIds(capacity)


@pytest.mark.parametrize("ref", [None, 7, b"user:ann", ("user:ann",), ["user:ann"]])
def test_what_is_no_text_is_refused_and_adds_nothing(ref: Any) -> None:
    known = KnownIds(10)
    with pytest.raises(TypeError, match="an id is a text, not "):
        known.add(ref)
    with pytest.raises(TypeError, match="an id is a text, not "):
        assert ref in known
    assert len(known) == 0


def test_one_text_is_not_taken_for_a_collection_of_its_letters() -> None:
    with pytest.raises(TypeError, match="ids is one text"):
        KnownIds(10, "user:ann")


@pytest.mark.parametrize("send", [pickle.dumps, copy.deepcopy], ids=["pickle", "copy"])
def test_it_refuses_to_travel_to_where_texts_hash_otherwise(send: Any) -> None:
    with pytest.raises(TypeError, match="another process hashes texts otherwise"):
        send(KnownIds(10))


def named(realm: Realm) -> tuple[set[str], set[str]]:
    """Subjects and resources that any row of the realm names, found by another way than the filter's."""
    subjects = {*Subject.objects.filter(realm=realm).values_list("ref", flat=True)}
    subjects |= {*RoleBinding.objects.filter(realm=realm).values_list("subject__ref", flat=True)}
    subjects |= {*Membership.objects.filter(team__realm=realm).values_list("team__ref", flat=True)}
    subjects |= {*Membership.objects.filter(team__realm=realm).values_list("member__ref", flat=True)}
    subjects |= {*ApiKey.objects.filter(realm=realm, subject__isnull=False).values_list("subject__ref", flat=True)}
    resources = {*Resource.objects.filter(realm=realm).values_list("ref", flat=True)}
    resources |= {*RoleBinding.objects.filter(realm=realm, scope__isnull=False).values_list("scope__ref", flat=True)}
    return {ref for ref in subjects if not ref.endswith(":*")}, resources


def world() -> Acme:
    acme = Acme().people().tree()
    for ref in ODD:
        acme.subject(ref)
        acme.resource(ref)
    acme.binding("user:*", allow=("post:read",))
    acme.binding("team:eng", allow=("post:read",), scope="channel:9")
    other = Acme("other")
    other.subject("user:of-another-realm")
    other.resource("server:of-another-realm")
    return acme


class TestLoading:
    pytestmark = committed

    def test_every_id_that_a_row_names_is_known_at_the_revision_of_the_head(self) -> None:
        acme = world()
        rev, subjects, resources = load(acme.realm.pk)
        named_subjects, named_resources = named(acme.realm)
        assert rev == head("acme").rev
        assert len(named_subjects) > 8
        assert [ref for ref in named_subjects if ref not in subjects] == []
        assert [ref for ref in named_resources if ref not in resources] == []
        # Exactly those, so neither another realm's nor `type:*`.
        assert (len(subjects), len(resources)) == (len(named_subjects), len(named_resources))
        assert "user:*" not in subjects

    def test_the_subjects_of_users_are_known(self) -> None:
        get_user_model().objects.create_user("zoë")
        _, subjects, _ = load(Realm.objects.get(name="default").pk)
        assert "user:zoë" in subjects

    def test_an_id_that_appears_while_loading_is_known_or_named_by_a_later_revision(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(known_ids, "PART", 2)
        acme = world()
        made: list[str] = []

        def work() -> None:
            with permission_write("acme", SYSTEM) as write:
                ref = f"user:late{len(made)}"
                Subject.objects.create(realm=write.realm, ref=ref)
                Resource.objects.create(realm=write.realm, ref=ref)
            made.append(ref)

        with ThreadPoolExecutor(1) as pool:
            built_rev, subjects, resources = load(
                acme.realm.pk, report=lambda _done, _total: in_thread(pool, work).result(PATIENCE_S)
            )
        assert len(made) > 4
        later = Changelog.objects.filter(realm_id=acme.realm.pk, rev__gt=built_rev)
        for known, kinds, rows in ((subjects, ("s", "t"), named(acme.realm)[0]), (resources, ("r",), named(acme.realm)[1])):
            before = {ref for ref in rows if ref in known}
            after = {*later.filter(kind__in=kinds).values_list("object_id", flat=True)}
            assert {*made} <= rows == before | after
        # One snapshot: what came while it was read is in none of the two, so that the revision says the truth.
        assert (len(subjects), len(resources)) == (len(named(acme.realm)[0]) - len(made), len(named(acme.realm)[1]) - len(made))

    def test_progress_is_told_and_its_error_ends_the_work_and_leaves_the_connection_well(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(known_ids, "PART", 2)
        acme = world()
        told: list[tuple[int, int]] = []
        load(acme.realm.pk, report=lambda done, total: told.append((done, total)))
        total = sum(map(len, named(acme.realm)))
        assert told[-1] == (total, total)
        assert [done for done, _ in told] == sorted(done for done, _ in told)

        def stop(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            load(acme.realm.pk, report=stop)
        assert not connection.in_atomic_block
        acme.subject("user:after")
        assert "user:after" in load(acme.realm.pk)[1]

    def test_inside_an_open_transaction_nothing_is_loaded(self) -> None:
        acme = world()
        with transaction.atomic(), pytest.raises(RuntimeError, match="open transaction"):
            load(acme.realm.pk)

    def test_a_realm_that_is_not_there_is_not_found(self) -> None:
        with pytest.raises(NotFound, match="no realm with the number 987654"):
            load(987654)


@pytest.mark.django_db(transaction=True)
def test_rows_are_read_through_a_cursor_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL; SQLite reads row by row anyway."""
    monkeypatch.setattr(known_ids, "PART", 2)
    acme = world()
    names: set[str] = set()

    def look(_done: int, _total: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM pg_cursors")
            names.update(name for (name,) in cursor.fetchall())

    load(acme.realm.pk, report=look)
    assert any(name.startswith("_django_curs") for name in names)
