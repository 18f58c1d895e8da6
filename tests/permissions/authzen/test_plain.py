"""Plain questions on the wire are answered as any other: held against the long way, and a batch against single questions."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from permissions import pdp
from permissions.authzen import plain
from permissions.authzen.app import Application, create_application
from permissions.cache import known_ids
from permissions.cache.realm import STATES
from tests.aging import never_age
from tests.permissions.authzen import questions
from tests.permissions.authzen.wire import EVALUATION, EVALUATIONS, PUBLIC_URL, Answer, Callers, Key, call
from tests.worlds import apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

MESSAGES = 300
HEADERS = [("Authorization", "Bearer good"), ("Content-Type", "application/json")]


class Counting:
    """The real decision point; `taken` counts plain answers."""

    def __init__(self) -> None:
        self.taken = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(pdp, name)

    def plain_one(self, *asked: Any) -> Any:
        answer = pdp.plain_one(*asked)
        self.taken += answer is not None
        return answer

    def plain_batch(self, *asked: Any) -> Any:
        answers = pdp.plain_batch(*asked)
        self.taken += answers is not None
        return answers


class Long(Counting):
    """Nothing is plain."""

    def plain_one(self, *asked: Any) -> None:
        return None

    def plain_batch(self, *asked: Any) -> None:
        return None


class Keyed(Callers):
    def __init__(self, key: Key) -> None:
        self.known = {"Bearer good": key}
        self.cold = {}


def application(point: Any, asserted: Any = "fill") -> Application:
    return create_application(point, Keyed(Key(asserted=asserted)), PUBLIC_URL)


async def told(app: Application, path: str, raw: bytes) -> Answer:
    return await call(app, "POST", path, HEADERS, [raw])


def learn_ids() -> None:
    """As a server does at its start: what no row names is known."""
    pdp.check("user:nobody", "doc:read")
    state = STATES["default"]
    rev, subjects, resources = known_ids.load(state.head.realm_id)
    assert state.cache.use_filters(rev, state.head, subjects, resources)
    never_age()


PLAIN = """
realm: default
permissions: [{code: "post:read"}, {code: "post:edit"}, {code: "post:edit:own"}, {code: "post:purge", critical: true}]
roles: [{name: editor, permissions: ["post:read", "post:edit", "post:edit:own"]}, {name: reader, permissions: ["post:read"]}]
subjects: [{id: "user:alice"}, {id: "user:bob"}, {id: "user:carol"}, {id: "user:al:ice"}, {id: "user:dora"}]
resources: [{id: "blog:1"}, {id: "post:7", parent: "blog:1"}, {id: "post:8", parent: "blog:1", inherit: false}]
bindings:
  - {subject: "user:alice", role: editor}
  - {subject: "user:bob", role: reader, scope: "blog:1"}
  - {subject: "user:carol", role: reader}
  - {subject: "user:al:ice", role: editor}
  - {subject: "user:dora", role: reader}
  - {subject: "user:dora", role: editor, scope: "blog:1"}
"""


@pytest.fixture
def office() -> None:
    pdp.reset()
    apply(PLAIN)
    learn_ids()


@pytest.mark.parametrize("asserted", ["override", "fill", "ignore"])
def test_the_short_way_answers_every_message_as_the_long_way_does(asserted):
    # A comparison of the long way with itself would prove nothing.
    assert sum(compared(seed, asserted) for seed in range(4)) > MESSAGES / 6


def compared(seed: int, asserted: str) -> int:
    """How many messages of one random world took the short way."""
    draw = random.Random(f"{seed} {asserted}")
    pdp.reset()
    apply(questions.world(draw, is_rich=seed % 2 == 1))
    learn_ids()
    short = Counting()

    async def compare() -> None:
        quick, slow = application(short, asserted), application(Long(), asserted)
        for _ in range(MESSAGES):
            path, make = draw.choice([(EVALUATION, questions.evaluation), (EVALUATIONS, questions.batch)])
            raw = questions.body(draw, make(draw))
            first, second = await told(quick, path, raw), await told(slow, path, raw)
            assert (first.status, first.body) == (second.status, second.body), raw
            assert first.status in (200, 400)

    asyncio.run(compare())
    return short.taken


@pytest.mark.parametrize("seed", range(2))
def test_a_batch_answers_what_its_items_answer_alone(seed):
    draw = random.Random(f"batch {seed}")
    pdp.reset()
    apply(questions.world(draw, is_rich=seed % 2 == 1))
    learn_ids()

    async def compare() -> None:
        app = application(pdp)
        for _ in range(MESSAGES // 4):
            message = questions.batch(draw)
            message.pop("options", None)
            answer = await told(app, EVALUATIONS, json.dumps(message).encode())
            if answer.status != 200 or "evaluations" not in answer.json:
                continue
            defaults = {name: message[name] for name in ("subject", "action", "resource", "context") if name in message}
            for place, (item, given) in enumerate(zip(message["evaluations"], answer.json["evaluations"], strict=True)):
                if type(item) is not dict:
                    assert given["context"]["error"]["status"] == 400
                    continue
                alone = await told(app, EVALUATION, json.dumps({**defaults, **item}).encode())
                if alone.status == 200:
                    assert given == alone.json, (message, place)
                else:
                    error = given["context"]["error"]
                    assert (given["decision"], error["status"]) == (False, alone.status)
                    assert error["message"] == f"evaluations[{place}].{alone.json}"

    asyncio.run(compare())


ALICE = {"type": "user", "id": "alice"}
READ = {"name": "read"}


def both(path: str, raw: bytes) -> tuple[Answer, int]:
    """The answer of the short way, which is that of the long way; and whether it took the short way."""
    counting = Counting()

    async def ask() -> tuple[Answer, Answer]:
        return await told(application(counting), path, raw), await told(application(Long()), path, raw)

    first, second = asyncio.run(ask())
    assert (first.status, first.body) == (second.status, second.body)
    return first, counting.taken


def plainly(name: str, ident: str, kind: str, resource: str) -> bytes:
    asked = {"subject": {"type": "user", "id": ident}, "action": {"name": name}, "resource": {"type": kind, "id": resource}}
    return json.dumps(asked).encode()


def test_a_plain_question_takes_the_short_way_from_the_first_time(office):
    pdp.check("user:alice", "post:read", "post:7")
    for resource in ("7", "unknown", "unknown"):
        answer, taken = both(EVALUATION, plainly("edit", "alice", "post", resource))
        assert (answer.body, taken) == (plain.YES, 1)


def test_what_it_says_of_itself_is_counted_as_any_other_check(office):
    for _ in range(2):
        both(EVALUATION, plainly("edit", "alice", "post", "unknown"))
    before = pdp.stats()
    app = application(Counting())
    raw = plainly("edit", "alice", "post", "unknown")
    items = json.dumps({"subject": ALICE, "action": READ, "evaluations": [{"resource": {"type": "post", "id": "unknown"}}] * 3})
    asyncio.run(told(app, EVALUATION, raw))
    asyncio.run(told(app, EVALUATIONS, items.encode()))
    after = pdp.stats()
    assert [after[name] - before[name] for name in ("l1", "allowed", "filtered", "denied")] == [4, 4, 4, 0]


STRANGER = json.loads(plainly("read", "nobody", "post", "7"))


def test_a_stranger_is_answered_the_short_way(office):
    pdp.check("user:alice", "post:read", "post:7")
    answer, taken = both(EVALUATION, json.dumps(STRANGER).encode())
    assert (answer.body, taken) == (plain.NO, 1)


@pytest.mark.parametrize(
    ("grant", "expected"),
    [
        ('allow: ["post:read"]', {"decision": True}),
        ('allow: ["post:read"], scope: "blog:1"', {"decision": True}),
        ('allow: ["post:read"], scope: "post:8"', {"decision": False}),
        ('allow: ["post:read"], condition: "context.mfa == true"', {"decision": False}),
        (
            "role: reader, obligations: [{id: log, type: log}]",
            {"decision": True, "context": {"obligations": [{"id": "log", "type": "log"}]}},
        ),
    ],
)
def test_a_stranger_is_told_what_everyone_holds(office, grant, expected):
    apply(f'realm: default\nunknown_subjects: everyone\nbindings:\n  - {{subject: "user:*", {grant}}}')
    learn_ids()
    pdp.check("user:alice", "post:read", "post:7")
    for _ in range(2):
        assert both(EVALUATION, json.dumps(STRANGER).encode())[0].json == expected


def test_a_stranger_whose_name_is_none_is_refused_as_ever(office):
    pdp.check("user:alice", "post:read", "post:7")
    for name in (" nobody", "nobody\u0007", "n" * 600):
        raw = json.dumps({**STRANGER, "subject": {"type": "user", "id": name}}, ensure_ascii=False).encode()
        answer, taken = both(EVALUATION, raw)
        assert (answer.status, taken) == (400, 0)


@pytest.mark.parametrize(
    ("name", "ident", "kind", "resource"),
    [
        ("read", "bob", "post", "7"),  # held on a scope
        ("edit", "dora", "post", "7"),  # held on a scope, and less at the realm
        ("purge", "alice", "post", "7"),  # a critical code
        ("read", "alice", "post", "8"),  # a resource that keeps out
        ("fly", "alice", "post", "7"),  # a code that no row names
        ("read", "*", "post", "7"),
        ("read", "alice", "post", "*"),
        ("*", "alice", "post", "7"),
    ],
)
def test_what_is_more_than_plain_goes_the_long_way(office, name, ident, kind, resource):
    for subject in ("alice", "bob", "dora"):
        pdp.check(f"user:{subject}", "post:read", "post:7")
    assert both(EVALUATION, plainly(name, ident, kind, resource))[1] == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b'"id": "7"', b'"id": "7", "id": "8"'),
        lambda raw: raw.replace(b'"id": "7"', b'"id": "7", "\\u0069d": "8"'),
        lambda raw: raw.replace(b'"id": "7"', b'"id": "7", "properties": {}'),
        lambda raw: raw.replace(b'"type": "post", "id": "7"', b'"type": "post:7", "id": ""'),
        lambda raw: raw.replace(b'"type": "post", "id": "7"', b'"type": "po", "id": "st:7"'),
        lambda raw: raw.replace(b'"user", "id": "alice"', b'"us", "id": "er\\u003aalice"'),
        lambda raw: raw.replace(b'"edit"', b'"edit\\n"'),
        lambda raw: raw.replace(b'"id": "7"', b'"id": " 7"'),
        lambda raw: raw.replace(b'"id": "7"', b'"id": "\xc3\xa9"'),
        lambda raw: raw.replace(b'"id": "7"', b'"id": "\xff"'),
        lambda raw: raw.replace(b'"id": "7"', b'"id": 7'),
        lambda raw: raw + b"x",
        lambda raw: b"\xef\xbb\xbf" + raw,
        lambda raw: b"[" * 200 + raw,
        lambda raw: raw.replace(b'"id": "7"', b'"id": "%s"' % (b"7" * 600)),
    ],
)
def test_a_message_that_is_almost_plain_is_read_as_ever(office, change: Callable[[bytes], bytes]):
    pdp.check("user:alice", "post:edit", "post:7")
    raw = plainly("edit", "alice", "post", "7")
    assert change(raw) != raw
    both(EVALUATION, change(raw))
    item = json.loads(raw)
    both(EVALUATIONS, b'{"evaluations": [%s, %s]}' % (json.dumps(item).encode(), change(raw)))


@pytest.mark.parametrize(
    ("who", "name", "kind"),
    [('"user\\u003aal", "id": "ice"', "read", '"post"'), ('"user", "id": "alice"', "own", '"post\\u003aedit"')],
)
def test_parts_that_meet_in_another_place_make_no_known_text(office, who, name, kind):
    """Two texts that are one when they are put together are none: no type holds a colon, however it is written."""
    for subject in ("user:alice", "user:al:ice"):
        pdp.check(subject, "post:edit:own", "post:edit:7")
    pdp.check("user:alice", "post:edit", "post:edit:7")
    asked = f'{{"subject": {{"type": {who}}}, "action": {{"name": "{name}"}}, "resource": {{"type": {kind}, "id": "7"}}}}'
    for raw in (asked, asked.replace("\\u003a", ":")):
        assert both(EVALUATION, raw.encode())[0].status == 400
        answer, taken = both(EVALUATIONS, f'{{"evaluations": [{raw}]}}'.encode())
        assert (answer.json["evaluations"][0]["context"]["error"]["status"], taken) == (400, 0)


def test_whoever_answers_as_everyone_is_never_asked_about(office):
    apply('bindings:\n  - {subject: "user:*", allow: ["post:read"]}')
    learn_ids()
    pdp.who_can("post:read", "post:7")
    answer, taken = both(EVALUATION, plainly("read", "*", "post", "7"))
    assert (answer.status, taken) == (400, 0)


def test_a_change_is_seen_by_the_short_way_at_once(office):
    pdp.check("user:alice", "post:edit", "post:7")
    raw = plainly("edit", "alice", "post", "7")
    items = json.dumps({"subject": ALICE, "evaluations": [{"action": {"name": "edit"}, "resource": {"type": "post", "id": "7"}}]})
    assert both(EVALUATION, raw)[0].body == plain.YES
    apply('resources:\n  - {id: "post:7", parent: "blog:1", inherit: false}')
    assert both(EVALUATION, raw)[0].body == plain.NO
    assert both(EVALUATIONS, items.encode())[0].json == {"evaluations": [{"decision": False}]}


def test_a_superuser_of_the_wire_is_asked_for_first(office):
    counting = Counting()
    app = create_application(counting, Keyed(Key()), PUBLIC_URL, superuser=True)
    pdp.check("user:alice", "post:edit", "post:7")
    assert asyncio.run(told(app, EVALUATION, plainly("edit", "alice", "post", "7"))).body == plain.YES
    assert counting.taken == 0
