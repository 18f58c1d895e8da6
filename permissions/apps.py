"""permissions as an app."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate
from django.utils.translation import gettext_lazy as _

from resilience import maintenance, telemetry


class PermissionsConfig(AppConfig):
    name = "permissions"
    label = "permissions"
    verbose_name = _("permissions")  # Django takes a lazy text here
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from permissions import checks, entities, metrics, params  # noqa: F401, PLC0415 - importing registers them
        from permissions.cache import catch_up, events, figures, transactions  # noqa: PLC0415 - they need the models
        from permissions.pep import system_checks  # noqa: F401, PLC0415 - the same

        metrics.declare()
        entities.watch_users()
        telemetry.add_source(figures.samples)
        transactions.watch()

        # Whoever may end the maintenance, and mend what it is about, asks for these.
        maintenance.never(permissions=["permsite.*"])
        events.connect()
        catch_up.connect()
        pre_migrate.connect(_before_migrations, sender=self, dispatch_uid="permissions.triggers")
        post_migrate.connect(_after_migrations, sender=self, dispatch_uid="permissions.triggers")


def _before_migrations(*, using: str, plan: list[tuple[Any, bool]], **_given: object) -> None:
    from permissions import triggers  # noqa: PLC0415 - it needs the models, which an app's module may not import

    triggers.lift_for_rebuild(using, plan)


def _after_migrations(*, using: str, **_given: object) -> None:
    from permissions import triggers  # noqa: PLC0415 - it needs the models, which an app's module may not import

    triggers.keep_triggers(using)
    triggers.keep_history(using)
    triggers.keep_default_realm(using)
    triggers.link_users(using)
