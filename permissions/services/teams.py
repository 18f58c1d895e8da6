"""Use cases of teams and of who belongs to them."""

from __future__ import annotations

from typing import Final

from permissions import selectors
from permissions.bundle.schema import to_dict
from permissions.bundle.specs import MemberSpec, SubjectSpec, TeamSpec
from permissions.engine import names
from permissions.errors import Conflict, Escalation, NotFound
from permissions.models import Membership, Realm, RoleBinding, Subject
from permissions.services.administrators import keeps_administrator
from permissions.services.cycles import TEAMS, refuse_cycles
from permissions.services.gifts import Touch
from permissions.services.guards import require
from permissions.services.handing_out import Author, handing_out, require_cover_of_type
from permissions.services.specs import binding_spec, subject_spec, team_specs
from permissions.services.stores.rows import Item, clean, record
from permissions.services.stores.subjects import move_window, named_subjects, store_teams
from permissions.services.validation import Mistakes
from permissions.writing import Actor, Write, permission_write

PERSON: Final = "user"  # the type of whoever has an account


def team_named(realm: Realm, ref: str) -> Subject:
    row = Subject.objects.filter(realm=realm, ref=ref, kind="team").first()
    if row is None:
        raise NotFound(f"there is no team {names.shown(ref)} in realm {names.shown(realm.name)}")
    return row


def refuse_account(row: Subject, done: str) -> None:
    if row.user_id is not None:
        told = f"subject {names.shown(row.ref)} belongs to a Django account and cannot be {done}"
        raise Conflict(f"{told}; change the account instead")


def _judged(spec: TeamSpec) -> None:
    mistakes = Mistakes()
    mistakes.team(spec, "")
    mistakes.refuse()


def scopes_of_teams(realm: Realm, teams: set[str]) -> set[str]:
    """Where the teams and those above them have bindings: where a new member may gain something."""
    found = selectors.subject_facts(realm.pk, teams)
    return {binding.scope for facts in found.values() for binding in facts.bindings}


def team_create(*, actor: Actor, realm: Realm, spec: TeamSpec, reason: str = "", request_id: str = "") -> Subject:
    """A subject that was only named so far may turn out to be a team; its members then gain what was bound to that name."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        author = require(write, "team", "create")
        _judged(spec)
        row = Subject.objects.filter(realm=write.realm, ref=spec.id).first()
        if row is not None and row.kind != "subject":
            raise Conflict(f"team {names.shown(spec.id)} exists already")
        if row is not None:
            require(write, "subject", "change")  # its attributes and whether it is awake come from the team's line
            refuse_account(row, "made a team")
        before: SubjectSpec | None = None if row is None else subject_spec(row)
        return _kept(write, spec, before, row, author)


def team_update(*, actor: Actor, realm: Realm, ref: str, spec: TeamSpec, reason: str = "", request_id: str = "") -> Subject:
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        author = require(write, "team", "change")
        row = team_named(write.realm, ref)
        before = team_specs(write.realm, [row])[row.pk]
        _judged(spec)
        if spec.id != ref and Subject.objects.filter(realm=write.realm, ref=spec.id).exists():
            raise Conflict(f"subject {names.shown(spec.id)} exists already")
        return _kept(write, spec, before, row, author)


def _kept(
    write: Write, spec: TeamSpec, before: SubjectSpec | TeamSpec | None, row: Subject | None, author: Author | None
) -> Subject:
    """Stores the team. Those can gain whose membership differs, and the team itself where it wakes up or is renamed."""
    old = {m.id: m for m in before.members} if isinstance(before, TeamSpec) else {}
    new = {m.id: m for m in spec.members}
    moving = {ref for ref in old.keys() | new.keys() if old.get(ref) != new.get(ref)}
    if author is not None and names.split_ref(spec.id)[0] == PERSON and (row is None or row.kind != "team" or row.ref != spec.id):
        # A trap: what someone who means a person gives to that name later, the members would have.
        raise Escalation(f"{names.shown(spec.id)} is the name of a person; only an administrator makes a team of it")
    touch = Touch(members=moving, scopes=scopes_of_teams(write.realm, {spec.id, *([row.ref] if row is not None else [])}))
    if row is not None:
        touch.revived = {row.ref, spec.id}
    refuse_cycles(write.realm, TEAMS, {spec.id if row is None else row.ref: new})
    with keeps_administrator(write), handing_out(write, touch, author):
        item: Item[TeamSpec, Subject] = Item(spec, before, row)  # type: ignore[arg-type]  # a subject may become a team
        return store_teams(write, [item])[spec.id]


def team_delete(*, actor: Actor, realm: Realm, ref: str, reason: str = "", request_id: str = "") -> None:
    """Deletes the team with its bindings and memberships. A deny that its members had by it needs cover, as any taken away."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        author = require(write, "team", "delete")
        row = team_named(write.realm, ref)
        before = team_specs(write.realm, [row])[row.pk]
        if not row.active or row.locked:
            require_cover_of_type(write, ref, f"deleting {names.shown(ref)}, which is asleep")
        touch = Touch(holders={ref}, members={ref, *(m.id for m in before.members)})
        with keeps_administrator(write), handing_out(write, touch, author):
            for binding in RoleBinding.objects.filter(subject=row).select_related("subject", "role", "scope").order_by("pk"):
                record(write, "binding", str(binding.pk), binding_spec(binding), None)
                binding.delete()
            row.delete()
            record(write, "team", ref, before, None)


def member_add(*, actor: Actor, realm: Realm, team: str, spec: MemberSpec, reason: str = "", request_id: str = "") -> Membership:
    """Makes a subject or a team a member, or moves the window of one that is."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        author = require(write, "team", "change")
        row = team_named(write.realm, team)
        mistakes = Mistakes()
        mistakes.member(team, spec, "member")
        mistakes.refuse()
        refuse_cycles(write.realm, TEAMS, {team: [spec.id]})
        touch = Touch(members={spec.id}, scopes=scopes_of_teams(write.realm, {team}))
        with keeps_administrator(write), handing_out(write, touch, author):
            member = named_subjects(write, [spec.id])[spec.id]
            membership = Membership.objects.filter(team=row, member=member).select_related("team", "member").first()
            if membership is None:
                membership = Membership(team=row, member=member, valid_from=spec.valid_from, valid_until=spec.valid_until)
                clean(membership)
                membership.save()
                write.record("team.member_add", "team", team, None, _told(spec))
            else:
                before = MemberSpec(spec.id, membership.valid_from, membership.valid_until)
                if move_window(membership, spec):
                    write.record("team.member_change", "team", team, _told(before), _told(spec))
    return membership


def member_remove(*, actor: Actor, realm: Realm, team: str, member: str, reason: str = "", request_id: str = "") -> None:
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        author = require(write, "team", "change")
        row = team_named(write.realm, team)
        membership = Membership.objects.filter(team=row, member__ref=member).first()
        if membership is None:
            raise NotFound(f"{names.shown(member)} is no member of {names.shown(team)}")
        before = MemberSpec(member, membership.valid_from, membership.valid_until)
        with keeps_administrator(write), handing_out(write, Touch(members={member}), author):
            membership.delete()
            write.record("team.member_remove", "team", team, _told(before), None)


def _told(spec: MemberSpec) -> dict[str, object]:
    """The member as a team's line has it."""
    return {"member": to_dict(TeamSpec("", members=(spec,)))["members"][0]}
