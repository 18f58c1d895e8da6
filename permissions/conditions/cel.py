"""CEL, the one condition language: compile on save and when a table is built, evaluate to true, false or an error.

Source: semantics, "Conditions". The library is the Rust crate behind PyPI `common-expression-language`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import cel

from permissions.conditions.scanner import FUNCTIONS, METHODS, NAMES, TYPES, scan
from permissions.engine.types import Condition, ConditionError, ConditionLanguage, ConditionSyntaxError

# Programs are immutable and small (a few KB), and compiling one took 60 µs: 4,096 keeps those of a large realm. Chosen.
MAX_PROGRAMS: Final = 4_096
# How the library names operators and what macros expand to, beside the functions that a text names itself.
_BUILT_IN: Final = frozenset(
    {"!_", "-_", "@in", "@not_strictly_false", "_!=_", "_%_", "_&&_", "_*_", "_+_", "_-_", "_/_", "_<=_", "_<_"}
    | {"_==_", "_>=_", "_>_", "_?_:_", "_[_]", "_||_"}
)


class CelCondition:
    """A compiled program. Immutable and safe to share between threads."""

    __slots__ = ("_program", "text")

    def __init__(self, text: str, program: Any) -> None:
        self.text = text
        self._program = program

    def evaluate(self, names: Mapping[str, Any]) -> bool:
        try:
            result = self._program.execute(names)
        except Exception as error:
            # The library has no base class for its errors: a missing key, a type mismatch, an overflow, a value it cannot convert
            # each come as another built-in one. Whatever it is, the condition has no answer.
            raise ConditionError(f"{type(error).__name__}: {error}") from error
        except BaseException as error:
            if _is_panic(error):
                raise ConditionError(f"the evaluator failed: {error}") from error
            raise
        if result is True or result is False:
            return bool(result)
        raise ConditionError(f"the result is {type(result).__name__}, neither true nor false")


class CelLanguage:
    """`names`: what its texts may speak of; those of a decision's conditions, unless another use has its own."""

    __slots__ = ("_names",)

    def __init__(self, names: frozenset[str] = NAMES) -> None:
        self._names = names

    def compile(self, text: str) -> Condition:
        """Raises ConditionSyntaxError with a message a person can act on."""
        return _compiled(text, self._names)


@lru_cache(maxsize=MAX_PROGRAMS)
def _compiled(text: str, names: frozenset[str]) -> CelCondition:
    bound = scan(text, names)
    try:
        program = cel.compile(text)
        variables = frozenset(program.variables())
        functions = frozenset(program.functions())
    except Exception as error:
        raise ConditionSyntaxError(f"not a CEL expression: {_first_line(str(error))}") from error
    except BaseException as error:
        if _is_panic(error):
            raise ConditionSyntaxError("not a CEL expression: the compiler failed on it") from error
        raise
    # The scanner has looked at every word already; should it ever read a text otherwise than the compiler, this still holds.
    for unknown in sorted(variables - names - TYPES - bound):
        raise ConditionSyntaxError(f"unknown name {unknown!r}; known are {', '.join(sorted(names))}")
    for unknown in sorted(functions - FUNCTIONS - METHODS - _BUILT_IN):
        # A macro with the wrong number of arguments arrives here as a function nobody has.
        raise ConditionSyntaxError(f"unknown function {unknown!r}, or a macro with the wrong number of arguments")
    return CelCondition(text, program)


def _is_panic(error: BaseException) -> bool:
    """Rust panics arrive as an exception that stands beside Exception, so that nothing catches it by chance; its class cannot be
    imported, only recognised."""
    return type(error).__name__ == "PanicException"


def _first_line(message: str) -> str:
    """The compiler's first complaint without the text it repeats."""
    _, mark, rest = message.partition("ERROR: ")
    return (rest if mark else message).splitlines()[0][:200]


_LANGUAGE: Final[ConditionLanguage] = CelLanguage()


def language() -> ConditionLanguage:
    return _LANGUAGE
