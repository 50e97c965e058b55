"""What limiters of whole nodes admit in true time: the bounds that are stated in `coordination.counting.limiters`."""

from __future__ import annotations

import pytest
import trio

from coordination import MeshConfig, NoQuorum, open_peer
from coordination.counting.limiters import Terms
from coordination.locking.holding import Held
from simulations import SECOND, World
from simulations.faults import Crash, Fault, Faults, Partition
from simulations.hybrid import Host, Hosts
from simulations.scenarios.primitives import Bucket, Window

SECRET = "a secret of the simulated limiters, 32 bytes"
HOSTS, RATE, BURST, WINDOW_LIMIT = 4, 40, 12, 20
LONG = 3
"""Seconds of a window within which permits of the dead are another's."""


def admitted(
    mode: str,
    plan: list[Fault],
    seconds: int,
    judges: tuple[Bucket, Window],
    *,
    seed: int = 1,
    window_seconds: int = 1,
    ttl: float = 2.0,
) -> list[int]:
    """How many are admitted in each second by hosts that ask all the time; from the second one on a judge looks at all."""
    by_second = [0] * (seconds + 1)
    world = World(seed)

    async def service(host: Host) -> None:
        async with open_peer(
            name=host.name, bind=host.address, seeds=host.seeds, expect=host.expect, secret=SECRET, fresh=host.starts == 1,
            config=MeshConfig(max_ttl=3),
        ) as peer:  # fmt: skip
            bucket = peer.limiter("bucket", rate=RATE, burst=BURST, mode=mode, ttl=ttl)
            window = peer.limiter("window", limit=WINDOW_LIMIT, window=window_seconds, mode=mode, ttl=ttl)
            while True:
                await trio.sleep(0.02)
                for limiter, judge in ((bucket, 0), (window, 1)):
                    try:
                        may = await limiter.try_acquire()
                    except NoQuorum:
                        continue
                    if may and world.now >= 2 * SECOND:
                        by_second[world.now // SECOND] += judge == 0
                        assert judges[judge].admit(1, world.now), f"{limiter.terms} at {world.now / SECOND} s"

    with Hosts(world) as hosts:
        for number in range(HOSTS):
            hosts.add(f"n{number}", service, restart=0.3)
        hosts.start()
        Faults(world).set(plan)
        world.run(seconds * SECOND)
    return by_second


def test_in_a_whole_mesh_a_fast_limiter_admits_what_one_would_and_all_of_it() -> None:
    judges = Bucket(RATE, BURST), Window(WINDOW_LIMIT, SECOND)
    counts = admitted("fast", [], 8, judges)
    assert sum(counts[3:8]) > 5 * RATE * 0.9


def test_cut_into_two_sides_a_fast_limiter_admits_twice_that_at_most_and_is_seen_to() -> None:
    plan: list[Fault] = [Partition(3 * SECOND, 17 * SECOND, ("n0", "n1"))]
    counts = admitted("fast", plan, 21, (Bucket(2 * RATE, 2 * BURST), Window(2 * WINDOW_LIMIT, SECOND)))
    assert max(counts[6:20]) > RATE * 1.5
    with pytest.raises(AssertionError, match="20 in 1 s"):
        admitted("fast", plan, 21, (Bucket(RATE, BURST), Window(WINDOW_LIMIT, SECOND)))


def test_a_strict_limiter_admits_never_more_and_the_majority_goes_on() -> None:
    plan: list[Fault] = [Partition(4 * SECOND, 8 * SECOND, ("n0",))]
    counts = admitted("strict", plan, 14, (Bucket(RATE, BURST), Window(WINDOW_LIMIT, SECOND)))
    assert min(counts[7:11]) > RATE * 0.5, counts
    assert max(counts) <= RATE + BURST


def permits_of_the_dead(seeds: range) -> None:
    """Two of four die one after the other; others have their permits within the window in which they have used them."""
    plan: list[Fault] = [Crash(11 * SECOND, 9 * SECOND, "n3"), Crash(14 * SECOND, 3 * SECOND, "n2")]
    for seed in seeds:
        judges = Bucket(RATE, BURST), Window(WINDOW_LIMIT, LONG * SECOND)
        counts = admitted("strict", plan, 24, judges, seed=seed, window_seconds=LONG, ttl=1.0)
        assert sum(counts) > 0


def test_permits_of_the_dead_are_worth_nothing_for_one_window() -> None:
    permits_of_the_dead(range(2, 4))


def test_a_window_whose_new_permits_count_at_once_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Terms, "probation", property(lambda self: 0))
    with pytest.raises(AssertionError, match="20 in 3 s"):
        permits_of_the_dead(range(2))


def test_permits_that_are_believed_in_after_their_end_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Held, "covers", lambda self, now: True)
    monkeypatch.setattr(Held, "valid", lambda self: True)
    plan: list[Fault] = [Partition(4 * SECOND, 24 * SECOND, ("n0",))]
    with pytest.raises(AssertionError, match="40/s"):
        admitted("strict", plan, 30, (Bucket(RATE, BURST), Window(WINDOW_LIMIT, SECOND)))
