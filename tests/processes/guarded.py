"""The guarded-file workload: five voters append numbers to files under one lock, and are stopped and killed meanwhile.

What must hold, whatever is done to them:
  - the fenced file counts 1, 2, 3, … and its tokens rise: nobody wrote what rested on an older number;
  - every write that was told to be done is there; every one that was tried was done, or refused and counted, or its process
    was killed in the middle of it;
  - once it is over, each of them has its turn again.

The bare file, which trusts the lock alone, shows that there was something to refuse: a number that stands there twice is an
update that was lost."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import trio

from coordination.demo.programs import Program, Programs, free_addresses
from tests.processes.guarded_worker import BARE, FENCED, TURN
from tests.processes.nodes import SECRET

__all__ = ["Tally", "campaign"]

WORKERS = 5
KILLED = 0.1
"""Of those that something is done to; the others are stopped for 0.1 to 2 ttl."""
AIMED = 0.5
"""Of them, that are in the middle of a body, as far as is known."""
CALM_SECONDS = 30.0
"""For each to have its turn once it is over: what a lost lease, a queue of five and a busy machine can take."""


@dataclass
class Tally:
    """What came of it."""

    seed: int
    writes: int = 0
    refused: int = 0
    """Stale writes and reads that the fence refused."""
    lost_by_bare: int = 0
    """Updates that are lost in the file without a fence."""
    unfinished: int = 0
    """Writes in whose middle the process was killed."""
    counts: Counter[str] = field(default_factory=Counter)
    """Stops, kills, bodies that lost their lease, acquires without a quorum."""

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
        return (
            f"guarded file, seed {self.seed}: {self.writes} writes, none lost; {self.refused} stale ones refused; "
            f"without a fence {self.lost_by_bare} lost; {counts}; {self.unfinished} killed while writing"
        )


@dataclass
class Stage:
    programs: Programs
    addresses: list[str]
    random: Random
    ttl: float
    tally: Tally
    workers: dict[str, Program] = field(default_factory=dict)
    """Those that are up, and that nothing is being done to."""

    @property
    def directory(self) -> Path:
        return self.programs.directory

    async def start(self, name: str, *, fresh: bool = False) -> None:
        told = {
            "name": name,
            "bind": self.addresses[int(name[1:])],
            "seeds": self.addresses,
            "directory": str(self.directory),
            "ttl": self.ttl,
            "seed": self.random.getrandbits(32),
            "fresh": fresh,
        }
        worker = await self.programs.start(f"worker {name}", "tests.processes.guarded_worker", json.dumps(told))
        assert (await worker.read())["up"]
        self.workers[name] = worker

    def journals(self) -> Iterator[dict[str, Any]]:
        for path in self.directory.glob("*.journal"):
            for line in path.read_text().splitlines():
                yield json.loads(line)

    def refusals(self) -> int:
        return sum("refused" in event for event in self.journals())

    def lines(self, file: str) -> list[tuple[int, int, str]]:
        """(number, token, who) of each write."""
        path = self.directory / file
        rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(int(number), int(token), who) for number, token, who in rows]

    def lost_by_bare(self) -> int:
        """Numbers that stand there once more than they should."""
        bare = self.lines(BARE)
        return len(bare) - len({number for number, _, _ in bare})

    # --- what is done to them ---------------------------------------------------------------------------------------

    async def torment(self, seconds: float, least: int, longest: float) -> None:
        """Stop and kill them at random for so long, and beyond that until so many stale ones were refused, and the bare file
        has lost an update: a run without either shows nothing."""
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            while (elapsed := trio.current_time() - began) < seconds or self.refusals() < least or not self.lost_by_bare():
                seen = f"{self.refusals()} of {least} were refused, {self.lost_by_bare()} are lost without a fence"
                assert elapsed < longest, f"in {elapsed:.0f} s {seen}"
                await trio.sleep(self.random.uniform(0.2, 1.0) * self.ttl)
                name = self._victim()
                if name is not None:
                    nursery.start_soon(self._kill if self.random.random() < KILLED else self._stop, name)

    def _victim(self) -> str | None:
        if self.random.random() < AIMED:
            turn = self.directory / TURN
            name = turn.read_text() if turn.exists() else ""
            return name if name in self.workers else None
        return self.random.choice(sorted(self.workers)) if self.workers else None

    async def _stop(self, name: str) -> None:
        worker = self.workers.pop(name)
        self.tally.counts["stops"] += 1
        worker.send(signal.SIGSTOP)
        await trio.sleep(self.random.uniform(0.1, 2.0) * self.ttl)
        worker.send(signal.SIGCONT)
        self.workers[name] = worker

    async def _kill(self, name: str) -> None:
        self.tally.counts["kills"] += 1
        await self.workers.pop(name).kill()
        await self.start(name)

    async def calm(self) -> None:
        """Nothing is done to them any more: each has its turn, and ends in order."""
        written = len(self.lines(FENCED))
        with trio.fail_after(CALM_SECONDS):
            while {who for _, _, who in self.lines(FENCED)[written:]} != set(self.workers):
                await trio.sleep(0.05)
        async with trio.open_nursery() as nursery:
            for worker in self.workers.values():
                nursery.start_soon(worker.end_input)

    # --- what must hold ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        tally, fenced = self.tally, self.lines(FENCED)
        where = f"seed {tally.seed}"
        assert [number for number, _, _ in fenced] == list(range(1, len(fenced) + 1)), f"an update is lost, {where}"
        tokens = [token for _, token, _ in fenced]
        assert tokens == sorted(set(tokens)), f"tokens fell, or one was held twice, {where}"
        events = list(self.journals())
        told = {(event["wrote"], event["token"]) for event in events if "wrote" in event}
        assert told <= {(number, token) for number, token, _ in fenced}, f"a write that was told to be done is lost, {where}"
        stale = [event for event in events if "refused" in event]
        assert all(event["token"] < event["fence"] for event in stale), f"a write was refused that is not stale, {where}"
        tried = sum("trying" in event for event in events)
        unfinished = tried - len(told) - sum(event["refused"] == "write" for event in stale)
        assert 0 <= unfinished <= tally.counts["kills"], f"a write was neither done nor refused, {where}"
        tally.writes, tally.refused, tally.unfinished = len(fenced), len(stale), unfinished
        tally.lost_by_bare = self.lost_by_bare()
        tally.counts["leases lost"] = sum("lost" in event for event in events)
        tally.counts["acquires without a quorum"] = sum("unavailable" in event for event in events)


async def campaign(seconds: float, *, ttl: float, seed: int, least: int, longest: float) -> Tally:
    """Run it for so long, and until at least so many writes were refused; for `longest` at the most.

    Raises
    ------
    AssertionError: something that must hold does not.
    """
    async with Programs.opened(SECRET) as programs:
        stage = Stage(programs, list(free_addresses(WORKERS)), Random(seed), ttl, Tally(seed))
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for index in range(WORKERS):
                    nursery.start_soon(lambda index=index: stage.start(f"g{index}", fresh=True))  # type: ignore[misc]
        await stage.torment(seconds, least, longest)
        await stage.calm()
        stage.check()
        return stage.tally
