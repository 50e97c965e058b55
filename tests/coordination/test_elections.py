"""Elections by the API: one leader, whom everyone can ask for and follow."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import trio

from coordination import (
    AlreadyHeld,
    BadKey,
    BadTTL,
    BadValue,
    EventKind,
    Fenced,
    Leader,
    LeaseLost,
    Peer,
    WatchEvent,
    connect,
    open_peer,
)
from coordination.agreed.voting.acceptor import Acceptor
from coordination.locking.elections import Observation
from tests.coordination.meshes import SECRET, joined, mesh_of
from tests.coordination.steps import cancelled_at


class Follower:
    """What one observer was told."""

    def __init__(self) -> None:
        self.told: list[Leader | None] = []

    async def run(self, election: Any, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with election.observe() as leaders:
            task_status.started()
            async for leader in leaders:
                self.told.append(leader)

    async def hears_of(self, name: str | None) -> None:
        with trio.fail_after(5):
            while not self.told or names(self.told)[-1] != name:
                await trio.sleep(0.002)

    async def until(self, count: int, within: float = 5.0) -> None:
        with trio.fail_after(within):
            while len(self.told) < count:
                await trio.sleep(0.002)


def names(told: list[Leader | None]) -> list[str | None]:
    return [leader.name if leader is not None else None for leader in told]


async def test_one_leads_after_the_other_and_everyone_follows() -> None:
    async with mesh_of(3) as peers:
        followers = [Follower() for _ in peers]
        leading = 0
        order: list[str] = []

        async def work(peer: Peer) -> None:
            nonlocal leading
            async with peer.election("chief", ttl=5).lead({"at": peer.address}) as held:
                leading += 1
                assert leading == 1 and held.valid()
                order.append(peer.name)
                found = await peer.election("chief").leader()
                assert found == Leader(peer.name, held.token, {"at": peer.address})
                for follower in followers:
                    await follower.hears_of(peer.name)
                leading -= 1

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for peer, follower in zip(peers, followers, strict=True):
                    await nursery.start(follower.run, peer.election("chief"))
                assert await peers[0].election("chief").leader() is None
                async with trio.open_nursery() as workers:
                    for peer in peers:
                        workers.start_soon(work, peer)
                for follower in followers:
                    await follower.hears_of(None)
                nursery.cancel_scope.cancel()
        for follower in followers:
            told = names(follower.told)
            assert (told[0], told[-1]) == (None, None)
            # One leader may follow another at once: then nobody is told of the moment between them.
            assert [name for name in told if name is not None] == order
            assert all(one != other for one, other in pairwise(told)), "told twice"
            tokens = [leader.token for leader in follower.told if leader is not None]
            assert tokens == sorted(tokens)


class Said:
    """A watch that tells what it was given."""

    def __init__(self, *told: tuple[str, str | None]) -> None:
        self._events = [
            WatchEvent(EventKind(kind), "k", name and {"leader": name, "token": 1}, None, 0, None, number)
            for number, (kind, name) in enumerate(told)
        ]

    async def __aenter__(self) -> None:
        pass

    async def __anext__(self) -> WatchEvent:
        await trio.lowlevel.checkpoint()
        if not self._events:
            raise StopAsyncIteration
        return self._events.pop(0)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("told", "leaders"),
    [
        ([("put", "a"), ("synced", None), ("resync", None), ("put", "a"), ("synced", None), ("delete", None)], ["a", None]),
        ([("put", "a"), ("synced", None), ("resync", None), ("put", "b"), ("synced", None)], ["a", "b"]),
        ([("put", "a"), ("synced", None), ("resync", None), ("synced", None), ("put", "a")], ["a", None, "a"]),
        ([("synced", None), ("resync", None), ("synced", None), ("put", "a")], [None, "a"]),
        ([("put", "a"), ("resync", None), ("resync", None), ("put", "a"), ("synced", None)], ["a"]),
    ],
)
async def test_a_fresh_snapshot_tells_who_leads_and_nothing_that_is_known(
    told: list[tuple[str, str | None]], leaders: list[str | None]
) -> None:
    found = [leader async for leader in Observation(Said(*told))]
    assert names(found) == leaders


async def test_a_leader_that_cannot_prove_it_is_cancelled_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async with mesh_of(3) as (a, b, _):
        ended: list[float] = []

        async def lead() -> None:
            with pytest.raises(LeaseLost):
                async with a.election("chief", ttl=1.0).lead():
                    monkeypatch.setattr(Acceptor, "_renew", lambda *_: None)
                    try:
                        await trio.sleep_forever()
                    finally:
                        ended.append(trio.current_time())
                        monkeypatch.undo()

        with trio.fail_after(6):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lead)
                await trio.sleep(0.2)
                async with b.election("chief", ttl=5).lead():
                    assert ended and ended[0] < trio.current_time()


async def test_a_dead_leader_is_gone_within_its_ttl() -> None:
    async with mesh_of(3) as peers, trio.open_nursery() as nursery:
        follower = Follower()
        await nursery.start(follower.run, peers[1].election("chief"))
        async with joined(peers[0], "mortal") as mortal:
            async with trio.open_nursery() as leading:

                async def lead() -> None:
                    async with mortal.election("chief", ttl=1.0).lead("me"):
                        await trio.sleep_forever()

                leading.start_soon(lead)
                await follower.until(2)
                mortal._core.driver.deaf = True  # type: ignore[attr-defined]
                mortal._core.assembly.node.take = list  # type: ignore[method-assign]
                await follower.until(3, within=3)
                assert await peers[2].election("chief").leader() is None
                leading.cancel_scope.cancel()
        assert names(follower.told) == [None, "mortal", None]
        nursery.cancel_scope.cancel()


async def test_a_loop_that_is_left_watches_no_more() -> None:
    async with open_peer() as peer:
        election = peer.election("chief")
        async for leader in election.observe():
            assert leader is None
            break
        assert not peer._hub.interest
        async with election.observe() as leaders:
            assert await anext(leaders) is None
            assert peer._hub.interest
        assert not peer._hub.interest
        with pytest.raises(StopAsyncIteration):
            await anext(leaders)


async def test_thin_clients_lead_and_follow() -> None:
    async with mesh_of(3) as (a, b, c):
        async with connect(a.address, secret=SECRET) as one, connect(b.address, secret=SECRET) as two:
            async with trio.open_nursery() as nursery:
                follower = Follower()
                await nursery.start(follower.run, two.election("chief"))
                async with one.election("chief", ttl=5).lead("thin") as held:
                    assert await two.election("chief").leader() == Leader(one.name, held.token, "thin")
                    assert (await c.election("chief").leader()) is not None
                    await follower.until(2)
                await follower.until(3)
                assert names(follower.told) == [None, one.name, None]
                nursery.cancel_scope.cancel()


async def test_lead_cancelled_at_every_checkpoint_leaves_no_leader() -> None:
    async with mesh_of(3) as (a, b, c):

        async def lead() -> None:
            async with a.election("chief", ttl=5).lead("x"):
                await trio.lowlevel.checkpoint()

        for n in range(1, 60):
            ended = await cancelled_at(n, lead)
            with trio.fail_after(2):
                async with b.election("chief", ttl=5).lead():
                    explanation = await c.explain("election/chief")
                    assert ([holder[0] for holder in explanation.holders], explanation.queue) == ([b.name], ())
            if not ended:
                break
        else:
            pytest.fail("the work never ends")
        assert n > 4


async def test_bad_input() -> None:
    async with open_peer() as peer:
        for name in ("", "x" * 510, 7):
            with pytest.raises(BadKey):
                peer.election(name)  # type: ignore[arg-type]
        with pytest.raises(BadTTL):
            peer.election("chief", ttl=0)
        with pytest.raises(BadValue):
            async with peer.election("chief").lead(object()):
                pass
        assert await peer.election("chief").leader() is None, "it does not lead without having said so"
        async with peer.election("chief").lead():
            with pytest.raises(AlreadyHeld):
                async with peer.election("chief").lead():
                    pass
            with pytest.raises(Fenced):
                await peer.kv.put("election/chief", "mine")
