"""Many real processes that follow their members, and what each of them has seen so far."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from coordination.demo.programs import Program, Programs, free_addresses

__all__ = ["SECRET", "Flock", "Seen", "flock"]

FOUNDERS = ("m0", "m1", "m2")

SECRET = "a secret of the measured members, 32 bytes and more"

Start = Callable[[Programs, str, str], Any]
"""Starts the child of a name with its JSON; by default an ordinary process."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One change that one node saw."""

    observer: str
    kind: str
    member: str
    state: str
    at: int
    """Monotonic ns."""


@dataclass
class Flock:
    programs: Programs
    nursery: trio.Nursery
    addresses: list[str]
    start_child: Start
    profile: str
    nodes: dict[str, Program] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    views: dict[str, dict[str, str]] = field(default_factory=dict)
    """By observer: how it sees each member now."""
    reports: dict[str, trio.MemoryReceiveChannel[dict[str, Any]]] = field(default_factory=dict)

    async def start(self, name: str) -> None:
        """Start the node and wait until it is up."""
        own = self.addresses[int(name[1:])]
        founder = name in FOUNDERS
        told = {
            "name": name, "bind": own, "seeds": self.addresses[: len(FOUNDERS)], "profile": self.profile,
            "expect": len(FOUNDERS) if founder else 1, "voter": founder,
        }  # fmt: skip
        program = await self.start_child(self.programs, name, json.dumps(told))
        message = await program.read()
        assert message["up"] == name, message
        self.nodes[name] = program
        self.views[name] = {}
        told_by, self.reports[name] = trio.open_memory_channel[dict[str, Any]](4)
        self.nursery.start_soon(self._listen, name, program, told_by)

    async def _listen(self, name: str, program: Program, reports: trio.MemorySendChannel[dict[str, Any]]) -> None:
        while True:
            try:
                message = await program.read()
            except Exception:
                if program.ended:
                    return  # it was killed, or stopped
                raise
            if "stats" in message:
                await reports.send(message)
            else:
                seen = Seen(name, message["kind"], message["member"], message["state"], message["at"])
                self.seen.append(seen)
                self.views[name][seen.member] = seen.state

    async def kill(self, name: str) -> int:
        """SIGKILL; the monotonic ns at which it was sent."""
        program = self.nodes.pop(name)
        self.views.pop(name)
        at = time.monotonic_ns()
        await program.kill()
        return at

    async def until(self, condition: Callable[[], bool], within: float) -> None:
        """Wait for what the nodes see. Raises `trio.TooSlowError`."""
        with trio.fail_after(within):
            while not condition():
                await trio.sleep(0.01)

    def whole(self) -> bool:
        """Whether everyone that runs sees all that run alive."""
        return all(self.views[name].get(other) == "alive" for name in self.nodes for other in self.nodes)

    def all_see(self, name: str, state: str) -> bool:
        return all(view.get(name) == state for view in self.views.values())

    def accused(self, since: int = 0) -> list[Seen]:
        """Verdicts of death on somebody that runs."""
        return [seen for seen in self.seen[since:] if seen.state == "dead" and seen.member in self.nodes]

    async def report(self, name: str) -> dict[str, Any]:
        """Its counts and the processor's seconds that it has used, now."""
        await self.nodes[name].write({})
        return await self.reports[name].receive()

    def proportional_bytes(self, name: str) -> int:
        """Its share of memory (PSS); 0 where the system does not tell."""
        try:
            lines = Path(f"/proc/{self.nodes[name].pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            return 0
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


async def _ordinary(programs: Programs, name: str, told: str) -> Program:
    return await programs.start(name, "tests.processes.member", told)


@asynccontextmanager
async def flock(
    count: int,
    *,
    profile: str = "lan",
    addresses: list[str] | None = None,
    start_child: Start = _ordinary,
    within: float = 120.0,
) -> AsyncIterator[Flock]:
    """So many nodes that all see each other alive. On leaving, none is left."""
    async with Programs.opened(SECRET) as programs, trio.open_nursery() as nursery:
        made = Flock(programs, nursery, addresses or list(free_addresses(count)), start_child, profile)
        try:
            with trio.fail_after(within):
                async with trio.open_nursery() as starting:
                    for number in range(count):
                        starting.start_soon(made.start, f"m{number}")
            await made.until(made.whole, within)
            yield made
        finally:
            nursery.cancel_scope.cancel()
