"""Subject: whoever asks or is granted something. Team: a subject that holds subjects and teams."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from permissions.engine import names
from permissions.models.fields import end_index, validate_attributes, validate_holder, window_constraint
from permissions.models.realm import Realm

KINDS = [("subject", _("subject")), ("team", _("team")), ("everyone", _("everyone of a type"))]


class SubjectManager(models.Manager["Subject"]):
    pass


class Subject(models.Model):
    """`ref` is `type:id`, byte-exact. Kind `everyone` is the holder `type:*` of bindings that reach all subjects of a type."""

    # No index of its own: (realm, ref) has one, and a planner without statistics would take the shorter and read the whole realm.
    realm = models.ForeignKey(Realm, on_delete=models.CASCADE, related_name="subjects", db_index=False, verbose_name=_("realm"))
    ref = models.CharField(_("id"), max_length=names.MAX_REF, validators=[validate_holder])
    kind = models.CharField(_("kind"), max_length=10, choices=KINDS, default="subject", editable=False)
    attributes = models.JSONField(_("attributes"), default=dict, blank=True, validators=[validate_attributes])
    active = models.BooleanField(_("active"), default=True)
    locked = models.BooleanField(_("locked"), default=False)
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        editable=False,
        verbose_name=_("user"),
    )

    objects = SubjectManager()

    class Meta:
        verbose_name = _("subject")
        verbose_name_plural = _("subjects")
        default_permissions = ()
        ordering: ClassVar = ["ref"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["realm", "ref"], name="subject_ref_unique"),
            models.CheckConstraint(name="subject_kind", condition=Q(kind__in=[k for k, _label in KINDS])),
            models.CheckConstraint(name="subject_ref_form", condition=Q(ref__contains=":")),
            models.CheckConstraint(
                name="subject_everyone",
                condition=(Q(kind="everyone") & Q(ref__endswith=":*")) | (~Q(kind="everyone") & ~Q(ref__endswith=":*")),
                violation_error_message=_("the id '*' means everyone of a type"),
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
    objects = TeamManager()  # type: ignore[assignment, misc]  # a narrower manager is the point of the proxy

    class Meta:
        verbose_name = _("team")
        verbose_name_plural = _("teams")
        proxy = True
        default_permissions = ()

    def save(self, **options: Any) -> None:
        self.kind = "team"
        super().save(**options)


class Membership(models.Model):
    """`member` (subject or team) belongs to `team` in [valid_from, valid_until)."""

    team = models.ForeignKey(Subject, on_delete=models.CASCADE, related_name="member_rows", verbose_name=_("team"))
    member = models.ForeignKey(Subject, on_delete=models.CASCADE, related_name="membership_rows", verbose_name=_("member"))
    valid_from = models.DateTimeField(_("valid from"), null=True, blank=True)
    valid_until = models.DateTimeField(_("valid until"), null=True, blank=True)

    class Meta:
        verbose_name = _("member")
        verbose_name_plural = _("members")
        default_permissions = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["team", "member"], name="membership_unique"),
            models.CheckConstraint(
                name="membership_not_itself",
                condition=~Q(team=F("member")),
                violation_error_message=_("a team cannot be its own member"),
            ),
            window_constraint("membership_window"),
        ]
        indexes: ClassVar = [end_index("membership_end")]

    def __str__(self) -> str:
        return f"{self.member} in {self.team}"
