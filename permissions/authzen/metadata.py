"""Discovery: the metadata document, built from the configured public address and listing only what is offered.

Source: AuthZEN 1.0, "PDP Metadata". Nothing is taken from the request: a document built from its Host header lets whoever
sends that header steer the clients of everyone behind the same cache.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from permissions.authzen.messages import encode

WELL_KNOWN: Final = "/.well-known/authzen-configuration"
EVALUATION: Final = "/access/v1/evaluation"
EVALUATIONS: Final = "/access/v1/evaluations"
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


def document(public_url: str) -> bytes:
    base = identifier_of(public_url)
    return encode(
        {
            "policy_decision_point": base,
            "access_evaluation_endpoint": base + EVALUATION,
            "access_evaluations_endpoint": base + EVALUATIONS,
        }
    )
