"""A process of the guarded-file workload: a voter that reads a number, thinks, and appends the next one, under a lock.

It does so with two files at once. The fenced one asks a `Fence` at the read and at the write; the bare one trusts the lock
alone. Every other body runs in a thread, where nothing can cancel it: a process that stood still goes on there with what it
has read, whoever holds the lock by then.

What it does is told in a journal of its own, a line each, before and after: a kill loses none of it. Run as
`python -m tests.processes.guarded_worker JSON`; ends when its standard input is closed."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import trio

from coordination import Fence, Fenced, Held, LeaseLost, NoQuorum, Peer, open_peer

__all__ = ["BARE", "FENCED", "LOCK", "TURN", "main"]

FENCED = "fenced"
BARE = "bare"
TURN = "turn"
"""Who is in the middle of a body."""
LOCK = "guarded"


class Files:
    """The two files, and this process's journal beside them."""

    def __init__(self, directory: Path, name: str) -> None:
        self._name = name
        self._directory = directory
        self._fence = Fence(directory / "fence")
        self._journal = directory / f"{name}.journal"

    def tell(self, **event: Any) -> None:
        append(self._journal, json.dumps(event))

    def read(self, held: Held) -> tuple[int, int]:
        """The last number of each file. Raises `Fenced`."""
        with locked(self._directory / FENCED):
            self._admit(held, "read")
            (self._directory / TURN).write_text(self._name)
            return last_number(self._directory / FENCED), last_number(self._directory / BARE)

    def write(self, held: Held, numbers: tuple[int, int]) -> None:
        """The next number in each file. Raises `Fenced`, once the bare one is written."""
        fenced, bare = numbers
        self.tell(trying=held.token)
        with locked(self._directory / FENCED):
            append(self._directory / BARE, f"{bare + 1} {held.token} {self._name}")
            self._admit(held, "write")
            append(self._directory / FENCED, f"{fenced + 1} {held.token} {self._name}")
            (self._directory / TURN).write_text("")
        self.tell(wrote=fenced + 1, token=held.token)

    def _admit(self, held: Held, what: str) -> None:
        try:
            self._fence.admit(held)
        except Fenced as refused:
            self.tell(refused=what, token=held.token, fence=refused.fence)
            raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else is between the check and the write. The kernel gives it back if the process is killed."""
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def append(path: Path, line: str) -> None:
    """One line, by one call: a process that is killed has written all of it or nothing."""
    number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(number, line.encode() + b"\n")
    finally:
        os.close(number)


def last_number(path: Path) -> int:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return 0
    return int(lines[-1].split()[0])


async def work(peer: Peer, files: Files, ttl: float, random: Random) -> None:
    """Take turns for ever."""
    lock = peer.lock(LOCK, ttl=ttl)
    while True:
        think = random.uniform(0.05, 0.4) * ttl

        def blindly(held: Held, think: float = think) -> None:
            numbers = files.read(held)
            time.sleep(think)
            files.write(held, numbers)

        try:
            async with lock as held:
                if random.random() < 0.5:
                    await trio.to_thread.run_sync(blindly, held)
                else:
                    numbers = await trio.to_thread.run_sync(files.read, held)
                    await trio.sleep(think)
                    await trio.to_thread.run_sync(files.write, held, numbers)
        except Fenced:
            pass  # told already
        except LeaseLost:
            files.tell(lost=True)
        except NoQuorum:
            files.tell(unavailable=True)
        await trio.sleep(random.uniform(0, 0.05))


async def main(name: str, bind: str, seeds: list[str], directory: str, ttl: float, seed: int, fresh: bool) -> None:
    async with (
        open_peer(
            name=name,
            bind=bind,
            seeds=seeds,
            expect=len(seeds),
            secret=os.environ["MESH_SECRET"],
            state_dir=Path(directory) / name,
            fresh=fresh,
            profile="local",
        ) as peer,
        trio.open_nursery() as nursery,
    ):
        print(json.dumps({"up": True}), flush=True)
        nursery.start_soon(work, peer, Files(Path(directory), name), ttl, Random(seed))
        async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
            while await stdin.receive_some():
                pass
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(lambda: main(**json.loads(sys.argv[1])))
