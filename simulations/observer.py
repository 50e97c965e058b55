"""What may look at a world while it runs: checkers, recorders, workloads."""

from __future__ import annotations

from mesh.directives import Address, Event
from simulations.machine.process import Process

__all__ = ["Observer"]


class Observer:
    """Overrides what it wants to see; the rest costs nothing. It may look, and must not change anything but itself."""

    hears: tuple[type[Event], ...] = (Event,)
    """What it wants to be told of by `published`."""

    def booted(self, process: Process) -> None:
        """A process was made; its node starts now."""

    def died(self, process: Process) -> None:
        """Killed, or exited."""

    def stepped(self, process: Process) -> None:
        """An input was handled and its outputs were performed."""

    def settled(self, process: Process) -> None:
        """As `stepped`, after the steps in which the node has told its embedder something."""

    def published(self, process: Process, event: Event) -> None:
        """The node told its embedder something."""

    def transmitted(self, process: Process, address: Address, data: bytes) -> None:
        """A datagram was given to the network."""

    def wrote(self, process: Process, stream: int, data: bytes) -> None:
        """Bytes were written to a stream."""
