"""The causal trace of a run: all that happened, numbered, in plain words, and what each thing came of.

It is recorded in a run of its own: the same seed gives the same run, so that a run that failed is run again with its recording
on, and no other run pays for it. What is recorded changes nothing in the world: the digest stays.

Causes travel with the one heap. Whatever is put there while something is handled was caused by what happened last; a receipt
names what was sent, by its bytes, whichever buffers it waited in; a timer names the input in which it was armed; what a step
sends and tells names the step's input. A step in which several timers were due names the last of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from mesh.directives import Address, Event
from mesh.driver import NodeLike
from mesh.node import Node
from mesh.timers import Timers
from simulations.faults import Fault
from simulations.machine.process import Process
from simulations.observer import Observer
from simulations.parcels import Parcel
from simulations.running import Result, Scenario
from simulations.schedule import Schedule
from simulations.trace import Line
from simulations.traces.decoding import Decoder
from simulations.world import World

__all__ = ["Happening", "Recorded", "Recording", "record"]

INPUTS = frozenset((
    "boot", "stop", "crash", "pause", "resume", "fault", "recv", "read", "accept", "connected", "end", "refused", "timer",
    "command", "turn",
))  # fmt: skip
"""What is handed to a process or done to it; the others come of these."""
STREAMING = ("dial", "accept", "connected", "read", "write", "close", "end")
TELLING = ("event", "fault")
"""Whoever hears of these may act at once."""


class Happening(NamedTuple):
    n: int
    """From 1."""
    at: int
    """True ns."""
    node: str
    kind: str
    what: str
    """The other end, the stream, the timer, the part that is commanded, the fault."""
    detail: str
    """The messages, the event."""
    bytes: int
    cause: int
    """The number of what led to it; 0 if that is outside, or unknown."""


class Recording(Observer):
    """Records a world from now on; to be made before anything happens in it.

    Parameters
    ----------
    sink: is given each happening, in order."""

    def __init__(self, world: World, sink: Callable[[Happening], None]) -> None:
        self.world = world
        self.count = 0
        self._sink = sink
        self._decoder = Decoder()
        self._texts: dict[bytes, str] = {}
        """What is in all bytes that were sent."""
        self._sent: dict[bytes, int] = {}
        self._boots: dict[str, int] = {}
        self._names: dict[Address, str] = {}
        self._far: dict[tuple[str, str], str] = {}
        """The machine at the other end of each stream."""
        self._met: dict[Process, NodeLike] = {}
        self._root = self._step = self._input = self._last = 0
        """What led to the action under way; in it: the input whose step is under way, the last input, what happened last."""
        self._last_kind = ""
        world.schedule.__class__ = self._schedule()
        world.trace.follow(self._on_line)
        world.observe(self)

    def add(
        self, at: int, node: str, kind: str, text: str = "", data: bytes | Event = b"", *,
        detail: str = "", cause: int | None = None,
    ) -> int:  # fmt: skip
        """Put down what is not in the world's own trace; as `Trace.add`, the answer is its number."""
        if cause is None:
            cause = self._cause(kind, data)
        size = 0 if isinstance(data, Event) else len(data)
        if isinstance(data, Event):
            detail = self._decoder.brief(data)
        self.count = number = self.count + 1
        if kind in INPUTS:
            self._step = self._input = number
        if kind == "turn":  # of all tasks of a service: what they do comes of it
            self._root = number
        self._last, self._last_kind = number, kind
        self._sink(Happening(number, at, node, kind, text, detail, size, cause))
        return number

    def _cause(self, kind: str, data: bytes | Event) -> int:
        if kind not in INPUTS:
            return self._step
        if kind in ("recv", "read"):
            return self._sent.get(data, self._root)  # type: ignore[arg-type]
        return self._last if self._last_kind in TELLING else self._root

    # --- the heap --------------------------------------------------------------------------------------------------------

    def _schedule(self) -> type[Schedule]:
        """The world's own heap, whose entries remember what put them there."""
        recording = self

        class Causal(Schedule):
            __slots__ = ()

            def at(self, time: int, action: Callable[..., object], *args: Any) -> None:
                super().at(time, recording._within, recording._led_to(action), action, args)

            def after(self, delay: int, action: Callable[..., object], *args: Any) -> None:
                super().after(delay, recording._within, recording._led_to(action), action, args)

        return Causal

    def _led_to(self, action: Callable[..., object]) -> int:
        """What the network does comes of what it was given last; anything else of the input, or of what was told."""
        network = getattr(action, "__self__", None) in (self.world.datagrams, self.world.streams)
        return self._last if network or self._last_kind in TELLING else self._input

    def _within(self, cause: int, action: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._root = self._step = self._input = self._last = cause
        self._last_kind = ""
        try:
            action(*args)
        finally:
            self._root = self._step = self._input = self._last = 0

    # --- what happens ----------------------------------------------------------------------------------------------------

    def _on_line(self, line: Line) -> None:
        at, node, kind, text, data = line
        assert not isinstance(data, str), "this line has been in the ring"
        detail = ""
        if data and not isinstance(data, Event):
            detail = self._texts.get(data) or f"{len(data)} bytes"
        if kind in ("recv", "full"):
            text = self._machine(text)
        elif kind in STREAMING:
            text = self._stream(node, kind, text)
        number = self.add(at, node, kind, text, data, detail=detail)
        if kind == "boot":
            self._boots[node] = number
        elif data:
            self._sent.setdefault(data, number)  # type: ignore[arg-type]

    def _machine(self, address: Address) -> str:
        if len(self._names) < len(self.world.machines):
            self._names = {machine.address: name for name, machine in self.world.machines.items()}
        return self._names.get(address, address)

    def _stream(self, node: str, kind: str, text: str) -> str:
        """The number of a stream, the machine at its other end, and why it ended."""
        number, _, rest = text.partition(" ")
        if kind in ("dial", "accept"):
            self._far[node, number] = rest = self._machine(rest)
            return f"{number} {rest}"
        return f"{number} {self._far.get((node, number), '?')} {rest}".rstrip()

    def booted(self, process: Process) -> None:
        self._decoder.learn(process.sources().session, process.address, _name(process))

    def transmitted(self, process: Process, address: Address, data: bytes) -> None:
        node = self._meet(process)
        if isinstance(data, Parcel):
            self._texts[data] = self._decoder.messages(data.frame)
        elif node is not None:
            self._texts[data] = self._decoder.datagram(
                node._seal.keyring, _name(process), process.address, address, data
            )  # fmt: skip

    def wrote(self, process: Process, stream: int, data: bytes) -> None:
        node, end = self._meet(process), self.world.streams.end(process, stream)
        if node is not None and end is not None and end.open:
            ends = end.connection.ends
            who = [(_name(each.process), each.process.address) for each in ends]
            self._texts[data] = self._decoder.written(
                node._seal.keyring, end.connection.number, ends.index(end), data, who, node._envelope.keys
            )

    def published(self, process: Process, event: Event) -> None:
        self._meet(process)

    def stepped(self, process: Process) -> None:
        self._meet(process)
        self._step = self._root

    def _meet(self, process: Process) -> Node | None:
        """Its node, whose timers are watched from its first step on; None if it is no whole node."""
        node = process.node
        if not isinstance(node, Node):
            return None
        if self._met.get(process) is not node:
            self._met[process] = node
            parts = ["node", *[part.name for part in node.parts]]
            boot = self._boots.get(process.machine, 0)

            def fired(owner: int, timer: Hashable, armed: int | None) -> None:
                name = f"{parts[owner + 1]} {self._decoder.brief(timer)}"
                self.add(self.world.now, process.machine, "timer", name, cause=boot if armed is None else armed)

            node.keep_time(_Watched(node._timers, fired, lambda: self._step))
        return node


class _Watched(Timers):
    """Timers that remember the input in which each was armed."""

    __slots__ = ("_armed", "_fired", "_under_way")

    def __init__(
        self, timers: Timers, fired: Callable[[int, Hashable, int | None], None], under_way: Callable[[], int]
    ) -> None:  # fmt: skip
        self._heap, self._live, self._token, self._tokens = timers._heap, timers._live, timers._token, timers._tokens
        self._armed: dict[tuple[int, Hashable], int] = {}
        self._fired = fired
        self._under_way = under_way

    def arm(self, owner: int, timer: Hashable, at: int) -> None:
        super().arm(owner, timer, at)
        self._armed[owner, timer] = self._under_way()

    def pop(self, now: int) -> tuple[int, Hashable] | None:
        due = super().pop(now)
        if due is not None:
            self._fired(*due, self._armed.pop(due, None))
        return due


def _name(process: Process) -> str:
    return f"{process.machine}#{process.boot}"


class Recorded(NamedTuple):
    result: Result
    happenings: list[Happening]


def record(
    scenario: Scenario,
    seed: int,
    plan: Sequence[Fault] | None = None,
    *,
    nodes: int | None = None,
    profile: str | None = None,
    duration: int | None = None,
) -> Recorded:
    """Run one seed with its recording on. Raises as `Scenario.run`."""
    happenings: list[Happening] = []

    def seen(world: World) -> None:
        Recording(world, happenings.append)

    return Recorded(scenario.run(seed, plan, nodes=nodes, profile=profile, duration=duration, seen=seen), happenings)
