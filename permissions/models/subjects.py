"""Subject: whoever asks or is granted something. Team: a subject that holds subjects and teams."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from permissions.engine import names
from permissions.models.fields import validate_attributes, validate_holder, window_constraint
from permissions.models.realm import Realm

KINDS = [("subject", "subject"), ("team", "team"), ("everyone", "everyone of a type")]


class SubjectManager(models.Manager["Subject"]):
    pass


class Subject(models.Model):
    """`ref` is `type:id`, byte-exact. Kind `everyone` is the holder `type:*` of bindings that reach all subjects of a type."""

    realm = models.ForeignKey(Realm, on_delete=models.CASCADE, related_name="subjects")
    ref = models.CharField("id", max_length=names.MAX_REF, validators=[validate_holder])
    kind = models.CharField(max_length=10, choices=KINDS, default="subject", editable=False)
    attributes = models.JSONField(default=dict, blank=True, validators=[validate_attributes])
    active = models.BooleanField(default=True)
    locked = models.BooleanField(default=False)
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="+", editable=False
    )

    objects = SubjectManager()

    class Meta:
        default_permissions = ()
        ordering: ClassVar = ["ref"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["realm", "ref"], name="subject_ref_unique"),
            models.CheckConstraint(name="subject_kind", condition=Q(kind__in=[k for k, _ in KINDS])),
            models.CheckConstraint(name="subject_ref_form", condition=Q(ref__contains=":")),
            models.CheckConstraint(
                name="subject_everyone",
                condition=(Q(kind="everyone") & Q(ref__endswith=":*")) | (~Q(kind="everyone") & ~Q(ref__endswith=":*")),
                violation_error_message="the id '*' means everyone of a type",
            ),
        ]

    def __str__(self) -> str:
        return self.ref

    @property
    def type(self) -> str:
        return names.split_ref(self.ref)[0]


class TeamManager(models.Manager["Team"]):
    def get_queryset(self) -> models.QuerySet[Team]:
        return super().get_queryset().filter(kind="team")


class Team(Subject):
    objects = TeamManager()  # type: ignore[assignment]  # a narrower manager is the point of the proxy

    class Meta:
        proxy = True
        default_permissions = ()

    def save(self, **options: Any) -> None:
        self.kind = "team"
        super().save(**options)


class Membership(models.Model):
    """`member` (subject or team) belongs to `team` in [valid_from, valid_until)."""

    team = models.ForeignKey(Subject, on_delete=models.CASCADE, related_name="member_rows")
    member = models.ForeignKey(Subject, on_delete=models.CASCADE, related_name="membership_rows")
    valid_from = models.DateTimeField(null=True, blank=True)
    valid_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["team", "member"], name="membership_unique"),
            models.CheckConstraint(
                name="membership_not_itself",
                condition=~Q(team=F("member")),
                violation_error_message="a team cannot be its own member",
            ),
            window_constraint("membership_window"),
        ]

    def __str__(self) -> str:
        return f"{self.member} in {self.team}"
