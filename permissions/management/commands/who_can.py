"""who_can PERMISSION [RESOURCE]: the subjects for whom a check says yes, a line each."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from permissions import pdp
from permissions.engine.platform import PREFIX
from permissions.management.asking import AskingCommand
from permissions.models import Permission


class Command(AskingCommand):
    help = "List the subjects that may do PERMISSION to RESOURCE."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("permission", help="such as post:edit")
        parser.add_argument("resource", nargs="?", help="such as channel:9 (default: the realm itself)")
        parser.add_argument("--type", default="", help="only subjects of this type (teams are listed only if it is theirs)")
        self.add_context(parser)
        self.add_realm(parser)
        self.add_page(parser)

    def handle(self, *_: Any, permission: str, resource: str | None, **options: Any) -> None:
        attributes = self.context_of(options["context"])

        def page(after: str | None, limit: int) -> pdp.Page:
            return pdp.who_can_page(
                permission,
                resource,
                context=attributes,
                type=options["type"],
                limit=limit,
                after=after,
                realm=options["realm"],
                full=True,
            )

        if not self.print_pages(page, str, options["after"] or None, options["limit"]):
            known = Permission.objects.filter(realm__name=options["realm"], code=permission)
            if not permission.startswith(PREFIX) and not known.exists():
                # An empty list of a code that was mistyped looks like one of a code that nobody holds.
                self.stderr.write(f"there is no permission {permission!r} in realm {options['realm']!r}")
