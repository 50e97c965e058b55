"""What the kernel of a simulated machine holds for a process that does not read: in order, as much as the buffer takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["Inbox"]


class Inbox:
    """What the kernel holds of one socket for a process that does not read."""

    __slots__ = ("held", "items", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.items: deque[tuple[int, Callable[..., None], tuple[Any, ...]]] = deque()

    def add(self, size: int, action: Callable[..., None], *args: Any) -> bool:
        """False if it is full."""
        if self.held + size > self.limit:
            return False
        self.held += size
        self.items.append((size, action, args))
        return True

    def take(self) -> None:
        """Do what has waited longest."""
        size, action, args = self.items.popleft()
        self.held -= size
        action(*args)
