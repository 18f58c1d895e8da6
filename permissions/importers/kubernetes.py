"""Kubernetes' bootstrap roles → bundle. The file's `permission_form` is a code of the law already: `apps/deployments/scale:get`.

- A resource's name follows an `@`; its colons are written `%3A`, since a colon ends a segment. Who may act on every resource of a
  kind may act on a named one: the named codes of the file are added where the role holds the unnamed one.
- `*/*` reaches every resource and subresource of every group and no `url:` code; `/path/*` is a prefix. Both as in the law.
- A role that is aggregated from others inherits them, and keeps as its own only what they do not give.
- Bindings of the file give access to people and are not a role catalogue's business: they are left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from permissions.bundle.specs import Bundle, RoleSpec
from permissions.engine import names
from permissions.errors import Problem
from permissions.importers.base import Converter, Progress, Record, bundle_of, lines, records, refuse

URL = "url:"


def code_of(text: str) -> Iterable[str]:
    resource, colon, verb = text.rpartition(":")
    if not colon or not resource or not verb:
        raise names.BadNameError(f"{names.shown(text)} is not written group/resource:verb or url:/path:verb")
    if resource.startswith(URL):
        return (f"{URL}{_quoted(resource.removeprefix(URL))}:{verb}",)
    kind, at, name = resource.partition("@")
    if ":" in kind or "/" not in kind:
        raise names.BadNameError(f"{names.shown(text)} is not written group/resource:verb or url:/path:verb")
    return (f"{kind}{at}{_quoted(name)}:{verb}",)


def _quoted(name: str) -> str:
    return name.replace("%", "%25").replace(":", "%3A")


def _named_codes(held: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Unnamed code → the named codes of the file that it covers."""
    named: dict[str, list[str]] = defaultdict(list)
    for code in sorted({code for codes in held.values() for code in codes}):
        resource, _, verb = code.rpartition(":")
        kind, at, _ = resource.partition("@")
        if at and not resource.startswith(URL):
            named[f"{kind}:{verb}"].append(code)
    return named


def load(
    data: object, *, catalogue: object = None, progress: Progress | None = None, notes: Counter[str] | None = None
) -> Bundle:
    problems: list[Problem] = []
    convert = Converter(code_of, problems)
    found = records(data, problems, notes)
    official = convert.of_catalogue(catalogue)
    listed = {record.name: convert.of(record, "permissions") for record in found}
    named = _named_codes(listed)
    held = {role: list(dict.fromkeys(c for code in codes for c in (code, *named[code]))) for role, codes in listed.items()}
    roles = []
    for number, record in enumerate(found):
        inherits = _inherited(record, held, notes)
        given = {code for role in inherits for code in held[role]}
        own = [code for code in held[record.name] if code not in given]
        roles.append(RoleSpec(record.name, description=_description(record), inherits=inherits, permissions=lines(own)))
        if progress:
            progress(number + 1, len(found))
    refuse(problems)
    if notes is not None and isinstance(data, Mapping) and data.get("bindings"):
        notes["binding left out: a role catalogue gives nobody anything"] = len(data["bindings"])
    codes = {code for codes in held.values() for code in codes if not names.is_pattern(code)}
    return bundle_of(roles, None if catalogue is None else codes | set(official))


def _inherited(record: Record, held: Mapping[str, list[str]], notes: Counter[str] | None) -> tuple[str, ...]:
    """The aggregated roles that give nothing but what the role lists itself; inheriting another would widen it."""
    inherits = []
    for place, name in enumerate(record.texts("includes")):
        if name not in held:
            record.note(f"includes[{place}]", f"there is no role {names.shown(name)} in the file")
        elif set(held[name]) <= set(held[record.name]):
            inherits.append(name)
        elif notes is not None:
            notes["role that lists less than a role it includes: not inherited, its own list holds"] += 1
    return tuple(dict.fromkeys(inherits))


def _description(record: Record) -> str:
    namespace = record.text("namespace")
    kind = record.text("kind") or "role"
    return f"Kubernetes {kind} of namespace {namespace}" if namespace else f"Kubernetes {kind}"
