"""AWS managed policies → bundle: `s3:GetObject` is a code of the law already.

- AWS ignores case, the law does not: codes and patterns take the catalogue's spelling.
- A denied action is a `deny` of the role. The file does not hold the conditions of statements: a conditional denial is imported
  as an unconditional one (narrower), a conditional allowance as the file lists it, and the role's description says that it is
  wider than the policy.
- NotAction: the file does not say whether such a statement allows or denies. Read as allowing, a denial would hand out nearly
  everything; so it denies every known action but those named, save where AWS's own documentation says that the policy allows
  (`ALLOWS_ALL_BUT`): there it allows every known service and action but those named.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from permissions.bundle.specs import Bundle, RoleSpec
from permissions.engine import names
from permissions.errors import Problem
from permissions.importers.base import Converter, Progress, Record, Spelling, bundle_of, lines, records, refuse

ACTION: Final = re.compile(r"[A-Za-z0-9-]+:[A-Za-z0-9_*?-]+")
# "Provides full access to AWS services and resources, but does not allow management of Users and groups" (AWS, PowerUserAccess).
ALLOWS_ALL_BUT: Final = frozenset({"PowerUserAccess"})
CONDITIONAL: Final = "role wider than its policy: the file lists actions of conditional statements without the conditions"
NOT_ACTION_DENIES: Final = "role denying all known actions but some: a NotAction statement whose effect the file does not hold"
NOT_ACTION_ALLOWS: Final = "role that allows all known actions but some: a NotAction statement that AWS documents as allowing"


def code_of(text: str) -> Iterable[str]:
    if text != "*" and not ACTION.fullmatch(text):
        raise names.BadNameError(f"{names.shown(text)} is not written service:Action")
    return (text,)


def complement(patterns: Sequence[str], spelling: Spelling) -> list[str]:
    """Patterns and codes that match every known action but those of `patterns`: a whole service where none of it is named."""
    named = {code for pattern in patterns for code in spelling.matching(pattern)}
    rest: list[str] = []
    for service, codes in itertools.groupby(sorted(spelling.codes), key=lambda code: code.partition(":")[0]):
        actions = list(codes)
        left = [action for action in actions if action not in named]
        rest += [f"{service}:*"] if len(left) == len(actions) else left
    return rest


def load(
    data: object, *, catalogue: object = None, progress: Progress | None = None, notes: Counter[str] | None = None
) -> Bundle:
    problems: list[Problem] = []
    convert = Converter(code_of, problems)
    found = records(data, problems, notes)
    official = convert.of_catalogue(catalogue)
    keys = ("permissions", "denied", "not_actions")
    lists = [{key: convert.of(record, key) for key in keys} for record in found]
    refuse(problems)
    used = (code for of in lists for key in keys for code in of[key] if not names.is_pattern(code))
    spelling = Spelling(official, used)
    roles = []
    for number, (record, of) in enumerate(zip(found, lists, strict=True)):
        allow = [p for pattern in of["permissions"] for p in spelling.respelled(pattern)]
        deny = [p for pattern in of["denied"] for p in spelling.respelled(pattern)]
        if of["not_actions"]:
            allows = record.name in ALLOWS_ALL_BUT
            (allow if allows else deny).extend(complement(of["not_actions"], spelling))
            _note(notes, NOT_ACTION_ALLOWS if allows else NOT_ACTION_DENIES)
        if record.count("conditional_statements") and allow:
            _note(notes, CONDITIONAL)
        roles.append(RoleSpec(record.name, description=_description(record), permissions=lines(allow), deny=lines(deny)))
        if progress:
            progress(number + 1, len(found))
    refuse(problems)
    return bundle_of(roles, spelling.codes)


def _note(notes: Counter[str] | None, reason: str) -> None:
    if notes is not None:
        notes[reason] += 1


def _description(record: Record) -> str:
    parts = [f"AWS managed policy {record.text('version')}".rstrip()]
    conditional = record.count("conditional_statements")
    if conditional:
        parts.append(f"wider than the policy: {conditional} of its statements have conditions, which the file does not hold")
    if record.texts("not_actions"):
        effect = "allows" if record.name in ALLOWS_ALL_BUT else "denies"
        parts.append(f"its NotAction statement {effect} every action known at import but those it names")
    return "; ".join(parts)
