"""controlplane as an app: seals its rows, names what is never behind the maintenance switch, and who writes it."""

from __future__ import annotations

from typing import Any, Final

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _

from controlplane import metrics
from resilience import maintenance
from resilience.registry import control

# Whoever would end a maintenance must get there, and whoever watches the site must see that it is one.
NEVER_PATHS: Final = (
    "/admin",
    "/static",
    "/i18n",
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/v1/maintenance",
    "/api/v1/system",
)


class ControlPlaneConfig(AppConfig):
    name = "controlplane"
    label = "controlplane"
    verbose_name = _("control plane")  # Django takes a lazy text here
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        metrics.declare()
        # They need the models.
        from controlplane.live import audited  # noqa: PLC0415
        from controlplane.services import alert_settings, forces  # noqa: F401, PLC0415 - the first: its parameters
        from controlplane.services.control import action_record, section_edit  # noqa: PLC0415
        from controlplane.services.maintenance import write_as_system  # noqa: PLC0415
        from permissions.writing import on_recorded  # noqa: PLC0415

        post_migrate.connect(_after_migrations, sender=self, dispatch_uid="controlplane.seal")
        maintenance.never(paths=NEVER_PATHS)  # the permissions are named by the app that has them
        maintenance.set_writer(write_as_system)
        control.set_writer(section_edit)
        control.set_audit(action_record)
        forces.connect()
        on_recorded(audited.tell)


def _after_migrations(*, using: str, **_given: Any) -> None:
    from controlplane import seal  # noqa: PLC0415 - as above
    from controlplane.alerts import shipped  # noqa: PLC0415 - as above

    seal.install(connections[using])
    shipped.ensure(using)
