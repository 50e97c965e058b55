"""What happened in a world: a ring of the last events, and a running digest over all of them, byte for byte.

A line is (true time ns, machine, kind, text, bytes). Two runs with equal digests were the same, to the last sealed byte; two
runs that should be and are not differ first where their whole traces (`follow`) do.

The kinds: boot stop crash halt pause resume fault / send recv lost cut full corrupt refused / dial accept connected write read
close end / event command."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from marshal import dumps
from typing import Any, NamedTuple

from mesh.directives import Event
from simulations.parcels import Parcel

__all__ = ["Line", "Trace"]

BATCH = 64
"""Lines that become bytes together: so few that they are still near."""
RING = 1_024
"""What it holds is no memory for what comes: with all messages of a world in it, that is always written to a place far away."""


class Line(NamedTuple):
    at: int
    machine: str
    kind: str
    text: str
    data: bytes | Event | str
    """Of a parcel in the ring: the names of its messages."""

    def digested(self) -> bytes:
        """An event counts by its class: what it holds came from bytes that count. So do the messages of a parcel."""
        data = self.data
        if isinstance(data, Parcel):
            data = data.text
        elif isinstance(data, Event):
            data = type(data).__name__
        return _digested([(*self[:-1], data)])

    def __str__(self) -> str:
        if isinstance(self.data, bytes):
            data = f"{len(self.data)} bytes {blake2b(self.data, digest_size=6).hexdigest()}" if self.data else ""
        else:
            data = str(self.data)
        return f"{self.at / 1e9:14.9f}  {self.machine:8} {self.kind:9} {self.text:28} {data}".rstrip()


Fields = tuple[int, str, str, str, Any]
"""A `Line` that nobody has looked at yet: to make one takes as long as all the rest of adding it."""


PLAIN = 2
"""The last version of marshal in which equal values are equal bytes, whatever refers to them."""
HEAD = 5
"""Bytes in front of what a list holds."""


def _digested(lines: list[Fields]) -> bytes:
    """These lines, one behind the other: nothing makes so many small tuples bytes as quickly as marshal does."""
    return dumps(lines, PLAIN)[HEAD:]


class Trace:
    """Parameters
    ----------
    ring: lines that are kept."""

    __slots__ = ("_hash", "_pending", "_ring", "_sinks", "_told", "lines")

    def __init__(self, ring: int = RING) -> None:
        self.lines = 0
        self._ring: deque[Fields] = deque(maxlen=ring)
        self._hash = blake2b(digest_size=16)
        self._pending: list[Fields] = []
        self._told: list[tuple[int, Event]] = []
        """The events among them, by their place."""
        self._sinks: tuple[Callable[[Line], None], ...] = ()

    def follow(self, sink: Callable[[Line], None]) -> None:
        """Call `sink` with every line from now on."""
        self._sinks = (*self._sinks, sink)

    def add(self, at: int, machine: str, kind: str, text: str = "", data: bytes = b"") -> None:
        pending = self._pending
        parcel: Any = data
        pending.append((at, machine, kind, text, parcel.text if type(parcel) is Parcel else data))
        if len(pending) >= BATCH:
            self._settle()
        if self._sinks:
            for sink in self._sinks:
                sink(Line(at, machine, kind, text, data))

    def tell(self, at: int, machine: str, event: Event) -> None:
        """A node has told its embedder something."""
        pending = self._pending
        self._told.append((len(pending), event))
        pending.append((at, machine, "event", "", type(event).__name__))
        if len(pending) >= BATCH:
            self._settle()
        if self._sinks:
            for sink in self._sinks:
                sink(Line(at, machine, "event", "", event))

    def _settle(self) -> None:
        pending = self._pending
        self._hash.update(_digested(pending))
        if self._told:
            for place, event in self._told:
                pending[place] = (*pending[place][:-1], event)
            self._told.clear()
        self._ring.extend(pending)
        self.lines += len(pending)
        pending.clear()

    def digest(self) -> str:
        """Of every line so far."""
        self._settle()
        return self._hash.hexdigest()

    @property
    def ring(self) -> list[Line]:
        """The last lines."""
        self._settle()
        return list(map(Line._make, self._ring))

    def forget(self) -> None:
        """Keep the digest, and no line."""
        self._settle()
        self._ring.clear()

    def last(self, count: int = 60, *, machine: str = "", kind: str = "") -> str:
        """The last lines of the ring, readable; of one machine or kind only, if it is given."""
        found = [line for line in self.ring if (not machine or line.machine == machine) and (not kind or line.kind == kind)]
        return "\n".join(map(str, found[-count:]))
