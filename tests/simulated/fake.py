"""Small nodes for tests of the world itself: they note what they are fed, and do what the test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from crdt.clock import Instant
from mesh.directives import Address, Directives, Event, Part
from mesh.outputs import Connect, Output, Publish, StreamClose, StreamWrite, Transmit
from simulations.machine.process import Process
from simulations.world import World

__all__ = ["FakeNode", "Note", "build_fakes"]


class Note(Event):
    def __init__(self, text: str) -> None:
        self.text = text


class FakeNode:
    """Notes (kind, monotonic ns, what) of every input; `then` may answer each with outputs of its own."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.holds = False
        self.seen: list[tuple[str, Instant, Any]] = []
        self.timers: list[int] = []
        self.then: Callable[[str, Any], None] = lambda kind, what: None
        self.batches: list[int] = []
        """How many datagrams were read together."""
        self._outputs: list[Output] = []
        self._streams = 1_000

    def _note(self, kind: str, now: Instant, what: Any = None) -> None:
        self.seen.append((kind, now, what))
        self.then(kind, what)

    def of(self, kind: str) -> list[Any]:
        return [what for known, _, what in self.seen if known == kind]

    # --- what a test asks of it ----------------------------------------------------------------------------------------

    def send(self, address: Address, data: bytes) -> None:
        self._do(Transmit(address, data))

    def dial(self, stream: int, address: Address) -> None:
        self._do(Connect(stream, address))

    def write(self, stream: int, data: bytes) -> None:
        self._do(StreamWrite(stream, data))

    def close(self, stream: int) -> None:
        self._do(StreamClose(stream))

    def say(self, text: str) -> None:
        self._do(Publish(Note(text)))

    def arm(self, delay: int) -> None:
        self.timers.append(self.process.instant().mono + delay)
        self.process.perform()

    def _do(self, output: Output) -> None:
        self._outputs.append(output)
        self.process.perform()

    # --- NodeLike --------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> None:
        self._note("start", now)

    def on_datagram(self, data: bytes, address: Address, now: Instant) -> None:
        self._note("datagram", now, (data, address))

    def on_datagrams(self, batch: Sequence[tuple[bytes, Address]], now: Instant) -> None:
        self.batches.append(len(batch))
        for data, address in batch:
            self._note("datagram", now, (data, address))

    def on_accept(self, address: Address, now: Instant) -> int:
        self._streams += 1
        self._note("accept", now, self._streams)
        return self._streams

    def on_connected(self, stream: int, now: Instant) -> None:
        self._note("connected", now, stream)

    def on_stream(self, stream: int, data: bytes, now: Instant) -> None:
        self._note("stream", now, (stream, data))

    def on_stream_end(self, stream: int, reason: str, now: Instant) -> None:
        self._note("end", now, (stream, reason))

    def on_refused(self, address: Address, now: Instant) -> None:
        self._note("refused", now, address)

    def on_committed(self, number: int, now: Instant) -> None:
        self._note("committed", now, number)

    def on_commit_failed(self, number: int, error: str, now: Instant) -> None:
        self._note("commit failed", now, (number, error))

    def on_due(self, now: Instant) -> None:
        due = sorted(at for at in self.timers if at <= now.mono)
        self.timers = [at for at in self.timers if at > now.mono]
        for at in due:
            self._note("due", now, at)

    def stop(self, now: Instant) -> None:
        self._note("stop", now)

    def due(self) -> int | None:
        return min(self.timers, default=None)

    def command(self, part: Part, directives: Directives, now: Instant) -> None:
        self._note("command", now, directives)

    def flush(self) -> None: ...

    def take(self) -> list[Output]:
        outputs, self._outputs = self._outputs, []
        return outputs


def build_fakes(world: World, *names: str) -> dict[str, FakeNode]:
    """A running machine for each name; the dictionary follows restarts."""
    nodes: dict[str, FakeNode] = {}

    def program(process: Process) -> FakeNode:
        node = nodes[process.machine] = FakeNode(process)
        return node

    for name in names:
        world.machine(name, program)
        world.boot(name)
    return nodes
