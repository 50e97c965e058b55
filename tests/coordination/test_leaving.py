"""Leaving for good: over real sockets, and the removal from the roster in the small world."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing, suppress
from functools import partial
from typing import Any

import pytest
import trio

from coordination import BadConfig, Client, Closed, LeaseLost, MeshConfig, Peer, State, connect, open_peer
from coordination.agreed.rosters.electorate import Electorate
from coordination.agreed.vocabulary.succession_messages import ChainIs
from tests.coordination.agreed_world import MS, S
from tests.coordination.meshes import SECRET, joined, mesh_of, until
from tests.coordination.roster_campaign import ELASTIC as ELASTIC_ROSTER
from tests.coordination.roster_campaign import RosterWorld
from tests.coordination.roster_stories import settled
from tests.coordination.test_electorate import becomes, electorate, grown

ELASTIC = MeshConfig(elastic=True)
PATIENCE = 30
"""Seconds, for a busy machine: that it goes on at all is what is tested."""


def voters(peer: Peer) -> tuple[str, ...]:
    roster = peer._core.assembly.agreed.birth.roster
    assert roster is not None
    return roster.voters


def sees_left(peer: Peer, name: str) -> bool:
    return any(member.name == name and member.state is State.LEFT for member in peer.members)


async def test_an_elastic_mesh_goes_on_without_whoever_leaves_down_to_the_last() -> None:
    async with mesh_of(3, config=ELASTIC) as (a, b, c):
        held = await a.lock("held", ttl=5).acquire()
        lost = await c.lock("lost", ttl=15).acquire()
        with trio.fail_after(PATIENCE):
            assert await c.leave()
        assert not lost.valid() and lost.remaining() == 0.0
        await until(lambda: sees_left(a, "p2") and sees_left(b, "p2"), PATIENCE)
        await until(lambda: voters(a) == voters(b) == ("p0", "p1"), PATIENCE)
        await held.renew()  # moves it: of the three that kept it, soon two are gone
        with trio.fail_after(PATIENCE):
            async with b.lock("lost", ttl=5) as taken:
                assert taken.token > lost.token
        with trio.fail_after(PATIENCE):
            assert await b.leave(), "of two one may leave: else the other could never grant anything again"
        assert held.valid()
        await held.renew()
        assert voters(a) == ("p0",)
        assert not await a.leave(), "the last voter has nobody to leave it to"


async def test_a_fixed_roster_keeps_the_name_and_the_log_says_what_that_costs(caplog: pytest.LogCaptureFixture) -> None:
    async with mesh_of(3) as (a, b, c):
        with trio.fail_after(PATIENCE):
            assert not await c.leave()
        await until(lambda: sees_left(a, "p2") and sees_left(b, "p2"), PATIENCE)
        assert voters(a) == ("p0", "p1", "p2")
        assert "the roster is fixed. Of the other 2, 2 are needed for every lock" in caplog.text


async def test_who_has_no_vote_just_leaves() -> None:
    async with mesh_of(3) as (a, *_), joined(a, "guest") as guest:
        with trio.fail_after(PATIENCE):
            assert await guest.leave()
        await until(lambda: sees_left(a, "guest"), PATIENCE)


async def test_bodies_end_before_anyone_else_is_granted_what_they_ran_under() -> None:
    async with mesh_of(3) as (a, b, _):
        story: list[str] = []

        async def body() -> None:
            with pytest.raises(LeaseLost, match="this peer leaves the mesh"):
                async with a.lock("l", ttl=15):
                    story.append("in")
                    try:
                        await trio.sleep_forever()
                    finally:
                        with trio.CancelScope(shield=True):
                            await trio.sleep(0.2)
                        story.append("out")

        async def next_in_line() -> None:
            async with b.lock("l", ttl=5):
                story.append("next")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(body)
            await until(lambda: story == ["in"])
            nursery.start_soon(next_in_line)
            await trio.sleep(0.1)
            with trio.fail_after(PATIENCE):
                await a.leave()
        assert story == ["in", "out", "next"]


async def test_everything_that_waits_or_comes_later_is_told() -> None:
    async with mesh_of(3) as (a, b, c):
        await b.lock("l", ttl=15).acquire()
        seen: list[str] = []

        async def waits_for_a_lock() -> None:
            with pytest.raises(LeaseLost, match="leaves"):
                await a.lock("l", ttl=5).acquire()
            seen.append("lock")

        async def waits_for_a_call() -> None:
            with pytest.raises(Closed):
                while True:
                    await a.synced()
            seen.append("call")

        async def follows() -> None:
            async with a.watch(prefix="") as changes:
                async for _ in changes:
                    pass  # it ends
            seen.append("watch")

        async def follows_members() -> None:
            async with a.watch_members() as changes:
                async for _ in changes:
                    pass
            seen.append("members")

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for task in (waits_for_a_lock, waits_for_a_call, follows, follows_members):
                    nursery.start_soon(task)
                await trio.sleep(0.1)
                await a.leave()
        assert sorted(seen) == ["call", "lock", "members", "watch"]
        for call in (a.leave, a.synced, a.lock("l").acquire, a.kv.put):
            with pytest.raises(Closed):
                await (call("k", 1) if call == a.kv.put else call())  # type: ignore[call-arg]
        assert c.members


@pytest.mark.parametrize("thin", [False, True])
async def test_a_body_of_a_task_elsewhere_ends_before_a_stop_gives_its_lock_back(thin: bool) -> None:
    async with mesh_of(1) as (peer,):
        inside: list[str] = []

        async def work(user: Peer | Client) -> None:
            with pytest.raises(LeaseLost, match=r"stops|is closed"):
                async with user.lock("l", ttl=5):
                    inside.append("guest")
                    try:
                        await trio.sleep_forever()
                    finally:
                        with trio.CancelScope(shield=True):
                            await trio.sleep(0.05)
                        inside.remove("guest")

        async def take() -> None:
            async with peer.lock("l", ttl=5):
                assert not inside, "its body still runs"

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as outer:
                async with connect(peer.address, secret=SECRET) if thin else joined(peer, "guest") as user:
                    outer.start_soon(work, user)
                    await until(lambda: bool(inside))
                    outer.start_soon(take)
                    await trio.sleep(0.02)


async def test_who_waits_elsewhere_for_a_peer_that_stops_is_told() -> None:
    over: list[str] = []

    async def ends(name: str, work: Callable[[], Any]) -> None:
        with suppress(Closed, LeaseLost):
            async with aclosing(work()) as events:
                async for _ in events:
                    pass
        over.append(name)

    async def follow(watch: Any) -> Any:
        async with watch as events:
            async for event in events:
                yield event

    async def call(function: Callable[[], Any]) -> Any:
        yield await function()

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as outer:
            async with mesh_of(1) as (peer,):
                await peer.lock("l", ttl=5).acquire()
                watches = {
                    "key": peer.watch(key="k"),
                    "counter": peer.watch(counter="k"),
                    "lock": peer.watch(lock="k"),
                    "leader": peer.election("e").observe(),
                    "members": peer.watch_members(),
                    "messages": peer.subscribe("t"),
                }
                calls: dict[str, Callable[[], Any]] = {
                    "acks": partial(peer.kv.put, "k", 1, acks=2),
                    "lock": peer.lock("l", ttl=5).acquire,
                    "asked": peer.asked_to_leave,
                }
                for name, watch in watches.items():
                    outer.start_soon(ends, name, partial(follow, watch))
                for name, function in calls.items():
                    outer.start_soon(ends, name, partial(call, function))
                await trio.sleep(0.1)
                assert not over
    assert len(over) == len(watches) + len(calls)
    for watch in (peer.watch(key="k"), peer.watch(counter="k"), peer.watch_members(), peer.election("e").observe()):
        with pytest.raises(Closed):
            async with watch:
                pass


async def test_a_leave_that_is_cancelled_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    async with mesh_of(3, config=ELASTIC) as (a, *_, c):
        with monkeypatch.context() as patch:
            patch.setattr(Electorate, "_say", lambda *arguments: None)
            with trio.move_on_after(0.3) as limit:
                await c.leave()
            assert limit.cancelled_caught
        with pytest.raises(Closed):
            await c.lock("l").acquire()
        await c.kv.put("still", "here")
        with trio.fail_after(PATIENCE):
            assert await c.leave()
        await until(lambda: a.kv.get("still") == "here")


async def test_without_a_majority_it_leaves_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordination.leaving.REMOVAL_SECONDS", 0.5)
    async with AsyncExitStack() as stack:
        peers = await stack.enter_async_context(mesh_of(3, config=ELASTIC))
        for peer in peers[1:]:
            monkeypatch.setattr(peer._core.assembly.agreed.succession._vote, "on_prepare", lambda *arguments: None)
        monkeypatch.setattr(peers[0]._core.assembly.agreed.succession._vote, "on_prepare", lambda *arguments: None)
        with trio.fail_after(PATIENCE):
            assert not await peers[2].leave()
        await until(lambda: sees_left(peers[0], "p2"), PATIENCE)


async def test_a_node_leaves_for_an_operator_if_its_program_listens() -> None:
    async with (
        open_peer(name="a", bind="127.0.0.1:0", secret=SECRET, config=ELASTIC) as a,
        connect(a.address, secret=SECRET) as c,
    ):
        with pytest.raises(BadConfig, match=r"peer\.leave"):
            await c.ask_to_leave()
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                await a.asked_to_leave()
                await a.leave()

            nursery.start_soon(listen)
            await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(PATIENCE):
                await c.ask_to_leave()


# --- the removal ----------------------------------------------------------------------------------------------------------


def leave_in_turn(seed: int) -> list[int]:
    """ns after which each of four of five knew that it is off the roster, on a network that loses a tenth of all, and half of
    the tellings."""
    parameters = ELASTIC_ROSTER._replace(max_ttl=15 * S)
    world = RosterWorld(seed, voters=5, clients=2, latency=(MS, 3 * MS), parameters=parameters)
    assert world.run_until(world.founded, 20 * S)
    world.run(S)
    world.loss = 0.1
    world.lose = lambda number, a, to, message: isinstance(message, ChainIs) and world.random.random() < 0.5
    times = []
    for name in world.random.sample([f"n{index}" for index in range(5)], 4):
        part = electorate(world, name)
        began = world.now
        world.perform(world.nodes[name], part, part.leave(world.instant(world.nodes[name])))
        world.run_until(partial(getattr, part, "gone"), 20 * S)
        times.append(world.now - began)
        world.crash(name)
        world.run(3 * S)
    return times


def test_a_leaver_knows_within_five_seconds_that_it_is_off_the_roster() -> None:
    times = [each for seed in range(12) for each in leave_in_turn(seed)]
    assert max(times) < 5 * S


def test_one_of_two_may_leave_with_what_nobody_has_moved() -> None:
    """It held half of what was decided, and the one that stays all of it: nobody has to wait for leases to lapse."""
    world = grown(1, voters=2)
    kept = world.acquire("n4", "lock/kept", ttl=3 * S)
    assert settled(world, kept, 2 * S)
    part = electorate(world, "n0")
    world.perform(world.nodes["n0"], part, part.leave(world.instant(world.nodes["n0"])))
    assert becomes(world, "n1")
    world.crash("n0")
    other = world.acquire("n5", "lock/kept", ttl=S)
    new = world.acquire("n5", "lock/new", ttl=S)
    world.run(2 * S)
    assert new.state == "held" and other.state == "asking"
    assert kept.state == "held" and world.valid(kept)
