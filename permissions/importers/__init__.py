"""Role catalogues of other systems → bundles. Adding one: a module here, its name below, a fixture catalogue, a docs page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from permissions.importers import aws, azure, gcp, kubernetes
from permissions.importers.base import Importer

FORMATS: Final[Mapping[str, Importer]] = {
    "aws": aws.load,
    "azure": azure.load,
    "gcp": gcp.load,
    "kubernetes": kubernetes.load,
}
