"""Where members were that have been forgotten as dead.

The list of members forgets them in the end; the search does not, or a partition that outlasts every memory would never
heal. The list is bounded, and the addresses are dialled at the same bounded rate as those of the dead."""

from __future__ import annotations

from mesh.directives import Address

__all__ = ["MAX_LOST", "Lost"]

MAX_LOST = 256
"""The oldest goes first."""


class Lost:
    __slots__ = ("_addresses",)

    def __init__(self) -> None:
        self._addresses: dict[Address, None] = {}

    def add(self, address: Address) -> None:
        self._addresses.pop(address, None)
        self._addresses[address] = None
        if len(self._addresses) > MAX_LOST:
            del self._addresses[next(iter(self._addresses))]

    def found(self, address: Address) -> None:
        """A member lives there."""
        self._addresses.pop(address, None)

    def addresses(self) -> tuple[Address, ...]:
        return tuple(self._addresses)
