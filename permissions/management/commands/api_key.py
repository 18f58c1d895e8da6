"""api_key create NAME, list, revoke NAME: the keys of enforcement points and management clients."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandParser

from permissions.engine import names
from permissions.errors import Invalid, NotFound, Refused
from permissions.management.commands.apply import FAILED, command_actor
from permissions.models import ApiKey, Realm
from permissions.models.identity import ASSERTED
from permissions.services.keys import key_create, key_revoke


class Command(BaseCommand):
    help = "Create an API key (printed alone, once), list keys, or revoke one."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="create|list|revoke")
        create = verbs.add_parser("create", help="create a key and print it; it cannot be shown again")
        create.add_argument("name", help="what the key is for, such as ci")
        create.add_argument("--subject", default=None, help="act as this subject when managing, such as service:ci")
        create.add_argument("--admin", action="store_true", help="act as an administrator when managing")
        create.add_argument(
            "--asserted",
            choices=[mode for mode, _ in ASSERTED],
            default="fill",
            help="properties a check brings override stored ones, fill gaps (default), or are ignored",
        )
        shown = verbs.add_parser("list", help="list keys, without what they are made of")
        revoke = verbs.add_parser("revoke", help="revoke the key of this name; it stops at once")
        revoke.add_argument("name")
        for verb in (create, shown, revoke):
            verb.add_argument(
                "--realm", default="default", help="the realm of the key and of its requests (default: %(default)s)"
            )
        for verb in (create, revoke):
            verb.add_argument("--reason", default="", help="why, for the audit")

    def handle(self, *_: Any, verb: str, realm: str, **options: Any) -> None:
        try:
            row = Realm.objects.filter(name=realm).first()
            if row is None:
                raise NotFound(f"there is no realm {names.shown(realm)}")
            if verb == "create":
                self._create(row, **options)
            elif verb == "list":
                self._list(row)
            else:
                self._revoke(row, options["name"], options["reason"])
        except Invalid as error:
            self.fail(*map(str, error.problems))
        except Refused as error:
            self.fail(error.detail)

    def _create(self, realm: Realm, *, name: str, subject: str | None, admin: bool, asserted: Any, reason: str, **_: Any) -> None:
        _row, plain = key_create(
            actor=command_actor("api_key"),
            realm=realm,
            name=name,
            subject=subject,
            asserted=asserted,
            is_admin=admin,
            reason=reason,
        )
        # Alone on stdout, so that a script can take it as it is.
        self.stdout.write(plain)

    def _list(self, realm: Realm) -> None:
        for key in ApiKey.objects.filter(realm=realm).select_related("subject").order_by("name", "pk"):
            acts_as = "administrator" if key.is_admin else key.subject.ref if key.subject is not None else "asks only"
            state = "alive"
            if key.valid_until is not None:
                state = f"until {key.valid_until:%Y-%m-%dT%H:%M:%SZ}"
            if key.revoked_at is not None:
                state = f"revoked {key.revoked_at:%Y-%m-%dT%H:%M:%SZ}"
            self.stdout.write("\t".join((key.name, f"ps_{key.prefix}_…", key.asserted, acts_as, state)))

    def _revoke(self, realm: Realm, name: str, reason: str) -> None:
        key = ApiKey.objects.filter(realm=realm, name=name, revoked_at__isnull=True).first()
        if key is None:
            raise NotFound(f"there is no key {names.shown(name)} in realm {names.shown(realm.name)} that could be revoked")
        key_revoke(actor=command_actor("api_key"), realm=realm, key_id=key.pk, reason=reason)
        self.stdout.write(f"revoked {name}")

    def fail(self, *lines: str) -> NoReturn:
        for line in lines:
            self.stderr.write(line)
        sys.exit(FAILED)
