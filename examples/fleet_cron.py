"""A job that runs once each interval, on one instance of the fleet, whichever is there.

Each interval has a number, from the wall clock. Who puts the next number into an atomic register with compare-and-set has
claimed it: that succeeds once for each number, on the side of a partition that has the majority, whatever the clocks of the
others say. So a job never runs twice for one interval. If its instance dies meanwhile it is not run again: an interval that
must not be missed belongs into a queue (`examples/job_queue.py`), put there by this."""

from __future__ import annotations

import argparse
import time
from collections.abc import Awaitable, Callable

import trio

from coordination import MemoryLost, NoQuorum, OutcomeUnknown, Peer
from examples.opening import joined, options, run, tell

__all__ = ["cron"]

Job = Callable[[int], Awaitable[None]]


async def cron(peer: Peer, name: str, every: float, job: Job, *, now: Callable[[], float] = time.time) -> None:
    """Run `job(number)` in each interval of `every` seconds that this instance has claimed."""
    while True:
        number = int(now() // every)
        if await claimed(peer, name, number):
            await job(number)
        await trio.sleep(max(0.01, (number + 1) * every - now()))


async def claimed(peer: Peer, name: str, number: int) -> bool:
    """Whether this instance is the one that is to run it."""
    register = peer.atomic(f"cron/{name}")
    try:
        last = await register.get()
        if last is not None and last["number"] >= number:
            return False
        return await register.compare_and_set(last, {"number": number, "by": peer.name})
    except OutcomeUnknown:
        return False  # perhaps it is ours: better not run than run twice
    except (NoQuorum, MemoryLost):
        return False


async def main(arguments: argparse.Namespace) -> None:
    async def job(number: int) -> None:
        tell(event="ran", number=number, by=arguments.name)

    async with joined(arguments) as peer:
        tell(event="up", name=peer.name)
        await cron(peer, "report", arguments.every, job)


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.add_argument("--every", type=float, default=1.0, help="seconds")
    run(main, parser.parse_args())
