"""A node without a protocol for the tests of the shell: it records its inputs, and says what it is told to say."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest
import trio

from crdt.clock import Instant
from mesh.directives import Address, Directives, Event, Part
from mesh.outputs import Output
from mesh.shell import TrioDriver, open_driver

__all__ = [
    "LOOPBACK",
    "SECONDS",
    "FakeNode",
    "Note",
    "descriptors_left",
    "dead_port",
    "give",
    "has_ipv6",
    "opened",
    "until_cancelled",
]

LOOPBACK = "127.0.0.1:0"

SECONDS = 10.0
"""What a test waits for a condition that must come about; far more than it takes."""

PART = cast(Part, object())


@dataclass(frozen=True, slots=True)
class Note(Event):
    """An event of these tests."""

    text: str


class FakeNode:
    """Every input is an entry of `heard`: its kind, then its arguments without the moment."""

    def __init__(self, address: Address = "") -> None:
        self.address = address
        self.holds = False
        self.kept: list[Output] = []
        """What waits for `flush`."""
        self.heard: list[tuple[Any, ...]] = []
        self.says: list[Output] = []
        self.on_start: list[Output] = []
        self.last_words: list[Output] = []
        self.timer: int | None = None
        self.batches: list[int] = []
        """How many datagrams were read together, each time that it was more than one."""
        self.react: Callable[[tuple[Any, ...]], None] | None = None
        """Called with each entry, within the step."""
        self._last = Instant(0, 0, 0)
        self._streams = 0
        self._changed = trio.Event()

    def _hear(self, now: Instant, *entry: Any) -> None:
        assert now.mono >= self._last.mono and now.boot >= self._last.boot, "moments must not go back"
        self._last = now
        assert not self.says, f"{entry} came before {self.says} was performed"
        self.heard.append(entry)
        self._changed.set()
        self._changed = trio.Event()
        if self.react is not None:
            self.react(entry)

    def start(self, now: Instant) -> None:
        self._hear(now, "start")
        self.says += self.on_start

    def on_datagram(self, data: bytes, address: Address, now: Instant) -> None:
        self._hear(now, "datagram", data, address)

    def on_datagrams(self, batch: Sequence[tuple[bytes, Address]], now: Instant) -> None:
        self.batches.append(len(batch))
        for data, address in batch:
            self._hear(now, "datagram", data, address)

    def on_accept(self, address: Address, now: Instant) -> int:
        self._streams += 1
        self._hear(now, "accept", self._streams, address)
        return self._streams

    def on_connected(self, stream: int, now: Instant) -> None:
        self._hear(now, "connected", stream)

    def on_stream(self, stream: int, data: bytes, now: Instant) -> None:
        self._hear(now, "stream", stream, data)

    def on_stream_end(self, stream: int, reason: str, now: Instant) -> None:
        self._hear(now, "end", stream, reason)

    def on_refused(self, address: Address, now: Instant) -> None:
        self._hear(now, "refused", address)

    def on_committed(self, number: int, now: Instant) -> None:
        self._hear(now, "committed", number)

    def on_commit_failed(self, number: int, error: str, now: Instant) -> None:
        self._hear(now, "commit failed", number, error)

    def on_due(self, now: Instant) -> None:
        assert self.timer is not None and now.mono >= self.timer, "woken before a timer was due"
        self.timer = None
        self._hear(now, "due")

    def stop(self, now: Instant) -> None:
        self._hear(now, "stop")
        self.says += self.last_words
        if not self.holds:
            self.flush()

    def command(self, part: Part, directives: Directives, now: Instant) -> None:
        self.says += cast(list[Output], directives)

    def due(self) -> int | None:
        return self.timer

    def flush(self) -> None:
        kept, self.kept = self.kept, []
        self.says += kept

    def take(self) -> list[Output]:
        says, self.says = self.says, []
        return says

    # --- for the tests ---------------------------------------------------------------------------------------------

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        """The entries of one kind, without it."""
        return [entry[1:] for entry in self.heard if entry[0] == kind]

    def received(self, stream: int) -> bytes:
        return b"".join(data for number, data in self.of("stream") if number == stream)

    def ends(self, stream: int) -> list[str]:
        return [reason for number, reason in self.of("end") if number == stream]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for what an input brings about."""
        with trio.fail_after(SECONDS):
            while not condition():
                await self._changed.wait()

    async def hears(self, kind: str, count: int = 1) -> tuple[Any, ...]:
        """Wait for so many entries of a kind; the last of these."""
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]


def opened(bind: str | None = LOOPBACK, **options: Any) -> AbstractAsyncContextManager[TrioDriver[FakeNode]]:
    return open_driver(FakeNode, bind=bind, **options)


def give(driver: TrioDriver[Any], *outputs: Output) -> None:
    """A command that makes the node say this."""
    driver.command(PART, cast(Directives, list(outputs)))


async def until_cancelled() -> None:
    """What a body does that is to be cancelled; fails if that does not come about."""
    with trio.move_on_after(SECONDS):
        await trio.sleep_forever()
    pytest.fail("the body was not cancelled")


@contextmanager
def descriptors_left() -> Iterator[list[int]]:
    """How many more descriptors are open after than before, in the list once the block has ended."""
    counts: list[int] = []
    before = _descriptors()
    yield counts
    counts.append(_descriptors() - before)


def _descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def dead_port(family: socket.AddressFamily = socket.AF_INET) -> tuple[Address, socket.socket]:
    """An address at which nothing listens, as long as the socket is held: a TCP socket that is bound, and only that."""
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    holder = socket.socket(family, socket.SOCK_STREAM)
    holder.bind((host, 0))
    port = holder.getsockname()[1]
    return (f"{host}:{port}" if family == socket.AF_INET else f"[{host}]:{port}"), holder


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True
