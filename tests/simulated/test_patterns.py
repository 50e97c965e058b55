"""The patterns in examples/, as they are, in the world and under faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from coordination import Held, MeshConfig, Peer, open_peer
from examples import config_push, fleet_cron, job_queue, leader_election, presence, rate_limited_gateway
from simulations import SECOND, World
from simulations.faults import Crash, Fault, Faults, Partition, Pause
from simulations.hybrid import Host, Hosts
from simulations.scenarios.primitives import Bucket

SECRET = "a secret of the simulated examples, 32 bytes"
Body = Callable[[Host, Peer], Awaitable[None]]


def fleet(
    body: Body, plan: list[Fault], seconds: float, *, seed: int = 1, after: Callable[[Hosts], None] | None = None
) -> None:
    """Three hosts that run it under a plan."""

    async def service(host: Host) -> None:
        async with open_peer(
            name=host.name, bind=host.address, seeds=host.seeds, expect=host.expect, secret=SECRET,
            fresh=host.starts == 1, config=MeshConfig(max_ttl=3),
        ) as peer:  # fmt: skip
            await body(host, peer)

    world = World(seed)
    with Hosts(world) as hosts:
        for name in ("a", "b", "c"):
            hosts.add(name, service, restart=0.5)
        hosts.start()
        Faults(world).set(plan)
        world.run(int(seconds * SECOND))
        if after is not None:
            after(hosts)


@pytest.mark.parametrize("plan", [[], [Crash(5 * SECOND, 3 * SECOND, "a")], [Pause(5 * SECOND, 6 * SECOND, "b")]])
def test_leader_election(plan: list[Fault]) -> None:
    """Numbers never repeat, whoever hands them out, and everyone hears of each leader."""
    numbers: list[tuple[int, str]] = []
    leaders: dict[str, list[str]] = {}

    def tell(event: str, **what: Any) -> None:
        if event == "number":
            numbers.append((what["number"], what["by"]))
        elif event == "leader" and what["leader"]:
            leaders.setdefault(what["seen_by"], []).append(what["leader"])

    async def body(host: Host, peer: Peer) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leader_election.follow, peer, tell)
            await leader_election.lead(peer, tell, ttl=2.0)

    for seed in range(3):
        numbers.clear()
        leaders.clear()
        fleet(body, plan, 20, seed=seed)
        told = [number for number, _ in numbers]
        assert len(told) == len(set(told)) and len(told) > 30, told
        assert set(leaders) == {"a", "b", "c"}
        if isinstance(plan[0] if plan else None, Crash):
            assert len({by for _, by in numbers}) >= 1 + ("a" in {by for _, by in numbers[:5]})


@pytest.mark.parametrize("seed", range(3))
def test_job_queue(seed: int) -> None:
    """Every job that was accepted is done, though workers die in the middle of one; also one that is left over by itself."""
    begun: list[tuple[str, str]] = []
    done: Counter[str] = Counter()
    accepted: list[str] = []
    peers: dict[str, Peer] = {}

    async def body(host: Host, peer: Peer) -> None:
        async def handle(name: str, payload: Any, held: Held) -> None:
            begun.append((name, host.name))
            await trio.sleep(payload)
            done[name] += 1

        peers[host.name] = peer
        async with trio.open_nursery() as nursery:
            nursery.start_soon(job_queue.work, peer, handle)
            if host.name == "a" and host.starts == 1:
                for number in range(15):
                    await job_queue.submit(peer, f"{number:02}", 1.0)
                    accepted.append(f"{number:02}")

    def after(hosts: Hosts) -> None:
        assert len(accepted) == 15
        assert hosts.until(lambda: set(done) == set(accepted), within=30) is not None, set(accepted) - set(done)
        assert sum(done.values()) <= 15 + 3, "twice only what somebody had begun, or nobody had heard of"
        hosts.world.run(3 * SECOND)
        hosts["a"].do(lambda: job_queue.submit(peers["a"], "last", 3.0))
        assert hosts.until(lambda: begun[-1][0] == "last", within=3) is not None
        hosts.world.run(SECOND)
        hosts.world.kill(begun[-1][1])
        assert hosts.until(lambda: done["last"] > 0, within=15) is not None, "it was left"

    fleet(body, [Crash(3 * SECOND, 2 * SECOND, "b")], 6, seed=seed, after=after)


def test_presence() -> None:
    seen: dict[str, dict[str, Any]] = {}
    users: dict[str, int] = {}

    async def body(host: Host, peer: Peer) -> None:
        def told(online: dict[str, Any]) -> None:
            seen[host.name] = online

        async def count() -> None:
            while True:
                users[host.name] = peer.gauge("users").value
                await trio.sleep(0.1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(presence.observe, peer, told)
            nursery.start_soon(count)
            await presence.appear(peer, f"status of {host.name}", users=10)

    def after(hosts: Hosts) -> None:
        assert all(online == {name: f"status of {name}" for name in "abc"} for online in seen.values()), seen
        assert users == {"a": 30, "b": 30, "c": 30}
        hosts.world.kill("b")
        assert hosts.until(lambda: set(seen["a"]) == set(seen["c"]) == {"a", "c"}, within=3.0) is not None
        assert hosts.until(lambda: users["a"] == users["c"] == 20, within=1.0) is not None

    fleet(body, [], 6, after=after)


def test_config_push() -> None:
    """A change reaches all in a moment, one that is no good nobody, and one made while c was cut off c as well."""
    settings: dict[str, config_push.Settings] = {}
    refused: list[str] = []
    peers: dict[str, Peer] = {}

    def tell(event: str, **what: Any) -> None:
        if event == "refused":
            refused.append(what["setting"])

    async def body(host: Host, peer: Peer) -> None:
        peers[host.name] = peer
        settings[host.name] = config_push.Settings(tell)
        await settings[host.name].follow(peer)

    def everywhere(name: str, value: Any) -> bool:
        return all(each[name] == value for each in settings.values())

    def after(hosts: Hosts) -> None:
        assert everywhere("workers", 4)
        hosts["a"].do(lambda: config_push.change(peers["a"], "workers", 9))
        assert hosts.until(lambda: everywhere("workers", 9), within=0.5) is not None
        hosts["b"].do(lambda: config_push.change(peers["b"], "workers", "many"))
        hosts["b"].do(lambda: config_push.change(peers["b"], "timout", 1.0))
        hosts.world.run(SECOND)
        assert everywhere("workers", 9)
        assert Counter(refused) == {"workers": 3, "timout": 3}
        Faults(hosts.world).set([Partition(0, 3 * SECOND, ("c",))])
        hosts.world.run(SECOND)
        hosts["a"].do(lambda: config_push.change(peers["a"], "banner", "closed today"))
        hosts.world.run(SECOND)
        assert (settings["b"]["banner"], settings["c"]["banner"]) == ("closed today", "")
        assert hosts.until(lambda: everywhere("banner", "closed today"), within=8) is not None

    fleet(body, [], 3, after=after)


@pytest.mark.parametrize("plan", [[], [Partition(6 * SECOND, 6 * SECOND, ("c",)), Crash(14 * SECOND, SECOND, "a")]])
def test_the_gateway_never_admits_more(plan: list[Fault]) -> None:
    judge, answers = Bucket(20, 6), Counter[str]()

    async def body(host: Host, peer: Peer) -> None:
        gateway = rate_limited_gateway.Gateway(peer, rate=20, burst=6)
        while True:
            answer = await gateway.serve("ann")
            answers[answer.partition(":")[0]] += 1
            if answer == "ok":
                assert judge.admit(1, host.world.now), f"at {host.world.now / SECOND}"
            await trio.sleep(0.02)

    fleet(body, plan, 20)
    assert answers["ok"] > 100 and answers["slow down"] > 100, answers
    if plan:
        assert answers["try later"] > 0, "c was without a majority"


@pytest.mark.parametrize("seed", range(3))
def test_cron_runs_once_across_the_fleet(seed: int) -> None:
    runs: list[int] = []
    by: Counter[str] = Counter()

    async def body(host: Host, peer: Peer) -> None:
        async def job(number: int) -> None:
            runs.append(number)
            by[host.name] += 1
            await trio.sleep(0.1)

        await fleet_cron.cron(peer, "report", 1.0, job, now=host.wall_time)

    plan: list[Fault] = [
        Crash(6 * SECOND, 2 * SECOND, "a"), Partition(10 * SECOND, 4 * SECOND, ("b",)), Pause(16 * SECOND, 4 * SECOND, "c")
    ]  # fmt: skip
    fleet(body, plan, 24, seed=seed)
    assert len(runs) == len(set(runs)), "none twice"
    assert max(runs) - min(runs) + 1 - len(runs) <= 6, "and hardly any missed"
    assert len(runs) > 15
