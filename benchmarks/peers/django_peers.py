"""Django's ModelBackend and django-guardian, on a database of their own on the server that ours use.

Roles are Django groups, each with the codes that its lines, groups and wildcards give. Guardian answers about objects, so there
the realm is one object (a row that exists anyway), on which each group holds its codes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.loading import copy
from benchmarks.peers.w1_side import W1Side
from benchmarks.workloads.world import ref

APP = "auth"  # of the content type that the codes belong to


class ModelBackend(W1Side):
    package = "django"
    apps: tuple[str, ...] = ()
    backend = "django.contrib.auth.backends.ModelBackend"

    def build(self, database: str = "") -> None:
        import dj_database_url  # noqa: PLC0415
        import django  # noqa: PLC0415
        from django.conf import settings  # noqa: PLC0415

        settings.configure(
            SECRET_KEY="bench",
            DATABASES={"default": dj_database_url.parse(database, conn_max_age=None)},
            INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", *self.apps],
            AUTHENTICATION_BACKENDS=[self.backend],
            ANONYMOUS_USER_NAME=None,
            USE_TZ=True,
            DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        )
        django.setup()
        from django.core.management import call_command  # noqa: PLC0415
        from django.db import connection, transaction  # noqa: PLC0415

        call_command("migrate", verbosity=0)
        with transaction.atomic(), connection.cursor() as cursor:
            self.load(cursor)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        self.users: dict[str, Any] = {}

    def load(self, cursor: Any) -> None:
        from django.contrib.auth.models import Group, Permission  # noqa: PLC0415
        from django.contrib.contenttypes.models import ContentType  # noqa: PLC0415
        from django.utils import timezone  # noqa: PLC0415

        kind = ContentType.objects.get_for_model(Group)
        Permission.objects.bulk_create(
            Permission(content_type=kind, codename=fact.code, name=fact.code) for fact in self.world.model.permissions
        )
        codes = dict(Permission.objects.filter(content_type=kind).values_list("codename", "pk"))
        Group.objects.bulk_create(Group(name=role.name) for role in self.world.model.roles)
        groups = dict(Group.objects.values_list("name", "pk"))
        self.grant(cursor, kind.pk, groups, codes)
        now = timezone.now()
        texts = ("password", "username", "first_name", "last_name", "email")
        copy(
            cursor,
            "auth_user",
            ("id", *texts, "is_staff", "is_active", "is_superuser", "date_joined"),
            ((n + 1, "", ref(n), "", "", "", False, True, False, now) for n in range(len(self.world.held))),
        )
        links = ((n + 1, groups[role]) for n, held in enumerate(self.world.held) for role in held)
        copy(cursor, "auth_user_groups", ("user_id", "group_id"), links)

    def grant(self, cursor: Any, kind: int, groups: dict[str, int], codes: dict[str, int]) -> None:
        given = self.world.codes_by_role()
        rows = ((groups[role], codes[code]) for role, held in given.items() for code in held)
        copy(cursor, "auth_group_permissions", ("group_id", "permission_id"), rows)

    def user(self, subject: str) -> Any:
        from django.contrib.auth.models import User  # noqa: PLC0415

        return User.objects.get(username=subject)

    def check(self, subject: str, code: str) -> bool:
        """On a user who is kept, as one request keeps it: only the first check of each asks the database."""
        user = self.users.get(subject)
        if user is None:
            user = self.users[subject] = self.user(subject)
        return bool(user.has_perm(f"{APP}.{code}"))

    def warm_ns(self, count: int) -> float:
        """The call alone: users and names are found before the clock starts. Each round asks the users that `answers` warmed."""
        calls: list[tuple[Callable[[str], bool], str]] = [
            (self.users[subject].has_perm, f"{APP}.{code}") for subject, code in self.questions[:count] if subject in self.users
        ]
        start = time.thread_time_ns()
        for has_perm, code in calls:
            has_perm(code)
        return (time.thread_time_ns() - start) / len(calls)

    def cold_ns(self, first: int, count: int) -> float:
        """Median of a user's first check; reading the user itself is not on the clock."""
        taken = []
        for subject, code in self.questions[first : first + count]:
            user = self.user(subject)
            start = time.perf_counter_ns()
            self.ask(user, code)
            taken.append(time.perf_counter_ns() - start)
        return statistics.median(taken)

    def ask(self, user: Any, code: str) -> bool:
        return bool(user.has_perm(f"{APP}.{code}"))

    def forget(self) -> None:
        self.users.clear()


class Guardian(ModelBackend):
    package = "django-guardian"
    apps = ("guardian",)
    backend = "guardian.backends.ObjectPermissionBackend"

    def grant(self, cursor: Any, kind: int, groups: dict[str, int], codes: dict[str, int]) -> None:
        from django.contrib.auth.models import Group  # noqa: PLC0415

        self.realm = Group.objects.get(pk=min(groups.values()))
        given = self.world.codes_by_role()
        pk = str(self.realm.pk)
        rows = ((pk, kind, groups[role], codes[code]) for role, held in given.items() for code in held)
        copy(cursor, "guardian_groupobjectpermission", ("object_pk", "content_type_id", "group_id", "permission_id"), rows)

    def check(self, subject: str, code: str) -> bool:
        """By a checker that is kept, which holds what it read; the backend makes a new one for every call."""
        from guardian.core import ObjectPermissionChecker  # noqa: PLC0415

        checker = self.users.get(subject)
        if checker is None:
            checker = self.users[subject] = ObjectPermissionChecker(self.user(subject))
        return bool(checker.has_perm(code, self.realm))

    def warm_ns(self, count: int) -> float:
        calls = [(self.users[subject].has_perm, code) for subject, code in self.questions[:count] if subject in self.users]
        realm = self.realm
        start = time.thread_time_ns()
        for has_perm, code in calls:
            has_perm(code, realm)
        return (time.thread_time_ns() - start) / len(calls)

    def ask(self, user: Any, code: str) -> bool:
        return bool(user.has_perm(f"{APP}.{code}", self.realm))
