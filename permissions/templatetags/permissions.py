"""Template tags: `{% can "post:edit" post as ok %}`, and `{% if_can "post:edit" post %}…{% else %}…{% endif_can %}`.

They ask about `user` of the context, else about `request.user`. A page never breaks over them: whatever goes wrong is a no,
and is logged. They hide what a person may not do; they guard nothing, which is the view's part.
"""

from __future__ import annotations

import logging

from django import template
from django.template.base import FilterExpression, Parser, Token
from django.template.context import Context

from permissions import pdp
from permissions.entities import code_of, realm_of, resource_of, subject_of
from permissions.pep import decisions, freshness

register = template.Library()
log = logging.getLogger("permissions.pep")


class _Question(template.Node):
    """The arguments of either tag, looked up when the page is rendered."""

    def __init__(
        self, name: str, permission: FilterExpression, obj: FilterExpression | None, realm: FilterExpression | None
    ) -> None:
        self.name = name
        self.permission = permission
        self.obj = obj
        self.realm = realm

    def allows(self, context: Context) -> bool:
        try:
            return self._allows(context)
        except Exception as error:  # noqa: BLE001 - a page must not break over what it may not show
            log.warning("{%% %s %s %%} is a no: %s: %s", self.name, self.permission.token, type(error).__name__, error)
            return False

    def _allows(self, context: Context) -> bool:
        request = context.get("request")
        user = context.get("user") or getattr(request, "user", None)
        realm = realm_of(user, None if self.realm is None else self.realm.resolve(context))
        subject = subject_of(user)
        # Without an object the realm would be asked about: so a variable that is missing or empty must not pass for none.
        resource = None if self.obj is None else resource_of(self.obj.resolve(context, ignore_failures=True))
        if subject is None or realm is None or not getattr(user, "is_active", True):
            return False
        question = pdp.question(subject, code_of(self.permission.resolve(context)), resource)
        fresh = freshness.forgiving() if request is None else freshness.of(request)
        decision = decisions.decide(question, realm=realm, fresh=freshness.Freshness(fresh.token, fresh.full))
        return decision.allowed and not decision.obligations


class CanNode(_Question):
    target: str | None = None

    def render(self, context: Context) -> str:
        allowed = self.allows(context)
        if self.target is None:
            return str(allowed)
        context[self.target] = allowed
        return ""


class IfCanNode(_Question):
    child_nodelists = ("shown", "otherwise")
    shown = template.NodeList()
    otherwise = template.NodeList()

    def render(self, context: Context) -> str:
        return (self.shown if self.allows(context) else self.otherwise).render(context)


@register.tag
def can(parser: Parser, token: Token) -> CanNode:
    """`{% can permission [obj] [realm=name] [as variable] %}`; `obj` is a row, or a resource such as "post:7"."""
    name, *words = token.split_contents()
    target = None
    if len(words) >= 2 and words[-2] == "as":
        *words, _, target = words
    node = CanNode(name, *_parsed(parser, name, words))
    node.target = target
    return node


@register.tag
def if_can(parser: Parser, token: Token) -> IfCanNode:
    """`{% if_can permission [obj] [realm=name] %}…{% else %}…{% endif_can %}`"""
    name, *words = token.split_contents()
    node = IfCanNode(name, *_parsed(parser, name, words))
    node.shown = parser.parse(("else", "endif_can"))
    if parser.next_token().contents == "else":
        node.otherwise = parser.parse(("endif_can",))
        parser.delete_first_token()
    return node


def _parsed(
    parser: Parser, name: str, words: list[str]
) -> tuple[FilterExpression, FilterExpression | None, FilterExpression | None]:
    named = [word for word in words if word.startswith("realm=")]
    plain = [word for word in words if not word.startswith("realm=")]
    if not 1 <= len(plain) <= 2 or len(named) > 1:
        raise template.TemplateSyntaxError(f"{{% {name} %}} takes a permission, an object if it is about one, and realm=")
    permission, *obj = (parser.compile_filter(word) for word in plain)
    realm = parser.compile_filter(named[0].removeprefix("realm=")) if named else None
    return permission, obj[0] if obj else None, realm
