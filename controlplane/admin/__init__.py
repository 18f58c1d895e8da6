"""The operators' plain screens: versions of the configuration, its sections, the maintenance switch."""

from controlplane.admin.revisions import ConfigRevisionAdmin

__all__ = ["ConfigRevisionAdmin"]
