"""Messages between services: letters, broadcasts, questions; bounded, cancel-safe, and told what came of them."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from coordination import (
    BadConfig,
    BadKey,
    BadValue,
    Closed,
    NotDelivered,
    Peer,
    Received,
    TooLarge,
    open_peer,
)
from tests.coordination.meshes import joined, mesh_of, until


async def read(peer: Peer, topic: str, into: list[Any], *, task_status: trio.TaskStatus[None]) -> None:
    async with peer.subscribe(topic) as messages:
        task_status.started()
        async for message in messages:
            into.append((message.sender, message.value))


async def test_a_letter_is_in_hand_when_send_returns() -> None:
    async with mesh_of(2) as (first, second), second.subscribe("jobs") as messages:
        value = {"id": 7, "data": b"\0\1", "more": [1.5, None]}
        await first.send("p1", "jobs", value)
        message = await anext(messages)
        assert (message.sender, message.topic, message.value) == ("p0", "jobs", value)
        assert (message.broadcast, message.question, message.missed) == (False, False, 0)
        with pytest.raises(BadConfig, match="asks for no answer"):
            await message.reply(1)


async def test_letters_of_one_task_arrive_in_order() -> None:
    async with mesh_of(2) as (first, second), second.subscribe("n", limit=1000) as messages:
        for number in range(300):
            await first.send("p1", "n", number)
        assert [(await anext(messages)).value for _ in range(300)] == list(range(300))


async def test_many_tasks_send_at_once() -> None:
    """More than fly at once, and more than one window of numbers."""
    async with mesh_of(2) as (first, second), second.subscribe("n", limit=10_000) as messages:
        async with trio.open_nursery() as nursery:
            for number in range(1_000):
                nursery.start_soon(first.send, "p1", "n", number)
        assert sorted([(await anext(messages)).value for _ in range(1_000)]) == list(range(1_000))
        await until(lambda: first.stats()["messaging.pending"] == 0)


async def test_a_letter_to_oneself_and_every_subscriber_reads_all() -> None:
    async with open_peer(name="solo") as peer, peer.subscribe("t") as one, peer.subscribe("t") as other:
        await peer.send("solo", "t", 1)
        await peer.broadcast("t", 2)
        for messages in (one, other):
            assert [((m := await anext(messages)).value, m.broadcast) for _ in range(2)] == [(1, False), (2, True)]


async def test_the_largest_value_arrives_and_a_larger_one_is_refused() -> None:
    async with mesh_of(2) as (first, second), second.subscribe("t") as messages:
        largest = b"x" * ((1 << 20) - 5)
        with trio.fail_after(10):
            await first.send("p1", "t", largest)
        assert (await anext(messages)).value == largest
        with pytest.raises(TooLarge, match="1,048,576"):
            await first.send("p1", "t", largest + b"x")
        with pytest.raises(TooLarge, match="broadcast the key"):
            await first.broadcast("t", b"x" * 900)
        await first.broadcast("t", b"x" * 896)
        assert len((await anext(messages)).value) == 896


async def test_what_cannot_be_sent_is_refused() -> None:
    async with open_peer(name="solo") as peer:
        with pytest.raises(BadValue):
            await peer.send("solo", "t", object())
        with pytest.raises(BadValue):
            await peer.broadcast("t", {1: 2})
        with pytest.raises(BadKey):
            await peer.send("solo", "", 1)
        with pytest.raises(TooLarge, match="topic"):
            peer.subscribe("t" * 257)
        with pytest.raises(BadConfig, match="broadcast"):
            await peer.send({"role": "db"}, "t", 1)  # type: ignore[arg-type]
        with pytest.raises(BadConfig, match="limit"):
            peer.subscribe("t", limit=0)
        with pytest.raises(BadConfig, match="timeout"):
            peer.request("solo", "t", 1, timeout=0)
        with pytest.raises(BadConfig, match="tags"):
            peer.request(7, "t", 1)  # type: ignore[arg-type]
        subscription = peer.subscribe("t")
        with pytest.raises(NotDelivered, match="subscribes"):
            await peer.send("solo", "t", 1)
    with pytest.raises(Closed):
        await peer.send("solo", "t", 1)
    with pytest.raises(Closed):
        async with subscription:
            pass


async def test_the_sender_is_told_why_nobody_has_it() -> None:
    async with mesh_of(2) as (first, second):
        with pytest.raises(NotDelivered, match="nobody at p1 subscribes") as caught:
            await first.send("p1", "t", 1)
        assert caught.value.why == "nobody"
        with pytest.raises(NotDelivered, match="no member") as caught:
            await first.send("nobody-of-this-name", "t", 1)
        assert caught.value.why == "absent"
        async with second.subscribe("t", limit=2) as messages:
            await first.send("p1", "t", 1)
            await first.send("p1", "t", 2)
            for _ in range(3):
                with pytest.raises(NotDelivered, match="does not read") as caught:
                    await first.send("p1", "t", 3)
                assert caught.value.why == "full"
            assert second.stats()["messaging.missed"] == 3
            assert [((m := await anext(messages)).value, m.missed) for _ in range(2)] == [(1, 3), (2, 0)]
            await first.send("p1", "t", 4)
            assert ((m := await anext(messages)).value, m.missed) == (4, 0)


async def test_a_reader_that_never_reads_stalls_nobody() -> None:
    async with mesh_of(2) as (first, second), second.subscribe("lazy", limit=5), second.subscribe("t") as messages:
        for number in range(20):
            await first.broadcast("lazy", number)
        await first.send("p1", "t", "through")
        assert (await anext(messages)).value == "through"
        await until(lambda: second.stats()["messaging.missed"] == 15)
        assert second.stats()["messaging.unread"] == 5


async def test_broadcasts_reach_everyone_once() -> None:
    got: dict[str, list[Any]] = {}
    async with mesh_of(3) as peers, joined(peers[0], "w") as fourth, trio.open_nursery() as nursery:
        for peer in (*peers, fourth):
            await until(lambda peer=peer: len(peer.members) == 4)
            await nursery.start(read, peer, "news", got.setdefault(peer.name, []))
        for number in range(50):
            await peers[number % 3].broadcast("news", number)
        await until(lambda: all(len(values) >= 50 for values in got.values()))
        await trio.sleep(0.1)
        for values in got.values():
            assert sorted(value for _, value in values) == list(range(50))
            assert all(sender == f"p{value % 3}" for sender, value in values)
        nursery.cancel_scope.cancel()


async def serve(peer: Peer, answer: Any, *, task_status: trio.TaskStatus[None]) -> None:
    async with peer.subscribe("ask") as messages:
        task_status.started()
        async for message in messages:
            await answer(peer, message)


async def test_answers_of_all_with_a_tag() -> None:
    async def answer(peer: Peer, message: Received) -> None:
        for number in range(message.value):
            assert await message.reply([peer.name, number], more=number + 1 < message.value)

    async with mesh_of(3) as peers, trio.open_nursery() as nursery:
        for peer in peers[1:]:
            await peer.set_tags({"role": "db"})
            await nursery.start(serve, peer, answer)
        await until(lambda: len(peers[0].find({"role": "db"})) == 2)
        with trio.fail_after(3):
            async with peers[0].request({"role": "db"}, "ask", 3, timeout=30) as answers:
                assert answers.asked == ("p1", "p2")
                got = [(each.member, each.value) async for each in answers]
        assert sorted(got) == [(name, [name, number]) for name in ("p1", "p2") for number in range(3)]
        for name in ("p1", "p2"):
            assert [value[1] for member, value in got if member == name] == [0, 1, 2]
        async with peers[0].request({"role": "none"}, "ask", 1) as answers:
            assert [each async for each in answers] == []
        async with peers[0].request("p1", "ask", 1) as answers:
            assert await answers.one() == ["p1", 0]
            assert answers.missing == {}
        nursery.cancel_scope.cancel()


async def test_who_does_not_answer_and_why() -> None:
    async def answer(peer: Peer, message: Received) -> None:
        if peer.name == "p1":
            assert await message.refuse("not today")
            assert not await message.reply("too late"), "it has ended with its refusal"

    async with mesh_of(3) as peers, trio.open_nursery() as nursery:
        for peer in peers[1:]:
            await nursery.start(serve, peer, answer)
        async with peers[0].request({}, "ask", 1, timeout=0.3) as answers:
            assert [each async for each in answers] == []
            assert answers.missing == {"p0": "nobody subscribes there", "p1": "not today", "p2": "silent"}
        async with peers[0].request("p9", "ask", 1) as answers:
            with pytest.raises(NotDelivered, match="p9: not there"):
                await answers.one()
        nursery.cancel_scope.cancel()


async def test_an_asker_that_reads_slowly_is_waited_for() -> None:
    """More answers than it has room for: none is lost, none comes twice."""

    async def answer(peer: Peer, message: Received) -> None:
        for number in range(1_100):
            assert await message.reply(number, more=number < 1_099)

    async with mesh_of(2) as (first, second), trio.open_nursery() as nursery:
        await nursery.start(serve, second, answer)
        async with first.request("p1", "ask", None, timeout=30) as answers:
            asked = first._core.assembly.messaging.asked
            await until(lambda: (found := asked(answers._ref)) is not None and len(found.unread) == 1_024)
            await trio.sleep(0.05)
            assert [each.value async for each in answers] == list(range(1_100))
        nursery.cancel_scope.cancel()


async def test_giving_up_leaves_nothing() -> None:
    async with mesh_of(2) as (first, second), second.subscribe("ask") as messages:
        async with first.request("p1", "ask", 1, timeout=30):
            message = await anext(messages)
        assert not await message.reply(1), "nobody waits any more"
        with trio.move_on_after(0.02) as scope:
            async with first.request("p1", "ask", 1, timeout=30) as answers:
                await answers.one()
        assert scope.cancelled_caught
        for _ in range(100):
            with trio.CancelScope() as scope:
                scope.cancel()
                await first.send("p1", "t", 1)
        await until(lambda: first.stats()["messaging.pending"] == 0)
        assert first.stats()["messaging.questions"] == 0
        assert not first._messenger._letters and not first._messenger.askers and not first._messenger.readers


async def test_a_handler_whose_member_stops_ends_the_question() -> None:
    async with mesh_of(1) as (first,):
        async with joined(first, "guest") as guest, guest.subscribe("ask") as messages:
            await until(lambda: len(first.members) == 2)
            asking = first.request("guest", "ask", 1, timeout=30)
            await asking.__aenter__()
            await anext(messages)
        with trio.fail_after(5):
            assert [each async for each in asking] == []
        assert asking.missing == {"guest": "gone"}
        await asking.__aexit__(None, None, None)
