"""YAML text → plain data with the line of every place. Repeated keys, tags and doubtful words are mistakes, not guesses.

Built from the parser's events and not from its loader: the loader recurses in C, where a few hundred thousand brackets end the
process, and it lets a repeated key win without a word. Plain words are read as YAML 1.2's core schema reads them; where YAML 1.1
reads something else (`no`, `010`, `12:30`) the word is refused, since its author may have meant either.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from permissions.bundle.fields import join
from permissions.bundle.places import MAX_DEPTH, UnreadableError
from permissions.engine import names
from permissions.errors import Problem

# Ten times the largest known role catalogue (165,000 grants); counted with aliases written out, so that a few nested
# aliases cannot stand for billions of nodes.
MAX_NODES: Final = 2_000_000

STR_TAG: Final = "tag:yaml.org,2002:str"
NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
BOOLS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
INT: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,1000})")
FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
DOUBTFUL: Final = re.compile(
    r"""(?:yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF     # booleans of YAML 1.1
    |[-+]?0[bB][01_]+|[-+]?0[xX][0-9a-fA-F_]+|[-+]?0o?[0-9_]+   # other bases
    |[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?    # base sixty: 12:30
    |[-+]?[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?             # 1_000
    |=)""",
    re.VERBOSE,
)
# CSafeLoader is there wherever PyYAML's wheel is; the other reads the same, about ten times slower.
LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class _Frame:
    """A mapping or sequence that is being read. `first_line` is the line of each key read so far."""

    value: Any
    where: str
    anchor: str | None
    nodes: int = 1
    height: int = 1
    key: Any = None
    has_key: bool = False
    first_line: dict[Any, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: Any
    nodes: int
    height: int


class _Builder:
    def __init__(self) -> None:
        self.lines: dict[str, int] = {"": 1}
        self.problems: list[Problem] = []
        self.anchors: dict[str, _Anchored | None] = {}
        self.frames: list[_Frame] = []
        self.root: Any = None
        self.nodes = 0

    def place(self, line: int) -> str:
        """The place of the node that comes next, whose line is noted."""
        if not self.frames:
            where = ""
        else:
            frame = self.frames[-1]
            if isinstance(frame.value, list):
                where = f"{frame.where}[{len(frame.value)}]"
            elif not frame.has_key:
                return frame.where
            else:
                where = join(frame.where, frame.key if isinstance(frame.key, str) else repr(frame.key))
                line = frame.first_line.get(frame.key, line)
        self.lines.setdefault(where, line)
        return where

    def add(self, value: Any, line: int, nodes: int = 1, height: int = 0) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise UnreadableError(Problem("", f"holds more than {MAX_NODES:,} values, aliases written out", line))
        if not self.frames:
            self.root = value
            return
        frame = self.frames[-1]
        frame.nodes += nodes
        frame.height = max(frame.height, height + 1)
        if len(self.frames) + height > MAX_DEPTH:
            raise UnreadableError(Problem(frame.where, f"nests deeper than {MAX_DEPTH} levels", line))
        if isinstance(frame.value, list):
            frame.value.append(value)
        elif frame.has_key:
            frame.has_key = False
            frame.value.setdefault(frame.key, value)
        else:
            self.take_key(frame, value, line)

    def take_key(self, frame: _Frame, key: Any, line: int) -> None:
        if isinstance(key, list | dict):
            raise UnreadableError(Problem(frame.where, "a key must be a text, not a list or a mapping", line))
        if key in frame.first_line:
            first = frame.first_line[key]
            place = join(frame.where, str(key))
            message = f"the key {names.shown(str(key))} is repeated; it stands on line {first} already"
            self.problems.append(Problem(place, message, line))
        frame.first_line.setdefault(key, line)
        frame.key, frame.has_key = key, True

    def refuse_tag(self, tag: str, line: int) -> None:
        self.problems.append(Problem(self.place(line), f"the tag {names.shown(tag)} is not known here; leave it out", line))

    def scalar(self, event: yaml.ScalarEvent, line: int) -> Any:
        text = event.value
        if event.tag not in (None, STR_TAG, "!"):
            self.refuse_tag(event.tag, line)
            return text
        if event.tag is not None or not event.implicit[0]:
            return text
        if text in NULLS:
            return None
        if text in BOOLS:
            return BOOLS[text]
        if INT.fullmatch(text):
            return int(text)
        if FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if text == "<<":
            raise UnreadableError(Problem(self.place(line), "merge keys (<<) are not read; write the keys out", line))
        if DOUBTFUL.fullmatch(text):
            hint = "quote it, or write true, false or a decimal number"
            message = f"the plain word {names.shown(text)} means different things to YAML 1.1 and 1.2; {hint}"
            self.problems.append(Problem(self.place(line), message, line))
        return text

    def take(self, event: yaml.Event) -> None:
        line = _line_of(event)
        match event:
            case yaml.ScalarEvent():
                self.place(line)
                value = self.scalar(event, line)
                if event.anchor is not None:
                    self.anchors[event.anchor] = _Anchored(value, 1, 0)
                self.add(value, line)
            case yaml.AliasEvent():
                known = self.anchors.get(event.anchor or "")
                if known is None:
                    why = "refers to what contains it" if event.anchor in self.anchors else "has no anchor above it"
                    raise UnreadableError(Problem(self.place(line), f"the alias *{event.anchor} {why}", line))
                self.place(line)
                self.add(known.value, line, known.nodes, known.height)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                where = self.place(line)
                if event.tag not in (None, "!"):
                    self.refuse_tag(event.tag, line)
                if len(self.frames) >= MAX_DEPTH:
                    raise UnreadableError(Problem(where, f"nests deeper than {MAX_DEPTH} levels", line))
                if event.anchor is not None:
                    self.anchors[event.anchor] = None
                empty: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
                self.frames.append(_Frame(empty, where, event.anchor))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                frame = self.frames.pop()
                if frame.anchor is not None:
                    self.anchors[frame.anchor] = _Anchored(frame.value, frame.nodes, frame.height)
                # The children were counted when they came; the frame's own node is what is left to count.
                self.close(frame, line)

    def close(self, frame: _Frame, line: int) -> None:
        self.add(frame.value, line, 1, frame.height)
        if self.frames:
            self.frames[-1].nodes += frame.nodes - 1


def _line_of(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def load(text: str) -> tuple[Any, dict[str, int], list[Problem]]:
    """(data, place → line, mistakes that reading can survive). Raises UnreadableError where it cannot."""
    builder = _Builder()
    documents = 0
    try:
        for event in yaml.parse(text, Loader=LOADER):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise UnreadableError(Problem("", "a second document begins here; a file holds one bundle", _line_of(event)))
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(part for part in (error.problem, error.context) if part)
        raise UnreadableError(Problem("", f"is not YAML: {message}", mark.line + 1 if mark else None)) from error
    except yaml.reader.ReaderError as error:
        at = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else None
        raise UnreadableError(Problem("", f"is not YAML: {error.reason}", at)) from error
    except UnicodeError as error:
        raise UnreadableError(Problem("", "contains a lone surrogate, which no file can hold", None)) from error
    if documents == 0:
        raise UnreadableError(Problem("", "is empty; a bundle begins with 'version: 1'", 1))
    return builder.root, builder.lines, builder.problems
