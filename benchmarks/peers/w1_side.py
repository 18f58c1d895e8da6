"""What every peer that answers W1 has in common: its name, the answers to the first questions, and one round of checks."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any

from benchmarks import peers
from benchmarks.workloads import w1
from benchmarks.workloads.world import World

Question = tuple[str, str]


class W1Side(ABC):
    """A subclass sets `package`, builds its world in `build` and answers in `check`. Sizes come from the parent."""

    package = ""

    def __init__(self, subjects: int, checks: int, **more: Any) -> None:
        peers.on_path(peers.folder_of_environment())
        self.world: World = w1.build(subjects=subjects, checks=checks)
        self.questions = self.world.questions
        began = time.perf_counter()
        self.build(**more)
        self.built_s = time.perf_counter() - began

    @abstractmethod
    def build(self) -> None:
        """Makes the rival's own form of the world."""

    @abstractmethod
    def check(self, subject: str, code: str) -> bool:
        """The rival's answer."""

    def name(self) -> str:
        return peers.named(self.package)

    def answers(self, count: int) -> list[bool]:
        return [bool(self.check(subject, code)) for subject, code in self.questions[:count]]

    def round_ns(self, count: int) -> float:
        """Nanoseconds of this thread a check, over the first questions."""
        questions, check = self.questions[:count], self.check
        start = time.thread_time_ns()
        for subject, code in questions:
            check(subject, code)
        return (time.thread_time_ns() - start) / len(questions)
