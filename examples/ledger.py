"""A service with a race that no test on one machine shows, and how the simulated world finds it.

Three tellers, each a process of its own, pay into one account of a bank's database. Each payment reads the balance and writes
the new one, under a lock of the mesh, so that no two tellers do so at once:

    async with peer.lock("account", ttl=1):
        balance = await bank.read()
        await bank.write(balance + 1)

What is wrong with it? Let the world try, under faults of every kind, one seed after the other, until money is missing; then
leave out every fault that the mistake does not need:

    mesh simulate sweep examples.ledger:CARELESS --seeds 150 --save lost.json
    mesh simulate shrink lost.json --save minimal.json
    mesh simulate replay minimal.json

What is left is one pause. A teller that is stopped between `read` and `write` for longer than its lease wakes up in the middle
of its body; the lock has been another's meanwhile, and its balance is old. The mesh cancels such a body, but it can do so at
a checkpoint only, and the request to the bank leaves before the next one.

No lock can help: between the last look at it and the write that arrives there is always a moment. So the bank has to know.
Each grant has a token that is higher than that of every earlier one, and a bank that refuses a token below the highest it has
seen is safe from old writes. Is it?

    mesh simulate sweep examples.ledger:HALFWAY --seeds 200

That bank looks at the token of a `write` only. The next holder has read the old balance and not yet written when the first one
wakes up: its token is still the highest that the bank has seen. So the token has to be shown by the first request under the
lock, which is the `read`:

    mesh simulate sweep examples.ledger:CAREFUL --seeds 200"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import trio

from coordination import LeaseLost, MeshConfig, Peer, open_peer
from simulations import SECOND, Scenario, World
from simulations.checkers import Violation
from simulations.faults import Fault, Faults
from simulations.hybrid import Host, Hosts

SECRET = "the secret of the tellers, 32 bytes and more"
LATENCY = 0.05
"""Seconds from a teller to the bank, and back."""


class StaleError(Exception):
    """A payment under a lock that has been another's since."""


class Bank:
    """A stand-in for a database elsewhere: it is not paused when a teller is.

    fences: the requests at which it looks at the token, of "read" and "write"."""

    def __init__(self, fences: frozenset[str]) -> None:
        self.balance = 0
        self.paid = 0
        """What tellers were told is paid."""
        self.refused = 0
        self._fences = fences
        self._highest = 0

    async def read(self, token: int) -> int:
        await trio.sleep(LATENCY)
        self._check("read", token)
        balance = self.balance
        await trio.sleep(LATENCY)
        return balance

    async def write(self, balance: int, token: int) -> None:
        """The request leaves at once: who is cancelled while it waits for the answer does not call it back."""
        self._check("write", token)
        self.balance = balance
        self.paid += 1
        await trio.sleep(2 * LATENCY)

    def _check(self, request: str, token: int) -> None:
        if request not in self._fences:
            return
        if token < self._highest:
            self.refused += 1
            raise StaleError
        self._highest = token


async def teller(peer: Peer, bank: Bank) -> None:
    """Pay, again and again."""
    while True:
        try:
            async with peer.lock("account", ttl=1) as held:
                balance = await bank.read(held.token)
                await bank.write(balance + 1, held.token)
        except (LeaseLost, StaleError):
            continue  # whether it was paid is not known: the customer is asked to look
        await trio.sleep(LATENCY)


async def service(bank: Bank, host: Host) -> None:
    """A process: what `main` would be, with the addresses of the simulated machine."""
    async with open_peer(
        name=host.name, bind=host.address, seeds=host.seeds, expect=host.expect, secret=SECRET, fresh=host.starts == 1,
        config=MeshConfig(max_ttl=3),
    ) as peer:  # fmt: skip
        await teller(peer, bank)


def bank_day(
    fences: frozenset[str], seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object]
) -> Mapping[str, int]:
    """One run of the whole: the world, its machines, the faults; then what must hold."""
    world = World(seed)
    seen(world)
    bank = Bank(fences)
    with Hosts(world) as hosts:
        for number in range(nodes):
            hosts.add(f"n{number}", partial(service, bank), restart=1.0)
        hosts.start()
        world.run(SECOND)
        faults = Faults(world)
        faults.set(plan)
        world.run(20 * SECOND)
        faults.heal()
        world.run(10 * SECOND)
        if bank.balance < bank.paid:
            raise Violation(f"money: {bank.paid} were paid, and the balance is {bank.balance} (seed {seed})")
    return {"paid": bank.paid, "refused": bank.refused, **faults.begun}


def scenario(name: str, *fences: str) -> Scenario:
    return Scenario(
        f"examples.ledger:{name}",
        "every payment that was made is in the balance",
        partial(bank_day, frozenset(fences)),
        nodes=3,
        fewest=3,
        duration=20 * SECOND,
        sometimes=("paid", "refused") if fences else ("paid",),
    )


CARELESS = scenario("CARELESS")
HALFWAY = scenario("HALFWAY", "write")
CAREFUL = scenario("CAREFUL", "read", "write")
