"""Discovery: the metadata document, built from the configured public address and listing only what is offered.

Source: AuthZEN 1.0, "PDP Metadata". Nothing is taken from the request: a document built from its Host header lets whoever
sends that header steer the clients of everyone behind the same cache.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final
from urllib.parse import urlsplit

from permissions.authzen.messages import encode

WELL_KNOWN: Final = "/.well-known/authzen-configuration"
EVALUATION: Final = "/access/v1/evaluation"
EVALUATIONS: Final = "/access/v1/evaluations"
SEARCH_SUBJECT: Final = "/access/v1/search/subject"
SEARCH_RESOURCE: Final = "/access/v1/search/resource"
SEARCH_ACTION: Final = "/access/v1/search/action"
# The parameter that names each endpoint (AuthZEN 1.0, "PDP Metadata").
_PARAMETERS: Final[Mapping[str, str]] = {
    EVALUATION: "access_evaluation_endpoint",
    EVALUATIONS: "access_evaluations_endpoint",
    SEARCH_SUBJECT: "search_subject_endpoint",
    SEARCH_RESOURCE: "search_resource_endpoint",
    SEARCH_ACTION: "search_action_endpoint",
}
# Chosen: endpoints hardly ever move, and five minutes is what a client waits at most after a move.
CACHE_CONTROL: Final = "public, max-age=300"


class BadPublicUrlError(ValueError):
    """PUBLIC_URL cannot identify a decision point."""


def identifier_of(public_url: str) -> str:
    """The decision point's identifier: the public address without a trailing slash."""
    parts = urlsplit(public_url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
        raise BadPublicUrlError(
            f"PUBLIC_URL {public_url!r} must be an absolute http or https address without user, query and fragment"
        )
    return public_url.rstrip("/")


def path_of(public_url: str) -> str:
    """Where the document stands: the well-known string goes between host and path of the identifier."""
    return WELL_KNOWN + urlsplit(identifier_of(public_url)).path


def document(public_url: str, offered: Collection[str]) -> bytes:
    """`offered`: paths that the application answers; an endpoint that is none of them is not told of."""
    base = identifier_of(public_url)
    endpoints = {parameter: base + path for path, parameter in _PARAMETERS.items() if path in offered}
    return encode({"policy_decision_point": base, **endpoints})
