"""The patterns in examples/ with real processes, kill -9 among them."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from coordination import connect
from coordination.demo.programs import Program, Programs, free_addresses
from tests.processes.nodes import SECRET, mesh

LATEST = 30
"""Seconds: nothing is expected to be quick on a busy machine."""


class Fleet:
    """Instances of one example, and all that they have said."""

    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses
        self.programs: dict[str, Program] = {}
        self.said: list[dict[str, Any]] = []
        self._news = trio.Event()

    async def listen(self, name: str) -> None:
        try:
            while True:
                self.said.append({"from": name, **await self.programs[name].read()})
                self._news.set()
                self._news = trio.Event()
        except Exception:
            if name in self.programs:
                raise

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(LATEST):
            while not condition():
                await self._news.wait()

    def events(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.said if each.get("event") == event]

    async def kill(self, name: str) -> None:
        await self.programs.pop(name).kill()


@asynccontextmanager
async def fleet(example: str, count: int, *options: str, first: tuple[str, ...] = ()) -> AsyncIterator[Fleet]:
    """So many instances, which found a mesh together."""
    addresses = list(free_addresses(count))
    seeds = [option for address in addresses for option in ("--seed", address)]
    async with Programs.opened(SECRET) as programs, trio.open_nursery() as nursery:
        instances = Fleet(addresses)
        for index, address in enumerate(addresses):
            arguments = ["--name", f"n{index}", "--bind", address, *seeds, "--expect", str(count), *options]
            started = await programs.start(f"{example} {index}", f"examples.{example}", *arguments, *(() if index else first))
            instances.programs[f"n{index}"] = started
            nursery.start_soon(instances.listen, f"n{index}")
        yield instances
        instances.programs.clear()
        nursery.cancel_scope.cancel()


async def test_leader_election() -> None:
    async with fleet("leader_election", 3) as instances:
        await instances.until(lambda: len(instances.events("number")) >= 5)
        leader = instances.events("number")[-1]["by"]
        await instances.kill(leader)
        await instances.until(lambda: len({each["by"] for each in instances.events("number")}) == 2)
        numbers = [each["number"] for each in instances.events("number")]
        assert len(numbers) == len(set(numbers)), "none twice"
        tokens = {each["by"]: each["token"] for each in instances.events("number")}
        assert max(tokens, key=lambda name: tokens[name]) != leader


async def test_job_queue_loses_no_job_to_a_kill() -> None:
    async with fleet("job_queue", 3, "--seconds", "0.3", first=("--jobs", "8")) as instances:
        await instances.until(lambda: bool(instances.events("submitted")))
        await instances.until(lambda: any(each["by"] != "n0" for each in instances.events("begun")))
        victim = next(each["by"] for each in instances.events("begun") if each["by"] != "n0")
        await instances.kill(victim)
        jobs = {f"n0-{number}" for number in range(8)}
        await instances.until(lambda: {each["job"] for each in instances.events("done")} == jobs)
        times = Counter(each["job"] for each in instances.events("done"))
        assert sum(times.values()) <= 8 + 2, times


async def test_presence() -> None:
    async with fleet("presence", 3, "--status", "here") as instances:

        def sees(name: str, online: set[str]) -> bool:
            seen = [each for each in instances.events("online") if each["from"] == name]
            return bool(seen) and set(seen[-1]["online"]) == online

        await instances.until(lambda: all(sees(name, {"n0", "n1", "n2"}) for name in ("n0", "n1", "n2")))
        await instances.kill("n1")
        await instances.until(lambda: all(sees(name, {"n0", "n2"}) for name in ("n0", "n2")))


async def test_config_push() -> None:
    async with fleet("config_push", 2) as instances:
        await instances.until(lambda: len(instances.events("up")) == 2)
        async with connect(instances.addresses[0], secret=SECRET) as client:
            with trio.fail_after(LATEST):
                while len([each for each in await client.members() if each.reachable]) < 2:
                    await trio.sleep(0.02)
            done = await trio.to_thread.run_sync(
                lambda: mesh("kv", "put", "config/workers", "12", "--parse", "--node", instances.addresses[0])
            )
            assert done.returncode == 0, done.stderr
            await client.kv.put("config/timeout", "soon")
        await instances.until(
            lambda: {each["from"] for each in instances.events("using") if each["value"] == 12} == {"n0", "n1"}
        )
        await instances.until(lambda: {each["from"] for each in instances.events("refused")} == {"n0", "n1"})


async def test_rate_limited_gateway() -> None:
    async with fleet("rate_limited_gateway", 2, "--port", "0", "--rate", "40", "--burst", "4") as instances:
        await instances.until(lambda: len(instances.events("serving")) == 2)
        answers: Counter[str] = Counter()
        began = trio.current_time()

        async def ask(port: int) -> None:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                rest = b""
                while answers["ok"] < 40:
                    await stream.send_all(b"ann\n")
                    while b"\n" not in rest:
                        rest += await stream.receive_some(4096)
                    line, _, rest = rest.partition(b"\n")
                    answers[line.decode()] += 1
                    await trio.sleep(0.002)

        with trio.fail_after(LATEST):
            async with trio.open_nursery() as nursery:
                for each in instances.events("serving"):
                    nursery.start_soon(ask, each["port"])
        assert answers["ok"] <= 4 + 40 * (trio.current_time() - began), "together no more than one limit"
        assert answers["slow down"] > 0


async def test_cron_runs_once_across_the_fleet() -> None:
    async with fleet("fleet_cron", 2, "--every", "0.3") as instances:
        await instances.until(lambda: len(instances.events("ran")) >= 6)
        numbers = [each["number"] for each in instances.events("ran")]
        assert len(numbers) == len(set(numbers)), "none twice"


def test_what_is_wrong_is_one_line() -> None:
    command = [sys.executable, "-m", "examples.presence", "--name", "a b"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LATEST, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "the name 'a b' is refused" in done.stderr
