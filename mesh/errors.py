"""Errors that end a node. Each says what happened and what to do; the public names stand in `coordination`."""

from __future__ import annotations

__all__ = ["AddressRefusedError", "MeshError", "NameTakenError"]


class MeshError(Exception):
    """Base of every error of the mesh."""


class NameTakenError(MeshError):
    """Another running process holds this node's name: it must not go on."""

    def __init__(self, name: str, address: str) -> None:
        super().__init__(f"the name {name!r} is taken by a process at {address}: stop that one, or choose another name")
        self.name = name
        self.address = address
        """Where the other holder is."""


class AddressRefusedError(MeshError):
    """The mesh cannot reach members at the address that this node advertises."""

    def __init__(self, address: str, detail: str) -> None:
        super().__init__(f"the address {address!r} is refused: {detail}; advertise one that the other members can reach")
        self.address = address
