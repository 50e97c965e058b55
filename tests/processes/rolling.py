"""A rolling restart of five voters under load: each is stopped by SIGTERM and started again, one after the other.

With a state directory a voter votes again as soon as it is up, and the next one follows at once. Without one it abstains until
the others have told it what it may have promised; the next one follows when `explain` shows no register any more in which the
last one abstains or is missing.

The load is two members that do not vote, in this very process, so that what they do is seen in true time: under each of some
locks there is never more than one, tokens rise, and no acquire fails or takes longer than the ttl and two seconds."""

from __future__ import annotations

import json
import signal
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import trio

from coordination import MeshError, Peer, open_peer
from coordination.demo.programs import Program, Programs, free_addresses
from tests.processes.nodes import SECRET

__all__ = ["VOTERS", "Load", "rolling_restart"]

VOTERS = ("v0", "v1", "v2", "v3", "v4")
LOCKS = tuple([f"rolling/{number}" for number in range(8)])
"""Enough that each voter is in the group of some."""
TTL = 2.0
HOLD = 0.003
REST = 0.1
UP_SECONDS = 60.0
VOTES_SECONDS = 60.0


@dataclass
class Load:
    """What those who lock have seen."""

    took: list[float] = field(default_factory=list)
    """Seconds of each acquire."""
    failed: list[str] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)
    """Seconds from each stop until the next one was due."""
    over: bool = False
    """Everyone ends, once what it waits for has come or failed."""
    late: float = 0.0
    """Seconds for which this very process came too late to its own timers: nobody waited for the mesh meanwhile."""
    _inside: dict[str, int] = field(default_factory=dict)
    _tokens: dict[str, int] = field(default_factory=dict)

    async def mind_lateness(self) -> None:
        while not self.over:
            due = trio.current_time() + REST
            await trio.sleep_until(due)
            self.late += trio.current_time() - due

    async def use(self, peer: Peer, name: str) -> None:
        """Take one lock again and again."""
        lock = peer.lock(name, ttl=TTL)
        while not self.over:
            began = trio.current_time() - self.late
            try:
                async with lock as held:
                    self.took.append(trio.current_time() - self.late - began)
                    self._inside[name] = self._inside.get(name, 0) + 1
                    assert self._inside[name] == 1, f"two hold {name}"
                    assert held.token > self._tokens.get(name, 0), f"the tokens of {name} fell"
                    self._tokens[name] = held.token
                    try:
                        await trio.sleep(HOLD)
                    finally:
                        self._inside[name] -= 1
            except MeshError as error:
                self.failed.append(f"{type(error).__name__} after {trio.current_time() - self.late - began:.2f} s: {error}")
            await trio.sleep(REST)

    def check(self) -> None:
        assert not self.failed, self.failed[:5]
        assert max(self.took) <= TTL + 2, f"an acquire took {max(self.took):.2f} s"

    def __str__(self) -> str:
        took = sorted(self.took)
        return (
            f"{len(self.restarts)} restarts, each {min(self.restarts):.1f} to {max(self.restarts):.1f} s; "
            f"{len(took)} acquires, {len(self.failed)} failed, median {took[len(took) // 2] * 1000:.0f} ms, "
            f"99th {took[len(took) * 99 // 100] * 1000:.0f} ms, longest {took[-1]:.2f} s"
        )


@dataclass
class Voters:
    programs: Programs
    addresses: list[str]
    durable: Collection[str]
    """Those with a state directory."""
    max_ttl: float
    running: dict[str, Program] = field(default_factory=dict)

    async def start(self, name: str, *, fresh: bool = False) -> None:
        told = {
            "name": name,
            "bind": self.addresses[VOTERS.index(name)],
            "seeds": self.addresses,
            "expect": len(VOTERS),
            "state_dir": str(self.programs.directory / name) if name in self.durable else None,
            "fresh": fresh,
            "profile": "local",
            "config": {"max_ttl": self.max_ttl},
        }
        voter = await self.programs.start(f"voter {name}", "tests.processes.voter", json.dumps(told))
        with trio.fail_after(UP_SECONDS):
            assert (await voter.read())["event"] == "up"
        self.running[name] = voter

    async def restart(self, name: str, peer: Peer) -> None:
        """Stop one in order and start it again; returns when the next one may follow."""
        voter = self.running.pop(name)
        voter.send(signal.SIGTERM)
        assert await voter.read() == {"event": "stopped"}
        await voter.end_input()
        await self.start(name)
        if name in self.durable:
            return
        with trio.fail_after(VOTES_SECONDS):
            while not await votes(peer, name):
                await trio.sleep(0.1)


async def votes(peer: Peer, name: str) -> bool:
    """Whether a voter votes in every group that it belongs to, of the registers that are used."""
    explained = [await peer.explain(lock) for lock in LOCKS]
    concerned = [each for each in explained if name in each.group]
    assert concerned, f"{name} is in no group: use more locks"
    return not any(name in each.missing or name in dict(each.abstaining) for each in concerned)


async def rolling_restart(order: Sequence[str], *, durable: Collection[str], max_ttl: float = 15.0) -> Load:
    """Restart these voters, one after the other; those that are `durable` have a state directory."""
    load = Load()
    async with Programs.opened(SECRET) as programs:
        voters = Voters(programs, list(free_addresses(len(VOTERS))), durable, max_ttl)
        async with trio.open_nursery() as nursery:
            for name in VOTERS:
                nursery.start_soon(lambda name=name: voters.start(name, fresh=True))  # type: ignore[misc]
        async with (
            open_peer(name="one", seeds=voters.addresses, voter=False, secret=SECRET, profile="local") as one,
            open_peer(name="two", seeds=voters.addresses, voter=False, secret=SECRET, profile="local") as two,
            trio.open_nursery() as users,
        ):
            users.start_soon(load.mind_lateness)
            for peer in (one, two):
                for lock in LOCKS:
                    users.start_soon(load.use, peer, lock)
            await trio.sleep(1)
            for name in order:
                began = trio.current_time()
                await voters.restart(name, one)
                load.restarts.append(trio.current_time() - began)
            await trio.sleep(1)
            load.over = True
    load.check()
    return load
