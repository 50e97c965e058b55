"""Fifty real processes, most of which come to vote: locks are had, also when some of the voters have been killed."""

from __future__ import annotations

import json
import time
from random import Random

import pytest
import trio

from coordination import NoQuorum, Peer, open_peer
from coordination.demo.programs import Programs, free_addresses
from tests.processes.nodes import SECRET

NODES = 50
FOUNDERS = 5
KILLED = 10
LOCKS = 40
TTL = 5.0


async def had(peer: Peer, lock: int, above: int) -> bool:
    try:
        async with peer.lock(f"many/{lock}", ttl=TTL) as held:
            assert held.token > above
    except NoQuorum:
        return False
    return True


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_fifty_voters(capsys: pytest.CaptureFixture[str]) -> None:
    addresses = list(free_addresses(NODES))
    names = [f"v{number}" for number in range(NODES)]
    async with Programs.opened(SECRET) as programs:
        voters = {}

        async def start(name: str) -> None:
            number = names.index(name)
            told = {
                "name": name,
                "bind": addresses[number],
                "seeds": addresses[:FOUNDERS],
                "expect": FOUNDERS if number < FOUNDERS else 1,
                "fresh": number < FOUNDERS,
                "config": {"elastic": True, "max_ttl": TTL},
            }
            program = await programs.start(f"voter {name}", "tests.processes.voter", json.dumps(told))
            assert (await program.read())["event"] == "up"
            voters[name] = program

        with trio.fail_after(300):
            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(start, name)
        async with open_peer(name="user", seeds=addresses[:FOUNDERS], voter=False, secret=SECRET) as peer:
            seen: set[str] = set()
            with trio.fail_after(300):
                while len(seen) < NODES - 1:  # an even one more stays a learner
                    seen = set()
                    for lock in range(LOCKS * 3):
                        seen.update((await peer.explain(f"many/{lock}")).group)
                    await trio.sleep(1)
            took = []
            tokens = {}
            for lock in range(LOCKS):
                began = time.monotonic()
                async with peer.lock(f"many/{lock}", ttl=TTL) as held:
                    tokens[lock] = held.token
                took.append(time.monotonic() - began)
            gone = set(Random(1).sample(names, KILLED))
            groups = {lock: set((await peer.explain(f"many/{lock}")).group) for lock in range(LOCKS)}
            for name in gone:
                await voters.pop(name).kill()
            kept = [lock for lock, group in groups.items() if len(group - gone) > len(group) // 2]
            assert len(kept) > LOCKS // 2
            after = []
            for lock in kept:
                began = time.monotonic()
                async with peer.lock(f"many/{lock}", ttl=TTL) as held:
                    assert held.token > tokens[lock]
                after.append(time.monotonic() - began)
            with trio.fail_after(300):  # the others, once the dead have been evicted and their leases are over
                for lock in groups.keys() - set(kept):
                    while not await had(peer, lock, tokens[lock]):
                        await trio.sleep(1)
    with capsys.disabled():
        for what, times in (("whole", sorted(took)), (f"after {KILLED} kills", sorted(after))):
            middle, longest = times[len(times) // 2] * 1000, times[-1] * 1000
            print(f"\n50 voters, {what}: {len(times)} locks, median {middle:.1f} ms, longest {longest:.0f} ms")
    assert max(after) < TTL + 2
