"""Atomic registers through a sponsor: what `coordination.counting.atomic` is to a peer.

The sponsor calls them, under the client's session and the sequence of the asking, and remembers what it answered; the client
never sends a change twice."""

from __future__ import annotations

from typing import Any

from coordination.arguments.calling import add_op, cas_op, encode_atomic, register_key, set_op
from coordination.thin.core import ThinCore
from mesh.values import decode_value

__all__ = ["ThinAtomicRegister"]


class ThinAtomicRegister:
    """One register: `client.atomic(name)`. As `AtomicRegister`, and if the stream breaks before the answer a change raises
    `OutcomeUnknown`, a read `Unreachable`; every later call raises `Disconnected`."""

    __slots__ = ("_core", "name")

    def __init__(self, core: ThinCore, name: str) -> None:
        register_key(name)
        self._core = core
        self.name = name

    async def get(self) -> Any:
        """The value at a moment between call and return; None if it was never set. A checkpoint."""
        return decode_value(await self._core.ask("atomic_get", self.name))

    async def set(self, value: Any) -> None:
        """Replace the value. A checkpoint. Raises as `AtomicRegister.set`."""
        await self._core.ask("atomic_set", self.name, set_op(encode_atomic(value)).value)

    async def compare_and_set(self, old: Any, new: Any) -> bool:
        """Replace the value if it is `old`; whether it was. A checkpoint. Raises as `AtomicRegister.compare_and_set`."""
        op = cas_op(encode_atomic(old), encode_atomic(new))
        done: bool = await self._core.ask("atomic_cas", self.name, op.old, op.value)
        return done

    async def add(self, n: int = 1) -> int:
        """Add to an integer; the sum. A checkpoint. Raises as `AtomicRegister.add`."""
        total: int = await self._core.ask("atomic_add", self.name, add_op(n, self.name).n)
        return total
