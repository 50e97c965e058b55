"""The seam between a node, what drives it, and what embeds it.

`NodeLike` is what a driver needs of a node; `Driver` is what the layer above needs of a driver. The Trio shell
(`mesh.shell`) is one driver, a simulated world another; whoever writes against `Driver` runs on both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from crdt.clock import Instant
from mesh.directives import Address, Directives, Event, Part
from mesh.outputs import Output

__all__ = ["Driver", "NodeLike"]


class NodeLike(Protocol):
    """A node without I/O. Every input is one step; the driver takes and performs the outputs after it, in order."""

    holds: bool
    """Whether what it sends waits for `flush`: set by a driver that calls it."""

    def flush(self) -> None: ...

    def start(self, now: Instant, /) -> None: ...
    def on_datagram(self, data: bytes, address: Address, now: Instant, /) -> None: ...
    def on_datagrams(self, batch: Sequence[tuple[bytes, Address]], now: Instant, /) -> None: ...
    def on_accept(self, address: Address, now: Instant, /) -> int: ...
    def on_connected(self, stream: int, now: Instant, /) -> None: ...
    def on_stream(self, stream: int, data: bytes, now: Instant, /) -> None: ...
    def on_stream_end(self, stream: int, reason: str, now: Instant, /) -> None: ...
    def on_refused(self, address: Address, now: Instant, /) -> None: ...
    def on_committed(self, number: int, now: Instant, /) -> None: ...
    def on_commit_failed(self, number: int, error: str, now: Instant, /) -> None: ...
    def on_due(self, now: Instant, /) -> None: ...
    def stop(self, now: Instant, /) -> None: ...
    def due(self) -> int | None: ...
    def command(self, part: Part, directives: Directives, now: Instant, /) -> None: ...
    def take(self) -> list[Output]: ...


N_co = TypeVar("N_co", bound=NodeLike, covariant=True)


class Driver(Protocol[N_co]):
    """What performs a node's outputs, as seen by the layer above."""

    @property
    def node(self) -> N_co: ...

    def instant(self) -> Instant:
        """The moment, as this driver reads its clocks."""

    def check(self) -> None:
        """Raises the reason if the node has halted, and `ClosedError` once it has been stopped."""

    def command(self, part: Part, directives: Directives, now: Instant | None = None) -> None:
        """Perform what a local command of `part` answered, at the moment that it was given. Not a checkpoint.

        Raises the reason if the node has halted, and `ClosedError` once it has been stopped."""

    async def stop(self) -> None:
        """Stop the node gracefully, as leaving its context does; then commands raise `ClosedError`. A checkpoint, shielded and
        bounded; a second time it does nothing."""

    def subscribe(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` with each event that the node publishes, at once and in order; it must not raise.

        It may give commands, whose outputs are performed after those under way. What was published before the first
        subscription is held and given to it. The answer ends the subscription."""

    def stats(self) -> dict[str, int]:
        """The driver's own counts."""
