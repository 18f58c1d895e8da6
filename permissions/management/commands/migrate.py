"""migrate, Django's own: it runs although triggers are missing or altered, since it is what puts them right."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate

from permissions import checks


class Command(migrate.Command):
    def check(self, *arguments: Any, **options: Any) -> None:
        with checks.healing():
            super().check(*arguments, **options)
