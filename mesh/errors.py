"""Errors that end a node. Each says what happened and what to do; the public names stand in `coordination`."""

from __future__ import annotations

__all__ = ["AddressRefusedError", "BindFailedError", "ClosedError", "ForkedError", "MeshError", "NameTakenError"]


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


class BindFailedError(MeshError):
    """The address to listen on cannot be had, or is none."""

    def __init__(self, address: str, detail: str) -> None:
        super().__init__(f"cannot bind {address!r}: {detail}")
        self.address = address


class ClosedError(MeshError):
    """The node has been stopped: it takes no more commands."""

    def __init__(self) -> None:
        super().__init__("this peer has been closed: open a new one")


class ForkedError(MeshError):
    """This process is a fork of the one that opened the node. Two processes must not share one session."""

    def __init__(self, opened: int, current: int) -> None:
        super().__init__(
            f"this process (pid {current}) is a fork of the one that opened the peer (pid {opened}): open a peer of its own"
        )
