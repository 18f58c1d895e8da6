"""What a CEL text may look like before the compiler sees it; every refusal names the place and what would be right.

The compiler and the evaluator run native code that cannot be interrupted: depth exhausts their stack and kills the process, and
an evaluation has no cost limit. So everything that drives depth or cost is bounded on the text. Where this scanner and CEL's own
lexer could read a text differently (comments, triple quotes), it is refused, so that nothing can hide from the scanner.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from permissions.engine.types import ConditionSyntaxError

MAX_LENGTH: Final = 1_024  # from semantics, "Conditions"
# Measured with common-expression-language 0.10.0 on a stack of 256 KB (macOS gives threads 512 KB): 12 nested brackets and 100
# operators pass in any mixture, 50 brackets or 400 operators kill the process.
MAX_NESTING: Final = 12
MAX_OPERATORS: Final = 100
MAX_STEPS: Final = 12  # `.a.b.c` and `[0][1]` in a row
# A macro walks at most what a list holds, 1,000 entries; lists put together with `+` multiply that. Chosen: 4 of them keep the
# worst text near a second.
MAX_PLUS_BESIDE_MACRO: Final = 4
# A pattern is compiled anew for every element: 64 characters without `{n}` took 2 ms at worst.
MAX_PATTERN_IN_MACRO: Final = 64

NAMES: Final = frozenset({"subject", "resource", "permission", "action", "context", "now"})
MACROS: Final = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
TYPES: Final = frozenset({"int", "uint", "double", "string", "bytes", "bool", "list", "map", "null_type", "type"})
FUNCTIONS: Final = frozenset({"size", "int", "uint", "double", "string", "bytes", "timestamp", "duration", "type", "dyn", "has"})
METHODS: Final = frozenset(
    {
        "size",
        "matches",
        "contains",
        "startsWith",
        "endsWith",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
    }
)
_WORDS: Final = frozenset({"true", "false", "null"})

_TOKEN: Final = re.compile(
    r"""
    (?P<space>[\ \t\r\n\f]+)
  | (?P<text>[rRbB]{0,2}(?:"(?!"")|'(?!''))) # an opening quote; the rest is read by hand
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>[0-9][A-Za-z0-9]*(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?)?)
  | (?P<sign>&&|\|\||[=!<>]=|[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE,
)
_CLOSES: Final = {")": "(", "]": "[", "}": "{"}
_OPERATORS: Final = frozenset({"&&", "||", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "!", "?", "in"})


class Token(NamedTuple):
    kind: str  # text, word, number or sign
    value: str
    at: int  # offset in the text

    @property
    def ends_a_value(self) -> bool:
        """Whether a `.`, `[` or `(` after it continues a value."""
        return self.kind in ("text", "number") or (self.kind == "word" and self.value != "in") or self.value in (")", "]", "}")


@dataclass(slots=True)
class _Bracket:
    sign: str
    at: int
    macro: str = ""
    variable: str = ""


def scan(text: str, names: frozenset[str] = NAMES) -> frozenset[str]:
    """Raises ConditionSyntaxError; answers the variables that macros bind. `names`: what the text may speak of."""
    if len(text) > MAX_LENGTH:
        raise ConditionSyntaxError(f"the condition has {len(text)} characters; at most {MAX_LENGTH} are allowed")
    if not text.strip():
        raise ConditionSyntaxError("the condition is empty")
    return _Scanner(tokens_of(text), names).scan()


def tokens_of(text: str) -> list[Token]:
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or text.startswith("//", at):
            _refuse_character(text, at)
            break
        kind, end = str(found.lastgroup), found.end()
        if kind == "text":
            end = _end_of_string(text, at, found.group())
        if kind != "space":
            tokens.append(Token(kind, text[at:end], at))
        at = end
    return tokens


def _refuse_character(text: str, at: int) -> None:
    if text.startswith("//", at):
        raise ConditionSyntaxError(f"character {at + 1}: a condition has no comments")
    if text[at] in "'\"" or text[at : at + 2].lower() in ("r'", 'r"', "b'", 'b"'):
        raise ConditionSyntaxError(f"character {at + 1}: write a text in single quotes; triple quotes are not allowed")
    raise ConditionSyntaxError(f"character {at + 1}: {text[at]!a} cannot stand here; outside a text CEL has no such character")


def _end_of_string(text: str, begin: int, opening: str) -> int:
    """The offset after the closing quote. A raw text (`r'…'`) has no escapes; in others a backslash takes the next character."""
    quote = opening[-1]
    is_raw = "r" in opening.lower()
    at = begin + len(opening)
    while at < len(text):
        letter = text[at]
        if letter == quote:
            return at + 1
        if letter in "\r\n":
            break
        if letter == "\\" and not is_raw:
            at += 1
        at += 1
    raise ConditionSyntaxError(f"character {begin + 1}: the text that begins here is not closed on its line")


class _Scanner:
    """One pass over the tokens, with a stack of open brackets."""

    def __init__(self, tokens: list[Token], names: frozenset[str]) -> None:
        self.tokens = tokens
        self.names = names
        self.open: list[_Bracket] = []
        self.bound: set[str] = set()
        self.operators = self.pluses = self.steps = 0
        self.has_macro = False

    def scan(self) -> frozenset[str]:
        before: Token | None = None
        for n, token in enumerate(self.tokens):
            after = self.tokens[n + 1] if n + 1 < len(self.tokens) else None
            if token.kind == "word":
                self._word(n, token, before, after)
            elif token.kind == "sign":
                self._sign(token, before)
            self._count(token, before)
            before = token
        if self.open:
            raise ConditionSyntaxError(
                f"character {self.open[-1].at + 1}: the {self.open[-1].sign!r} that stands here is not closed"
            )
        if self.has_macro and self.pluses > MAX_PLUS_BESIDE_MACRO:
            raise ConditionSyntaxError(f"beside a macro at most {MAX_PLUS_BESIDE_MACRO} '+' are allowed")
        return frozenset(self.bound)

    def _count(self, token: Token, before: Token | None) -> None:
        if token.value in _OPERATORS and token.kind in ("sign", "word"):
            self.operators += 1
            self.pluses += token.value == "+"
            if self.operators > MAX_OPERATORS:
                raise ConditionSyntaxError(f"character {token.at + 1}: more than {MAX_OPERATORS} operators in one condition")
        if token.kind == "sign" and token.value in (".", "[") and before is not None and before.ends_a_value:
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise ConditionSyntaxError(f"character {token.at + 1}: more than {MAX_STEPS} steps into one value")
        elif token.value in _OPERATORS or token.value in (",", ":"):
            self.steps = 0

    def _sign(self, token: Token, before: Token | None) -> None:
        sign = token.value
        continues = before is not None and before.ends_a_value
        if sign == "." and not continues:
            raise ConditionSyntaxError(f"character {token.at + 1}: '.' must follow a value")
        if sign in "([{":
            if sign == "{" and continues:
                raise ConditionSyntaxError(f"character {token.at + 1}: messages such as Name{{…}} are not known here")
            if sign in "[{" and not continues and self._macro() == "map":
                raise ConditionSyntaxError(f"character {token.at + 1}: inside map no list or map can be written")
            if not (self.open and self.open[-1].at == token.at):
                self._push(_Bracket(sign, token.at))
        elif sign in _CLOSES:
            if not self.open or self.open[-1].sign != _CLOSES[sign]:
                raise ConditionSyntaxError(f"character {token.at + 1}: {sign!r} closes nothing")
            self.open.pop()

    def _push(self, bracket: _Bracket) -> None:
        if len(self.open) >= MAX_NESTING:
            raise ConditionSyntaxError(f"character {bracket.at + 1}: more than {MAX_NESTING} brackets within one another")
        self.open.append(bracket)

    def _macro(self) -> str:
        return next((bracket.macro for bracket in self.open if bracket.macro), "")

    def _word(self, n: int, token: Token, before: Token | None, after: Token | None) -> None:
        is_call = after is not None and after.value == "(" and after.kind == "sign"
        is_member = before is not None and before.value == "." and before.kind == "sign"
        name = token.value
        place = f"character {token.at + 1}"
        if name == "in":
            return
        if is_member:
            if is_call and name in MACROS:
                self._open_macro(n, token)
            elif is_call and name not in METHODS:
                raise ConditionSyntaxError(f"{place}: unknown function {name!r}; known are {_listed(METHODS | MACROS)}")
            elif is_call and name == "matches" and self._macro():
                self._check_pattern(n, place)
        elif is_call:
            if name not in FUNCTIONS:
                raise ConditionSyntaxError(f"{place}: unknown function {name!r}; known are {_listed(FUNCTIONS)}")
        elif name not in _WORDS:
            self._variable(name, place)

    def _variable(self, name: str, place: str) -> None:
        if any(bracket.variable == name for bracket in self.open):
            return
        if name not in self.names | TYPES:
            raise ConditionSyntaxError(f"{place}: unknown name {name!r}; known are {_listed(self.names)}")
        if name in self.names and self._macro() == "map":
            # What map has gathered is copied again with every element: l.map(x, l) over 1,000 entries took 58 s.
            raise ConditionSyntaxError(f"{place}: inside map only its own variable can be used, not {name!r}")

    def _open_macro(self, n: int, token: Token) -> None:
        place = f"character {token.at + 1}"
        if self._macro():
            raise ConditionSyntaxError(f"{place}: {token.value!r} stands inside {self._macro()!r}; a macro cannot hold another")
        following = self.tokens[n + 2 : n + 4]
        if len(following) < 2 or following[0].kind != "word" or following[1].value != ",":
            raise ConditionSyntaxError(
                f"{place}: {token.value!r} takes a variable and an expression, as in x.{token.value}(v, v > 0)"
            )
        variable = following[0].value
        if variable in self.names | TYPES | _WORDS | {"in"}:
            raise ConditionSyntaxError(f"{place}: the variable of {token.value!r} needs a name of its own, not {variable!r}")
        self.has_macro = True
        self.bound.add(variable)
        self._push(_Bracket("(", self.tokens[n + 1].at, macro=token.value, variable=variable))

    def _check_pattern(self, n: int, place: str) -> None:
        argument = self.tokens[n + 2 : n + 4]
        simple = len(argument) == 2 and argument[0].kind == "text" and argument[1].value == ")"
        if not simple or "{" in argument[0].value or len(argument[0].value) > MAX_PATTERN_IN_MACRO:
            raise ConditionSyntaxError(
                f"{place}: inside a macro, matches takes one text of at most {MAX_PATTERN_IN_MACRO} characters without '{{'"
            )


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
