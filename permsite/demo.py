"""The demo's world: its bundle on a first run, its administrator, its key, and one question that is answered yes."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser

from permissions import pdp
from permissions.bundle.reader import read
from permissions.bundle.specs import BindingSpec, Bundle, CodeSpec, RealmSpec, RoleSpec
from permissions.engine.keys import digest_of
from permissions.models import ApiKey, Realm, Role, RoleBinding
from permissions.services.bundles import bundle_apply
from permissions.services.keys import key_create
from permissions.writing import Actor
from permsite import keep

BUNDLE: Final = Path(__file__).with_name("demo.yaml")
REALM: Final = "default"
ADMIN: Final = "admin"
ADMIN_ROLE: Final = "administrator"
KEY_NAME: Final = "demo"
# Subject, action, resource; AuthZEN asks for `<resource type>:<action>`.
QUESTION: Final = (("user", "bob"), "view", ("channel", "general"))
ACTOR: Final = Actor("command", "command:demo", administrator=True)


@dataclass(frozen=True, slots=True)
class Account:
    """`password` is empty when the person has set one of their own."""

    name: str
    password: str


def load_world() -> bool:
    """Applies the demo's bundle to a realm that holds nothing yet; anything else is somebody's work and stays as it is."""
    realm = Realm.objects.get(name=REALM)
    if Role.objects.filter(realm=realm).exists() or RoleBinding.objects.filter(realm=realm).exists():
        return False
    bundle = read(BUNDLE.read_text(encoding="utf-8"), name=BUNDLE.name)
    bundle_apply(actor=ACTOR, bundle=bundle, realm_name=REALM, reason="first run of the demo")
    return True


def ensure_administrator() -> Account:
    """The account `admin`, with a password made here and kept beside the database, and its role in the realm."""
    users = get_user_model().objects
    password = keep.kept(Path(settings.VAR) / "admin_password", lambda: secrets.token_urlsafe(12))
    user = users.filter(username=ADMIN).first()
    if user is None:
        user = users.create_superuser(username=ADMIN, email="", password=password)
    _bind_administrator()
    return Account(ADMIN, password if _has(user, password) else "")


def _has(user: AbstractUser, password: str) -> bool:
    return bool(user.check_password(password))


def _bind_administrator() -> None:
    """Without a role the account would pass as a superuser alone, by breaking the glass each time."""
    subject = f"user:{ADMIN}"
    if RoleBinding.objects.filter(realm__name=REALM, subject__ref=subject).exists():
        return
    bundle = Bundle(
        RealmSpec(REALM),
        roles=(RoleSpec(ADMIN_ROLE, title="Administrator", permissions=(CodeSpec("permsite.*:*"),)),),
        bindings=(BindingSpec(subject, ADMIN_ROLE, reason="administers the demo"),),
    )
    bundle_apply(actor=ACTOR, bundle=bundle, realm_name=REALM, reason="the demo's administrator")


def ensure_key() -> str:
    """An API key that may ask and manage, kept in a file, since only its hash is in the database."""
    path = Path(settings.VAR) / "api_key"
    plain = keep.read(path)
    alive = ApiKey.objects.filter(realm__name=REALM, revoked_at=None)
    if plain and alive.filter(digest=digest_of(plain)).exists():
        return plain
    name = KEY_NAME
    while alive.filter(name=name).exists():
        name = f"{KEY_NAME}-{secrets.token_hex(3)}"
    realm = Realm.objects.get(name=REALM)
    _, plain = key_create(actor=ACTOR, realm=realm, name=name, is_admin=True, reason="the demo's key")
    keep.write(path, plain)
    return plain


def curl(url: str, key: str) -> tuple[str, bool]:
    """The ready check, and what it is answered right now: somebody may have changed the world since the first run."""
    (subject_type, subject_id), action, (resource_type, resource_id) = QUESTION
    body = {
        "subject": {"type": subject_type, "id": subject_id},
        "action": {"name": action},
        "resource": {"type": resource_type, "id": resource_id},
    }
    line = (
        f"curl -s {url}/access/v1/evaluation -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' "
        f"-d '{json.dumps(body)}'"
    )
    asked = (f"{subject_type}:{subject_id}", f"{resource_type}:{action}", f"{resource_type}:{resource_id}")
    return line, pdp.check(*asked, realm=REALM).allowed
