"""A queue of jobs that any instance may work on, at least once each, and none is lost when a worker is killed.

A job is a key; who works on it holds a lock of that name, which is a lease: it ends by itself some seconds after its holder has
died, and another worker takes the job up. The key is deleted under the lock once the job is done, so a job that was begun and
not finished is still there. At least once, not exactly once: a worker may die between its work and the deletion; make jobs such
that doing them twice does no harm, or have what they write to check `held.token`."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from coordination import Fenced, Held, LeaseLost, NoQuorum, Peer
from examples.opening import joined, options, run, tell

__all__ = ["submit", "work"]

Handle = Callable[[str, Any, Held], Awaitable[None]]


async def submit(peer: Peer, name: str, payload: Any) -> None:
    """Put a job into the queue. It is kept, whoever dies from now on, as long as a majority lives."""
    await peer.kv.put(f"jobs/{name}", payload, acks="majority")


async def work(peer: Peer, handle: Handle, *, ttl: float = 2.0) -> None:
    """Take jobs, one after the other, as they come; look again for those of the dead each ttl."""
    async with peer.watch(prefix="jobs/", kinds=["put"]) as changes:
        while True:
            done = 0
            for key, payload in list(peer.kv.scan("jobs/")):
                done += await take(peer, key, payload, handle, ttl)
            if not done:
                with trio.move_on_after(ttl):
                    await anext(changes)


async def take(peer: Peer, key: str, payload: Any, handle: Handle, ttl: float) -> bool:
    """Do one job, unless somebody else does it; whether it was done."""
    lock = peer.lock(key, ttl=ttl)
    try:
        held = await lock.enter(wait=False)
        if held is None:
            return False
        try:
            if peer.kv.get(key) is None:  # it was done meanwhile
                return False
            await handle(key.removeprefix("jobs/"), payload, held)
            await peer.kv.delete(key, fence=held, acks="majority")
        except BaseException as error:
            await lock.leave(type(error), error, error.__traceback__)
            raise
        await lock.leave(None, None, None)
    except (LeaseLost, NoQuorum, Fenced):
        return False  # somebody else will do it
    return True


async def main(arguments: argparse.Namespace) -> None:
    async def handle(name: str, payload: Any, held: Held) -> None:
        tell(event="begun", job=name, by=arguments.name, token=held.token)
        await trio.sleep(payload)
        tell(event="done", job=name, by=arguments.name, token=held.token)

    async with joined(arguments) as peer:
        for number in range(arguments.jobs):
            await submit(peer, f"{peer.name}-{number}", arguments.seconds)
        tell(event="submitted", jobs=arguments.jobs)
        await work(peer, handle)


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.add_argument("--jobs", type=int, default=0, help="to submit at the start")
    parser.add_argument("--seconds", type=float, default=0.1, help="that each of them takes")
    run(main, parser.parse_args())
