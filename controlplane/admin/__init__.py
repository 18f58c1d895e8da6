"""The operators' plain screens: versions of the configuration, its sections."""

from django.contrib import admin
from django_tasks_db.models import DBTaskResult

from controlplane.admin.revisions import ConfigRevisionAdmin

__all__ = ["ConfigRevisionAdmin"]

# The queue's own list asks nobody's permission of ours, and shows arguments: jobs have their page.
if admin.site.is_registered(DBTaskResult):
    admin.site.unregister(DBTaskResult)
