"""Keys in DRF: beside sessions, whose CSRF check stays on."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.test import APIClient, APIRequestFactory
from rest_framework.views import APIView

from permissions import pdp
from permissions.engine.keys import new_key
from permissions.identity import keys
from permissions.identity.authentication import KeyAuthentication
from permissions.models import ApiKey
from permissions.writing import SYSTEM, permission_write
from tests.worlds import OFFICE, apply

pytestmark = pytest.mark.django_db


class WhoAmI(APIView):
    authentication_classes = (KeyAuthentication, SessionAuthentication)
    permission_classes = (IsAuthenticated,)

    def get(self, request: Any) -> Response:
        return Response({"user": str(request.user), "auth": getattr(request.auth, "name", None)})

    post = get


@pytest.fixture
def key() -> str:
    pdp.reset()
    keys.reset()
    apply(OFFICE)
    made = new_key()
    with permission_write("default", SYSTEM) as write:
        ApiKey.objects.create(realm=write.realm, name="ci", prefix=made.prefix, digest=made.digest)
    return made.plain


def ask(method: str = "get", user: User | None = None, **headers: str) -> Response:
    factory = APIRequestFactory(enforce_csrf_checks=True)
    request = getattr(factory, method)("/", headers=headers)
    if user is not None:
        request.user = user
        request._dont_enforce_csrf_checks = False
    response: Response = WhoAmI.as_view()(request)
    return response


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", ""])
def test_a_key_is_the_user_of_the_request(key: str, scheme: str) -> None:
    response = ask(authorization=scheme + key)
    assert (response.status_code, response.data) == (200, {"user": "key:ci", "auth": "ci"})


def test_a_key_needs_no_csrf_token(key: str) -> None:
    assert ask("post", authorization=f"Bearer {key}").status_code == 200


def test_a_wrong_key_is_refused_even_with_a_session(key: str) -> None:
    alice = User.objects.create_user("alice")
    for header in (new_key().plain, f"Bearer {new_key().plain}", "Bearer nonsense", "Bearer"):
        response = ask(user=alice, authorization=header)
        assert response.status_code == 401
        assert response["WWW-Authenticate"] == 'Bearer realm="permsite"'


def test_nobody_is_asked_for_a_key(key: str) -> None:
    response = ask()
    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_another_scheme_leaves_the_request_to_the_session(key: str) -> None:
    alice = User.objects.create_user("alice")
    response = ask(user=alice, authorization="Basic YTpi")
    assert (response.status_code, response.data) == (200, {"user": "alice", "auth": None})


def test_a_session_still_needs_its_csrf_token(key: str) -> None:
    alice = User.objects.create_user("alice")
    assert ask("get", user=alice).status_code == 200
    response = ask("post", user=alice)
    assert response.status_code == 403
    assert "CSRF" in str(response.data["detail"])


def test_a_key_is_no_django_account(key: str) -> None:
    caller = keys.resolve(key)
    assert caller is not None
    [user] = [KeyAuthentication().authenticate(_request(key))]
    assert user is not None
    stands, auth = user
    assert auth == caller
    assert stands.is_authenticated
    assert not (stands.is_anonymous or stands.is_staff or stands.is_superuser)
    assert (stands.get_username(), stands.pk) == ("key:ci", f"key:{caller.key_id}")


def _request(key: str) -> Any:
    from rest_framework.request import Request

    return Request(APIRequestFactory().get("/", headers={"authorization": key}))


def test_the_test_client_of_drf_sends_keys(key: str) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    assert client.get("/nowhere-at-all/").status_code == 404
