"""Locks over three and five processes: how many a second, at what cost, how fast they pass on, when they are free again.

Each verifies its own result: tokens rise for each client, no token is granted twice, a new grant has a higher token."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from typing import Any, NamedTuple

import trio

from coordination.agreed.vocabulary.roster import DEFAULT_PARAMETERS
from coordination.demo.programs import Program
from tests.benchmarks.figures import percentile, rate, times, title
from tests.benchmarks.limits import round_trip, sealed_round_trips
from tests.benchmarks.processes import SECONDS, founders, reports

__all__ = ["Done", "locks", "main"]

KILL_TTL = 2.0
SLACK = 0.3
KILLS = 3
WITHIN = 30.0


class Done(NamedTuple):
    """What came of one run."""

    per_second: float
    took: list[float]
    """Seconds of each acquire and release."""
    turns: list[tuple[int, float, float]]
    """Of one lock for all: (token, granted, released), by the clock that all processes share."""
    cpu: float
    """Microseconds of processor for each, of all processes together."""
    messages: float
    datagrams: float
    """Sent for each, with whatever else the nodes say meanwhile."""


async def spent(nodes: list[Program]) -> list[float]:
    """Of all processes together: seconds of processor, messages, datagrams."""
    found = []
    for node in nodes:
        await node.write({"job": "spent"})
        report = await node.read()
        found.append([report["cpu"], report["messages"], report["datagrams"]])
    return [sum(column) for column in zip(*found, strict=True)]


async def locks(nodes: list[Program], clients: list[int], *, shared: bool, body: bool = False) -> Done:
    """Acquire and release, by so many clients on each process: each its own lock, or all the same one; as the body of
    `async with`, or by two calls."""
    took: list[float] = []
    tokens: list[int] = []
    turns: list[tuple[int, float, float]] = []
    before = await spent(nodes)
    for report in await reports(nodes, clients, {"job": "locks", "seconds": SECONDS, "shared": shared, "body": body}):
        assert report["rising"], "tokens fell"
        took += report["took"]
        tokens += report["tokens"]
        turns += [(token, granted, released) for token, granted, released in report["turns"]]
    assert len(set(tokens)) == len(tokens), "one token was granted twice"
    cpu, messages, datagrams = [(after - start) / len(took) for after, start in zip(await spent(nodes), before, strict=True)]
    return Done(len(took) / SECONDS, took, sorted(turns), cpu * 1e6, messages, datagrams)


def least(processes: int) -> int:
    """Messages for an acquire and a release: each goes to as many acceptors as make a majority with the own one, and each of
    those answers."""
    return 2 * 2 * (min(processes, DEFAULT_PARAMETERS.R) // 2)


def cost(done: Done, processes: int) -> None:
    told = f"{done.cpu:.0f} us of processors, {done.messages:.1f} messages in {done.datagrams:.1f} datagrams"
    print(f"  {'  each':<46}{told} ({least(processes)} at the least)", flush=True)


def passing_on(turns: list[tuple[int, float, float]]) -> list[float]:
    """Seconds from each release to the grant of the next in line."""
    found = []
    for (_, _, released), (_, granted, _) in pairwise(turns):
        assert granted >= released, "two held it at once"
        found.append(granted - released)
    return found


async def throughput(count: int, trip: float, bare: float) -> None:
    limit = "Trio + CBOR + AES round trips"
    alone = [1] + [0] * (count - 1)
    many = [16 // count + (index < 16 % count) for index in range(count)]
    goals: tuple[Any, ...] = (1500, 6000, 1500) if count == 3 else (None, None, None)
    title(f"Locks, {count} processes")
    async with founders(count) as nodes:
        done = await locks(nodes, alone, shared=False)
        rate("lock acquire + release, 1 client", done.per_second, goals[0], bare, limit)
        times("  each", done.took, 0.0007, None, trip, "a bare UDP round trip")
        cost(done, count)
        done = await locks(nodes, many, shared=False)
        rate("lock acquire + release, 16 clients", done.per_second, goals[1], bare, limit)
        cost(done, count)
        for body, form in ((True, "hand-over, 16 clients on one lock"), (False, "the same by acquire() and release()")):
            # What `acquire()` returns nobody renews: a grant that was waited for is confirmed first.
            done = await locks(nodes, many, shared=True, body=body)
            rate(form, done.per_second, goals[2], bare, limit)
            cost(done, count)
            latency = passing_on(done.turns)
            told = f"median {statistics.median(latency) * 1000:.2f} ms, 99th {percentile(latency, 99) * 1000:.2f} ms"
            print(f"  {'  from a release to the next grant':<46}{told}", flush=True)
            print(f"  {'  each waited':<46}median {statistics.median(done.took) * 1000:.1f} ms", flush=True)


async def kill(role: str) -> list[float]:
    """Seconds from a kill -9 to the grant of locks that the killed process held, held and served, or only served."""
    names = [f"killed/{number}" for number in range(8)]
    async with founders() as nodes:
        asking, taking, victim = nodes
        await asking.write({"job": "owners", "names": names})
        serves = [owner == "b2" for owner in (await asking.read())["owners"]]
        concerned = [name for name, served in zip(names, serves, strict=True) if served == (role != "holder")]
        assert concerned, "nothing is served by the right one: name more locks"
        tokens = [0] * len(concerned)
        if role != "owner":
            await victim.write({"job": "take", "names": concerned, "ttl": KILL_TTL})
            tokens = (await victim.read())["tokens"]
            await asking.write({"job": "grab", "names": concerned, "ttl": 10.0})
            assert (await asking.read())["asking"]
            await trio.sleep(0.2)  # they wait in line
        began = time.monotonic()
        await victim.kill()
        if role == "owner":
            await taking.write({"job": "grab", "names": concerned, "ttl": 10.0})
            assert (await taking.read())["asking"]
        with trio.fail_after(WITHIN):
            grants = (await (taking if role == "owner" else asking).read())["grants"]
        assert all(token > old for (_, token), old in zip(grants, tokens, strict=True)), "a token fell"
        return [granted - began for granted, _ in grants]


WHO = {
    "holder": "the process that holds it",
    "both": "the one that holds and serves it",
    "owner": "the one that serves it, while it is free",
}


async def deaths() -> None:
    title(f"A lock is free after kill -9, three processes, ttl {KILL_TTL:g} s")
    goal = KILL_TTL + SLACK
    for role, who in WHO.items():
        took = [seconds for _ in range(KILLS) for seconds in await kill(role)]
        reached = "reached" if max(took) <= goal else "missed"
        told = f"median {statistics.median(took):.2f} s, longest {max(took):.2f} s   goal ttl + {SLACK:g} s ({reached})"
        print(f"  of {who:<43}{told}", flush=True)


def main() -> None:
    trip, bare = round_trip(), sealed_round_trips()
    for count in (3, 5):
        trio.run(throughput, count, trip, bare)
    trio.run(deaths)
