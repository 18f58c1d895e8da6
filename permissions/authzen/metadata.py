"""Discovery: the metadata document, built from the configured public address and listing only what is offered.

Source: AuthZEN 1.0, "PDP Metadata". Nothing is taken from the request: a document built from its Host header lets whoever
sends that header steer the clients of everyone behind the same cache.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from permissions.authzen.messages import encode
from permissions.authzen.ports import Signer

WELL_KNOWN: Final = "/.well-known/authzen-configuration"
EVALUATION: Final = "/access/v1/evaluation"
EVALUATIONS: Final = "/access/v1/evaluations"
SEARCH_SUBJECT: Final = "/access/v1/search/subject"
SEARCH_RESOURCE: Final = "/access/v1/search/resource"
SEARCH_ACTION: Final = "/access/v1/search/action"
KEY_SET: Final = "/.well-known/jwks.json"
# The parameter that names each endpoint (AuthZEN 1.0, "PDP Metadata").
_PARAMETERS: Final[Mapping[str, str]] = {
    EVALUATION: "access_evaluation_endpoint",
    EVALUATIONS: "access_evaluations_endpoint",
    SEARCH_SUBJECT: "search_subject_endpoint",
    SEARCH_RESOURCE: "search_resource_endpoint",
    SEARCH_ACTION: "search_action_endpoint",
}
# A capability is a profile's URN; the specification itself registers none. Obligations: the types that the profile defines, and
# `custom` for those that a realm makes up with its enforcement points.
CAPABILITIES: Final = ("urn:openid:authzen:capability:obligations",)
OBLIGATIONS: Final = ("step-up", "notification", "session_termination", "custom")
# Chosen: endpoints hardly ever move, and five minutes is what a client waits at most after a move.
CACHE_CONTROL: Final = "public, max-age=300"


class BadPublicUrlError(ValueError):
    """PUBLIC_URL cannot identify a decision point."""


def identifier_of(public_url: str) -> str:
    """The decision point's identifier: the public address without a trailing slash."""
    bad = BadPublicUrlError(
        f"PUBLIC_URL {public_url!r} must be an absolute http or https address without user, query, fragment and blanks"
    )
    try:
        parts = urlsplit(public_url)
        port_is_given = parts.port is not None or not parts.netloc.endswith(":")
    except ValueError:  # a port that is no number or too large, a bracket that is left open
        raise bad from None
    # `?` and `#` with nothing behind them are gone from the parts, and would still stand in the middle of every endpoint.
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_given or set(public_url) & set("?#@\\ \t\r\n"):
        raise bad
    return public_url.rstrip("/")


def path_of(public_url: str) -> str:
    """Where the document stands, unescaped as in ASGI: the well-known string goes between the identifier's host and path."""
    return WELL_KNOWN + unquote(urlsplit(identifier_of(public_url)).path)


def documents(public_url: str, offered: Collection[str], signer: Signer | None) -> dict[str, bytes]:
    """What is read with GET, by path: the metadata document, and the keys that verify its signature.

    `offered`: paths that the application answers; an endpoint that is none of them is not told of.
    """
    base = identifier_of(public_url)
    told: dict[str, Any] = {"policy_decision_point": base}
    told |= {parameter: base + path for path, parameter in _PARAMETERS.items() if path in offered}
    told |= {"capabilities": CAPABILITIES, "supported_obligations": OBLIGATIONS}
    keys: dict[str, bytes] = {}
    if signer is not None:
        told["jwks_uri"] = base + KEY_SET
        # Signed before it is told of, so that the signature cannot hold itself.
        told["signed_metadata"] = signer.sign({"iss": base, **told})
        keys[KEY_SET] = signer.key_set
    document = encode(told)
    return {WELL_KNOWN: document, path_of(public_url): document, **keys}
