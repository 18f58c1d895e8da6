"""The job `import`: applies a bundle given as text, all of it in one write, or nothing of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from django.db import transaction
from django.utils.translation import gettext_lazy as _

from controlplane.jobs import kinds
from controlplane.jobs.context import Context
from controlplane.jobs.kinds import Kind
from controlplane.services.realms import realm_named, require_in
from controlplane.services.rights import MAINTENANCE_PAGE, OPERATE, VIEW, require
from permissions.bundle.difference import render
from permissions.bundle.reader import read
from permissions.conditions import cel
from permissions.engine import names
from permissions.services.bundles import bundle_apply
from permissions.writing import Actor

# As much as a request's body holds; larger ones are for the command `apply`.
MOST_TEXT: Final = 1_000_000
# Changes that the log names; the audit has them all.
SHOWN: Final = 50
NAMES: Final = ("bundle", "realm", "prune", "dry_run")


def arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """The bundle is read once here, so that a mistake is told to whoever sends it, and not by a job that fails."""
    kinds.only(given, NAMES, ("bundle",))
    text = kinds.text(given, "bundle", most=MOST_TEXT)
    bundle = read(text, name="bundle", conditions=cel.language())
    realm = kinds.text(given, "realm", most=names.MAX_NAME) or bundle.realm.name
    return {"bundle": text, "realm": realm, "prune": kinds.flag(given, "prune"), "dry_run": kinds.flag(given, "dry_run")}


def may(actor: Actor, given: Mapping[str, Any]) -> None:
    """Each line of it passes the guards of its own besides, as whoever asked for it."""
    require(actor, OPERATE, MAINTENANCE_PAGE)
    if actor.administrator and actor.kind != "key":
        return  # whose bundle makes the realm, too
    # What is there already is no change, which a dry run tells: of another realm only to whoever may look there. And a key, an
    # administrator's too, is one of its own realm.
    require_in(actor, VIEW, realm_named(actor, str(given["realm"])).name, MAINTENANCE_PAGE)


def shown(given: Mapping[str, Any]) -> dict[str, Any]:
    text = str(given.get("bundle", ""))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {**given, "bundle": f"{len(text):,} characters, sha256 {digest[:16]}"}


def work(context: Context) -> dict[str, Any]:
    given = context.arguments
    bundle = read(given["bundle"], name="bundle", conditions=cel.language())
    context.is_fenced = True

    def told(section: str, done: int, total: int) -> None:
        context.progress(done, total, section)

    # Around the write: what it made and the word that the run is done are committed together, so that a worker that is killed in
    # between has either done nothing, and the run is begun again, or all of it, and the run has ended.
    with transaction.atomic():
        applied = bundle_apply(
            actor=context.actor,
            bundle=bundle,
            realm_name=given["realm"],
            prune=given["prune"],
            dry_run=given["dry_run"],
            progress=told,
            reason=context.reason,
            request_id=context.request_id,
        )
        for line in render(applied.changes[:SHOWN]).splitlines():
            context.log(line)
        if len(applied.changes) > SHOWN:
            context.log(f"and {len(applied.changes) - SHOWN} changes more")
        result = {
            "changes": len(applied.changes),
            "revision": applied.revision,
            "token": applied.token,
            "dry_run": given["dry_run"],
        }
        context.check()
        context.finish(result)
    return result


KIND: Final = Kind(
    name="import",
    title=_("Import a bundle"),
    about=_("Applies a bundle, all of it in one write or nothing of it. A dry run only says what would change."),
    work=work,
    arguments=arguments,
    may=may,
    page=MAINTENANCE_PAGE,
    slot=lambda arguments: f"import:{arguments['realm']}",
    shown=shown,
)
