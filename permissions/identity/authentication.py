"""API keys for Django REST framework, beside session authentication, whose CSRF check stays as it is."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from permissions.engine import keys
from permissions.identity.keys import Caller, resolve

CHALLENGE = 'Bearer realm="permsite"'


class KeyUser:
    """Stands as `request.user` for a key. No Django account: what it may do is decided by its caller, not by flags of a user."""

    is_authenticated = True
    is_anonymous = False
    is_active = True
    is_staff = False
    is_superuser = False

    def __init__(self, caller: Caller) -> None:
        self.caller = caller

    @property
    def pk(self) -> str:
        """For what counts by user, such as throttles."""
        return f"key:{self.caller.key_id}"

    @property
    def permission_subject(self) -> str | None:
        """For enforcement points: whom the key acts as; None for one that may only ask."""
        return self.caller.subject

    @property
    def permission_realm(self) -> str:
        return self.caller.realm

    def get_username(self) -> str:
        return f"key:{self.caller.name}"

    def __str__(self) -> str:
        return self.get_username()


class KeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>`, or a bare key. Another scheme is not ours, and leaves the request to the next class.

    Unavailable passes through: answered with 401, the client would throw a good key away.
    """

    def authenticate(self, request: Request) -> tuple[KeyUser, Caller] | None:
        header = str(request.META.get("HTTP_AUTHORIZATION", ""))
        if keys.parse(header) is None and header.partition(" ")[0].lower() != "bearer":
            return None
        caller = resolve(header)
        if caller is None:
            raise AuthenticationFailed("the API key is unknown, revoked or expired")
        return KeyUser(caller), caller

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE
