"""What the end of a `with` block closes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Optional, TypeVar

_T = TypeVar("_T", bound="Closing")


class Closing(ABC):
    """Closed at the end of its `with` block, whatever ended it."""

    @abstractmethod
    def close(self) -> None:
        """May be called again."""

    def __enter__(self: _T) -> _T:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()
