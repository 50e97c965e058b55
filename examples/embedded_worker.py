"""A small Trio service that embeds a peer. Start one instance, or as many as you like:

    python examples/embedded_worker.py --directory /tmp/reports

    python examples/embedded_worker.py --directory /tmp/reports --name a --bind 127.0.0.1:7946 \\
        --seed 127.0.0.1:7946 --seed 127.0.0.1:7947 --expect 2
    python examples/embedded_worker.py --directory /tmp/reports --name b --bind 127.0.0.1:7947 \\
        --seed 127.0.0.1:7946 --seed 127.0.0.1:7947 --expect 2

Together the instances write a series of reports into one directory, each report exactly once:

  - who works is listed under `workers/`, bound to a lease: an instance that dies disappears by itself;
  - how fast they work is a key that all of them watch: `mesh kv put config/pause 0.1 --parse` changes it at once;
  - who writes the next report is decided by a lock. Its token guards the directory, which outlives any lock: a worker that
    was paused beyond its lease must not write over what a later holder wrote;
  - how many have been written is a counter that all of them add to."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import trio

from coordination import MeshError, Peer, open_peer


class Pace:
    """Seconds between two reports, as the key `config/pause` says."""

    def __init__(self) -> None:
        self.seconds = 0.02

    async def follow(self, peer: Peer) -> None:
        async with peer.watch(key="config/pause", snapshot=True) as changes:
            async for event in changes:
                if event.kind == "put" and isinstance(event.value, int | float):
                    self.seconds = max(0.0, float(event.value))


def count_reports(directory: Path) -> int:
    return sum(1 for _ in directory.glob("report-*"))


def write_next(directory: Path, token: int, author: str) -> int:
    """Write the next report under a fencing token; its number. No checkpoint inside: the token is what guards it."""
    guard = directory / "token"
    highest = int(guard.read_text()) if guard.exists() else 0
    if token < highest:
        raise RuntimeError(f"token {token} is below {highest}: this worker's lock is long another's")
    guard.write_text(str(token))
    number = 1 + count_reports(directory)
    with (directory / f"report-{number:04}").open("x") as report:
        report.write(f"{author} {token}\n")
    return number


async def all_done(peer: Peer, instances: int) -> None:
    """Stay until everyone is done: the locks of those who still work need a majority of the founders."""
    await peer.kv.put(f"done/{peer.name}", True)
    async with peer.watch(prefix="done/", snapshot=True) as changes:
        done = set()
        with trio.move_on_after(10):
            async for event in changes:
                if event.kind == "put":
                    done.add(event.key)
                if len(done) == instances:
                    break


async def work(peer: Peer, directory: Path, reports: int, instances: int) -> None:
    """Write reports, in turn with the other instances, until there are enough."""
    pace = Pace()
    written = peer.counter("reports")
    async with peer.lease(ttl=5) as lease, trio.open_nursery() as nursery:
        await peer.kv.put(f"workers/{peer.name}", {"pid": os.getpid()}, lease=lease)
        nursery.start_soon(pace.follow, peer)
        while count_reports(directory) < reports:
            async with peer.lock("reports/next", ttl=5) as held:
                if count_reports(directory) < reports:
                    number = write_next(directory, held.token, peer.name)
                    written.add(1)
                    print(f"{peer.name} wrote report {number}", flush=True)
            await trio.sleep(pace.seconds)
        nursery.cancel_scope.cancel()
    await all_done(peer, instances)
    await peer.synced()  # what the others added may still be on its way
    print(f"{peer.name}: {written.value} reports in all", flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description="Write reports together with other instances.")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--reports", type=int, default=10)
    parser.add_argument("--name", default="alone")
    parser.add_argument("--bind")
    parser.add_argument("--seed", action="append", default=[])
    parser.add_argument("--expect", type=int, default=1)
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    secret = os.environ.get("MESH_SECRET")
    async with open_peer(
        name=arguments.name, bind=arguments.bind, seeds=arguments.seed, expect=arguments.expect, secret=secret, fresh=True
    ) as peer:
        await work(peer, arguments.directory, arguments.reports, arguments.expect)


if __name__ == "__main__":
    try:
        trio.run(main)
    except MeshError as error:
        sys.exit(f"{error}")
