"""The body of an `async with`: entered under a lease that is guarded meanwhile, and given back at its end."""

from __future__ import annotations

from types import TracebackType

import trio

from coordination.agreed.vocabulary.modes import EXCLUSIVE, Mode
from coordination.errors import LeaseLost
from coordination.locking.holding import Held

__all__ = ["Claim"]


class Claim:
    """One entry of an `async with`: acquired, guarded, given back."""

    __slots__ = ("_held", "_scope", "key", "permits")

    def __init__(self, held: Held, mode: Mode = EXCLUSIVE) -> None:
        self._held = held
        self.key = held.key
        self.permits = mode.permits
        self._scope = trio.CancelScope()

    def enter(self) -> Held:
        self._scope.__enter__()
        self._held.guard(self._scope)
        return self._held

    async def exit(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        """Give it back; raises `LeaseLost` if the body was cancelled for its loss, or ended after it in peace. An error of its
        own goes first, with a note that says so."""
        lost: LeaseLost | None = None
        swallowed = False
        try:
            try:
                swallowed = bool(self._scope.__exit__(kind, error, tb))
            finally:
                if self._scope.cancelled_caught or not self._held.valid():
                    lost = self._held.lost()
        except Exception as rest:  # of a group: what was not cancelled here
            note(rest, lost)
            raise
        finally:
            await self._held.release()
        if lost is not None and (error is None or swallowed):
            raise lost
        note(error, lost)
        return swallowed


def note(error: BaseException | None, lost: LeaseLost | None) -> None:
    """What the body raises goes first; that it lost the lock is told all the same."""
    if lost is not None and isinstance(error, Exception):
        error.add_note(str(lost))
