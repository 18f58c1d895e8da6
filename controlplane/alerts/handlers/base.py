"""The port of a handler: told of a payload, it delivers it or says why not, and whether another attempt may help."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from permissions.errors import Problem


@dataclass(frozen=True, slots=True)
class Message:
    """`key`: the same for every double of one notice. `timeout_s`: of one attempt, altogether."""

    payload: Mapping[str, Any]
    key: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one configured handler: its options as `checked` left them, its secret in clear; neither is ever logged."""

    name: str
    options: Mapping[str, Any]
    secret: str = ""


class NotDelivered(Exception):
    """Why, in words that hold no secret. `is_final`: another attempt would end the same way.

    `retry_after_s`: nothing was tried, and nothing is to be tried before: the notice waits.
    """

    def __init__(self, why: str, *, is_final: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.is_final = is_final
        self.retry_after_s = retry_after_s


class Handler(ABC):
    """Subclasses name their kind. One object serves all handlers of its kind, from several threads."""

    kind: ClassVar[str]
    # Attempts for one notice.
    tries: ClassVar[int] = 1
    # Whether it signs: the key is drawn where the handler is made, and shown there once.
    signs: ClassVar[bool] = False
    # Options that are kept sealed and never shown again, since they may carry a token themselves.
    sealed: ClassVar[tuple[str, ...]] = ()

    def checked(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
        """Typed options, and every mistake in them."""
        return {}, [Problem(f"options.{str(name)[:60]}", "is not known here") for name in options]

    def shown(self, name: str, value: Any) -> Any:
        """What people see of a sealed option."""
        return "…"

    @abstractmethod
    def deliver(self, message: Message, settings: Settings) -> None:
        """Raises NotDelivered; any other exception counts as a fault that another attempt may heal."""
