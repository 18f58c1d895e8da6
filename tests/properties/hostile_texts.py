"""Run apart: compile and evaluate random texts on a small stack. Arguments: seed, count. Prints compiled, refused, slowest_s."""

from __future__ import annotations

import random
import sys
import threading
import time

from permissions.conditions import cel
from permissions.engine.types import ConditionError, ConditionSyntaxError

# The smallest stack that a platform we support gives a thread (macOS); a native overflow there kills the process.
STACK_BYTES = 512 * 1024
ATOMS = (
    *("true", "1", "'a'", "subject.id", "context.l", "context.deep", "permission", "now", "v", "x", "[1, 2]", "{'a': 1}", "-1u"),
    *("0x1f", "1.5e3", "r'x'", "b'x'", "null", "subject", "resource.attributes", "has(context.l)", "type(1)", "''", '"\\n"'),
)
GLUE = (
    *(
        "+",
        "-",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        "<=",
        "in",
        "&&",
        "||",
        "? 1 :",
        "?",
        ":",
        ",",
        ".",
        ".a",
        "['a']",
        "[0]",
        "!",
        " ",
    ),
    *("(", ")", "[", "]", "{", "}", "size(", ".size()", ".exists(v, ", ".all(v, ", ".map(v, ", ".filter(v, ", ".matches("),
    *("//", "'", '"', "'''", "\\", "`", "$", "é", "\x00", "\n"),
)
WRAPS = (
    *("(@)", "[@]", "!@", "-@", "size(@)", "@.a", "@[0]", "@ + 1", "1 + @", "@ && true", "true ? @ : 1", "@ ? 1 : 2"),
    *("[1].exists(v, @)", "@.map(v, v)", "{1: @}", "@ == @"),
)
NAMES = {
    "subject": {"id": "a", "attributes": {}},
    "resource": {"attributes": {"a": 1}},
    "permission": "a:b",
    "action": {},
    "now": None,
    "context": {"l": [str(n) for n in range(50)], "deep": [[n] * 20 for n in range(20)]},
}


def nested(rnd: random.Random, depth: int) -> str:
    text = rnd.choice(ATOMS)
    for _ in range(depth):
        text = rnd.choice(WRAPS).replace("@", text)
    return text


def hostile(rnd: random.Random) -> str:
    kind = rnd.random()
    if kind < 0.4:
        return nested(rnd, rnd.randrange(14))
    if kind < 0.7:
        return " ".join(rnd.choice(ATOMS) + rnd.choice(GLUE) for _ in range(rnd.randrange(1, 60)))
    if kind < 0.85:
        part = rnd.choice(GLUE) + rnd.choice(ATOMS)
        return rnd.choice(ATOMS) + part * rnd.randrange(1, 400)
    return "".join(rnd.choice((*ATOMS, *GLUE)) for _ in range(rnd.randrange(1, 120)))


def run(seed: int, count: int) -> None:
    rnd = random.Random(seed)
    compiled = refused = 0
    slowest_s = 0.0
    for _ in range(count):
        text = hostile(rnd)
        began = time.process_time()
        try:
            condition = cel.language().compile(text)
            compiled += 1
            condition.evaluate(NAMES)
        except ConditionSyntaxError:
            refused += 1
        except ConditionError:
            pass
        slowest_s = max(slowest_s, time.process_time() - began)
    sys.stdout.write(f"{compiled} {refused} {slowest_s}\n")


if __name__ == "__main__":
    threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=run, args=(int(sys.argv[1]), int(sys.argv[2])))
    thread.start()
    thread.join()
