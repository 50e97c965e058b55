"""What the socket parts of the shell need of the driver that runs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVarTuple

from mesh.driver import NodeLike

__all__ = ["Host"]

Args = TypeVarTuple("Args")


class Host(Protocol):
    """The driver, as seen from below."""

    counts: Counter[str]
    deaf: bool
    """The node has halted or stopped and must be told nothing more; what it wrote still leaves."""

    @property
    def node(self) -> NodeLike: ...

    def perform(self, datagrams: int = 1) -> None:
        """Take and perform the node's outputs: to be called after each of its inputs, which may be so many datagrams. What it
        sends may be held until the end of the turn."""

    def flush(self) -> bool:
        """Let it leave now."""

    def spawn(self, task: Callable[[*Args], Awaitable[object]], *args: *Args) -> None:
        """Run a task until the driver ends. An exception in it halts the driver."""
