"""Tags, and following the members: leave told apart from death, events that fold to `members`, watchers that cost little."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
import trio

from coordination import BadConfig, Closed, Member, MemberEvent, MemberEventKind, MemberWatch, Peer, State, open_peer
from mesh.membership.identity import valid_tags
from simulations import SECOND, Conditions, World
from simulations.faults import Crash, Faults, Partition, Weather
from simulations.hybrid import Host, Hosts
from tests.coordination.meshes import joined, mesh_of, until
from tests.simulated.hybrid_service import peer_of

Kind = MemberEventKind


async def test_tags_of_a_mesh_of_one() -> None:
    async with open_peer(name="solo", tags={"role": "db"}) as peer:
        assert peer.tags == {"role": "db"}
        async with peer.watch_members(snapshot=True) as changes:
            await peer.set_tags({**peer.tags, "load": "high"})
            first, second = await anext(changes), await anext(changes)
            assert first.kind is Kind.JOINED and first.member is not None
            assert first.member.tags == (("load", "high"), ("role", "db"))
            assert (second.kind, second.member) == (Kind.SYNCED, None)
            await peer.set_tags(peer.tags)
            await peer.set_tags({})
            event = await anext(changes)
            assert (event.kind, event.member, event.previous) == (Kind.UPDATED, peer.members[0], first.member)
            assert peer.tags == {}
        assert peer.stats()["membership.incarnations"] == 2, "what changes nothing is not told"
    with pytest.raises(Closed):
        await peer.set_tags({"late": "1"})


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"k": "v" * 257}, "too large"),
        ({"k" * 65: ""}, "too large"),
        ({f"{n:03}": "" for n in range(65)}, "too large"),
        ({"": "v"}, "too large"),
        ({"a": "v" * 256, "b": "v" * 256}, "too large"),
        ({"k": 1}, "text to text"),
        ("k=v", "text to text"),
    ],
)
async def test_tags_that_nobody_could_read_are_refused(tags: dict[str, str], why: str) -> None:
    async with open_peer(name="solo") as peer:
        with pytest.raises(BadConfig, match=why):
            await peer.set_tags(tags)
        with pytest.raises(BadConfig, match=why):
            async with open_peer(name="other", tags=tags):
                pass
        assert peer.tags == {}


def test_the_largest_tags_are_read_by_others() -> None:
    """A bound of the sender's above one of the reader's would make a member invisible."""
    from mesh.directives import Boot
    from mesh.membership.messages import News, entry_of
    from mesh.wire import decode, encode

    for tags in (
        (("k" * 64, "v" * 256),),
        tuple((f"{n:02}", "12345") for n in range(64)),
        (("k", "ä" * 255),),
    ):
        assert valid_tags(tags)
        member = Member("n", Boot(1, b"s" * 16), 0, State.ALIVE, "127.0.0.1:1", tags)
        news = decode(encode(News(entry_of(member), None)))
        assert isinstance(news, News) and news.subject.member() == member


async def test_find_by_tags() -> None:
    async with mesh_of(2) as (first, second), joined(first, "w", tags={"role": "worker", "zone": "a"}) as third:
        await second.set_tags({"role": "db", "zone": "a"})

        def found(peer: Peer, tags: dict[str, str | None]) -> list[str]:
            return [member.name for member in peer.find(tags)]

        for peer in (first, second, third):
            await until(lambda peer=peer: found(peer, {"zone": "a"}) == ["p1", "w"])
            assert found(peer, {"role": None}) == ["p1", "w"]
            assert found(peer, {"role": "db", "zone": "a"}) == ["p1"]
            assert found(peer, {"role": "db", "zone": "b"}) == []
            assert found(peer, {}) == ["p0", "p1", "w"]
        with pytest.raises(BadConfig, match="no filter"):
            first.find({"role": 1})  # type: ignore[dict-item]
        with pytest.raises(BadConfig, match="no filter"):
            first.watch_members(tags=["role"])  # type: ignore[arg-type]


async def test_a_watch_by_tags() -> None:
    async with mesh_of(2) as (first, second), first.watch_members(tags={"role": "db"}) as changes:
        await second.set_tags({"role": "db"})
        event = await anext(changes)
        assert event.kind is Kind.JOINED and event.member is not None and event.member.name == "p1"
        await second.set_tags({"role": "db", "load": "high"})
        event = await anext(changes)
        assert event.kind is Kind.UPDATED and event.member is not None and event.member.tags[0] == ("load", "high")
        await second.set_tags({"role": "web"})
        event = await anext(changes)
        assert event.kind is Kind.UNMATCHED and event.previous is not None
        assert dict(event.previous.tags)["role"] == "db"
        await second.set_tags({"role": "mail"})
        with trio.move_on_after(0.05) as scope:
            await anext(changes)
        assert scope.cancelled_caught, "it did not match before, and does not match now"


async def test_who_looks_rarely_sees_the_last_state_once() -> None:
    async with mesh_of(1) as (peer,), peer.watch_members() as changes:
        for number in range(100):
            await peer.set_tags({"n": str(number)})
        async with joined(peer, "guest"):
            await until(lambda: len(peer.members) == 2)
        await until(lambda: peer.members[0].state is State.LEFT)
        await trio.sleep(0.02)
        events = [await anext(changes), await anext(changes)]
        assert [(event.kind, event.member and event.member.name) for event in events] == [
            (Kind.UPDATED, "p0"),
            (Kind.LEFT, "guest"),
        ]
        assert events[0].member is not None and events[0].member.tags == (("n", "99"),)
        with trio.move_on_after(0.02) as scope:
            await anext(changes)
        assert scope.cancelled_caught


async def test_leaving_the_context_ends_the_iteration() -> None:
    async with open_peer(name="solo") as peer:
        async with trio.open_nursery() as nursery:
            watch = peer.watch_members()

            async def follow() -> None:
                async for _ in watch:
                    raise AssertionError("nothing happened")

            async with watch:
                nursery.start_soon(follow)
                await trio.testing.wait_all_tasks_blocked()
        assert [event async for event in watch] == []


def seen(members: Iterable[Member]) -> list[tuple[object, ...]]:
    """A higher incarnation alone is not told."""
    return sorted((each.name, each.boot, each.state, each.address, each.tags) for each in members)


def folded(mirror: dict[str, Member], event: MemberEvent) -> None:
    """What a user does with the events; their order is checked on the way."""
    if event.member is None:
        assert event.kind is Kind.SYNCED
        return
    name = event.member.name
    assert mirror.get(name) == event.previous, event
    if event.kind is Kind.FORGOTTEN:
        del mirror[name]
        return
    if event.kind is Kind.JOINED:
        assert event.previous is None or event.previous.boot.session != event.member.boot.session
        assert event.member.reachable
    elif event.kind is Kind.UPDATED:
        assert event.previous is not None and event.previous.state is event.member.state
    else:
        assert event.kind.value == event.member.state.value
    mirror[name] = event.member


def forgets_what_it_showed(self: MemberWatch, name: str) -> None:
    self._shown.pop(name, None)
    self._marks[name] = None
    if self._wake is not None:
        self._wake.set()


def test_the_law_fails_on_a_broken_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemberWatch, "offer", forgets_what_it_showed)
    with pytest.raises(BaseException, match=r"mirror|previous|assert"):
        events_fold_to_the_members(0)


@pytest.mark.parametrize("seed", range(3))
def test_events_fold_to_the_members_under_faults(seed: int) -> None:
    events_fold_to_the_members(seed)


def events_fold_to_the_members(seed: int) -> None:
    """Also of two watchers of which one always lags, over a crash, a restart, a partition and a leave."""
    world = World(seed)
    mirrors: dict[str, dict[str, Member]] = {}
    kinds: dict[str, list[tuple[str, str]]] = {}
    peers: dict[str, Peer] = {}

    async def service(host: Host) -> None:
        async with peer_of(host, profile="local") as peer, trio.open_nursery() as nursery:
            peers[host.name] = peer
            nursery.start_soon(follow, host.name, peer, 0.0)
            nursery.start_soon(follow, f"{host.name} late", peer, 0.7)
            for number in range(40):
                await trio.sleep(1)
                if number % 3 == 0:
                    await peer.set_tags({"n": str(number)})
                if host.name == "n3" and number == 25:
                    break
            else:
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()

    async def follow(name: str, peer: Peer, pause: float) -> None:
        mirror = mirrors[name] = {}
        kinds[name] = []
        async with peer.watch_members(snapshot=True) as changes:
            async for event in changes:
                folded(mirror, event)
                if event.member is not None:
                    kinds[name].append((event.member.name, event.kind.value))
                await trio.sleep(pause)

    with Hosts(world) as hosts:
        for number in range(4):
            hosts.add(f"n{number}", service, restart=0.5 if number == 1 else None)
        hosts.start()
        Faults(world).set(
            [
                Crash(8 * SECOND, 2 * SECOND, "n1"),
                Partition(14 * SECOND, 6 * SECOND, ("n0",)),
                Weather(5 * SECOND, 20 * SECOND, Conditions(loss=0.1)),
            ]
        )
        world.run(60 * SECOND)
        for name in ("n0", "n1", "n2"):
            for watcher in (name, f"{name} late"):
                assert seen(mirrors[watcher].values()) == seen(peers[name].members), (seed, watcher)
            mine = kinds[name]
            assert ("n3", "left") in mine and ("n3", "dead") not in mine, (seed, name, mine)
            tags = [dict(member.tags)["n"] for member in peers[name].members if member.reachable]
            assert tags == ["39"] * 3, (seed, name)
        assert ("n0", "dead") in kinds["n2"] and ("n0", "alive") in kinds["n2"], (seed, "the partition, and its end")
        assert ("n1", "dead") in kinds["n0"] and kinds["n0"].count(("n1", "joined")) == 2, (seed, kinds["n0"])
        for events in kinds.values():
            for (one, first), (other, second) in pairwise(events):
                assert (one, first) != (other, second) or first in ("updated", "joined"), (seed, events)
