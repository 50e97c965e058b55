"""The node: one step one flush, budgets of datagrams, who is known, and what is dropped is counted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.directives import (
    Act,
    Arm,
    Bye,
    Dial,
    Disarm,
    Emit,
    Event,
    Refused,
    Send,
    Stop,
)
from mesh.outputs import Halt, Transmit
from mesh.relay import Relayed
from mesh.seal import DATAGRAM_OVERHEAD
from mesh.wire import FRAME_OVERHEAD, MAX_NUMBER, decode, encode, pack
from tests.mesh.node_world import HEAD, SECOND, Net, News, Toy, downs, met, note, ups
from tests.mesh.toys import Ask, Note, Reply

# --- steps ---------------------------------------------------------------------------------------------------------


def test_what_one_step_sends_to_one_member_leaves_in_one_datagram() -> None:
    net = Net()
    a, b, c = met(net, "a", "b", "c")
    a.command(*[Send(to, Note(number, b"x")) for number in range(5) for to in ("b", "c")])
    assert len(net.datagrams) == 2
    assert b.toy.numbers() == c.toy.numbers() == list(range(5))


def test_the_own_name_and_session_are_reached_without_the_network_and_after_the_step() -> None:
    net = Net()
    a = net.process("a")
    a.toy.react = lambda occasion: (Send("a", Note(2, b"")),) if isinstance(occasion, Ask) else ()
    a.command(Send("a", Ask(1, 0)), Send(a.boot.session, Note(3, b"")))
    assert [message.number for message, _ in a.toy.heard] == [1, 3, 1, 2]  # type: ignore[attr-defined]
    assert isinstance(a.toy.heard[2][0], Reply)
    assert net.datagrams == []
    assert all(source.session == a.boot.session and source.name == "a" for _, source in a.toy.heard)


def test_events_go_to_every_other_part_in_order_and_are_published() -> None:
    class Happened(Event):
        pass

    class Deaf(Toy):
        name = "deaf"
        messages = ()
        hears: tuple[type[Event], ...] = (Bye,)

    net = Net()
    other, deaf = News("other"), Deaf()
    a = net.process("a", other, deaf)
    first, second = Happened(), Happened()
    a.command(Emit(first), Emit(second))
    assert other.events == a.published == [first, second]
    assert a.toy.events == deaf.events == []
    a.node.stop(net.instant())
    assert len(deaf.events) == len(other.events) - 2 == 1


def test_timers_are_their_parts_own() -> None:
    net = Net()
    other = News("other")
    a = net.process("a", other)
    a.command(Arm("tick", net.now + 5), Arm("tock", net.now + 9), Act(other, (Arm("tick", net.now + 7),)))
    net.run(6)
    assert a.toy.rung == ["tick"] and other.rung == []
    a.command(Disarm("tock"))
    net.run(10)
    assert a.toy.rung == other.rung == ["tick"]
    assert a.node.due() is None


def test_two_parts_cannot_handle_one_message() -> None:
    with pytest.raises(ValueError, match="Note is handled by two parts"):
        Net().process("a", Toy())


def test_a_stopping_node_says_its_last_and_leaves_no_timer() -> None:
    net = Net()
    a, b = met(net, "a", "b")
    a.send("b", Note(1, b""), stream=True)
    a.toy.react = lambda occasion: (Send("b", Note(2, b"bye")),) if isinstance(occasion, Bye) else ()
    a.command(Arm("tick", net.now + SECOND))
    a.node.stop(net.instant())
    net.settle()
    assert b.toy.numbers() == [1, 2]
    assert a.node.due() is None
    assert len(downs(b)) == 1 and a.lines == b.lines == {}


def test_a_halt_reaches_the_driver() -> None:
    a = Net().process("a")
    error = RuntimeError("enough")
    a.command(Stop(error))
    assert a.halted is error


# --- budgets (W1, W2) ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1_200, 1_400])
@pytest.mark.parametrize("cut", [0, MAX_NUMBER])
def test_no_datagram_is_above_the_budget_at_any_size_by_one(limit: int, cut: int) -> None:
    """What fits goes in a datagram, what does not over a stream, and all of it arrives (alertmanager#1412)."""
    net = Net()
    a, b = met(net, "a", "b", datagram_bytes=limit)
    a.node.mark = cut
    budget = limit - DATAGRAM_OVERHEAD - FRAME_OVERHEAD
    for count, size in enumerate(range(budget - 3, budget + 4), 1):
        sent = len(net.datagrams)
        a.send("b", note(size))
        assert len(b.toy.heard) == count
        assert (b.toy.heard[-1][1].channel is None) == (size <= budget) == (len(net.datagrams) > sent)
    assert max(len(datagram.data) for datagram in net.datagrams) in range(limit - 14, limit + 1)


@given(st.lists(st.integers(HEAD + 256, 1_300), max_size=12), st.lists(st.integers(3, 400), max_size=30), st.booleans())
@settings(max_examples=60)
def test_any_mixture_is_delivered_whole_within_the_budget(sizes: list[int], news: list[int], two: bool) -> None:
    net = Net()
    rumours, data = News("rumours"), News("data")
    a = net.process("a", rumours, *([data] if two else []))
    b = net.process("b")
    a.node.mark = MAX_NUMBER
    a.know(b)
    b.know(a)
    items = [encode(Note(index, bytes(size))) for index, size in enumerate(news)]
    rumours.queue.extend(items[::2] if two else items)
    data.queue.extend(items[1::2] if two else [])
    a.command(*[Send("b", note(size)) for size in sizes])
    assert all(len(datagram.data) <= 1_200 for datagram in net.datagrams)
    left = len(rumours.queue) + (len(data.queue) if two else 0)
    assert len(b.toy.heard) == len(sizes) + len(news) - left
    for _ in range(len(news)):
        a.send("b", Ask(0, 0))
    assert not rumours.queue and not (two and data.queue)


def test_rumours_and_data_both_drain_under_a_flood_of_either() -> None:
    """Neither part starves the other, whichever is asked first, and a datagram is filled (W2)."""
    net = Net()
    rumours, data = News("rumours"), News("data")
    a, b = net.process("a", rumours, data), net.process("b")
    a.know(b)
    b.know(a)
    item = encode(Note(1, bytes(60)))
    for part in (rumours, data):
        part.queue.extend([item] * 1_000)
    a.send("b", Ask(1, 0))
    shares = [1_000 - len(part.queue) for part in (rumours, data)]
    assert min(shares) >= 6, shares
    assert len(net.datagrams[0].data) > 1_200 - DATAGRAM_OVERHEAD - len(item)
    data.queue.clear()
    before = len(rumours.queue)
    a.send("b", Ask(1, 0))
    assert before - len(rumours.queue) >= 2 * min(shares), "what the others leave is not wasted"


def test_a_small_urgent_message_waits_for_no_bulk() -> None:
    """quickwit#4561: bulk goes over a stream, and what was sent after it leaves in the same step."""
    net = Net()
    a, b = met(net, "a", "b")
    a.command(Send("b", Note(1, bytes(1 << 20))), Send("b", Note(2, b"urgent")))
    assert b.toy.numbers() == [2, 1]


# --- who is known --------------------------------------------------------------------------------------------------


def test_a_forgotten_member_is_written_to_no_more_and_proves_itself_anew() -> None:
    net = Net()
    a, b = met(net, "a", "b")
    a.send("b", Note(1, b""))
    b.forget(a)
    b.send("a", Note(2, b""))
    assert a.toy.heard == [] and b.node.stats()["node.unroutable"] == 1
    a.send("b", Note(3, b""))
    a.send("b", Note(4, b""))
    assert 4 in b.toy.numbers() and b.toy.numbers().count(3) <= 1
    b.know(a)
    b.send("a", Note(5, b""))
    assert a.toy.numbers() == [5]


def test_the_newest_boot_has_the_name() -> None:
    net = Net()
    a, old = met(net, "a", "b")
    new = net.process("b", address="10.0.1.1:1")
    a.know(new)
    a.send("b", Note(1, b""))
    a.know(old)
    a.send("b", Note(2, b""))
    a.send(old.boot.session, Note(3, b""))
    assert new.toy.numbers() == [1, 2] and old.toy.numbers() == [3]
    a.forget(old)
    a.send("b", Note(4, b""))
    assert new.toy.numbers() == [1, 2, 4]
    a.forget(new)
    a.send("b", Note(5, b""))
    assert a.node.stats()["node.unroutable"] == 1


def test_a_member_that_moved_is_written_to_at_its_new_address() -> None:
    net = Net()
    a, b = met(net, "a", "b")
    net.at["10.0.7.7:1"] = net.at.pop(b.address)
    b.address = "10.0.7.7:1"
    a.know(b)
    a.send("b", Note(1, b""))
    assert b.toy.numbers() == [1]


def test_the_source_names_the_member_and_where_the_datagram_came_from() -> None:
    net = Net()
    a, b = met(net, "a", "b")
    net.hold = lambda datagram: True
    a.send("b", Note(1, b""))
    a.send("b", Note(2, b""))
    b.feed(net.datagrams[0].data, a.address)
    b.feed(net.datagrams[1].data, "10.9.9.9:1")
    assert [(source.name, source.boot, source.address) for _, source in b.toy.heard] == [
        ("a", a.boot, a.address),
        ("a", a.boot, "10.9.9.9:1"),
    ]


# --- thin clients --------------------------------------------------------------------------------------------------


class Gate(Toy):
    """What a gateway does with what is relayed to a sponsor."""

    name = "gate"
    messages = (Relayed,)


def test_a_message_to_a_thin_client_is_relayed_by_its_sponsor() -> None:
    net = Net()
    gates = [Gate(), Gate()]
    a, b = net.process("a", gates[0]), net.process("b", gates[1])
    a.know(b)
    b.know(a)
    a.send("client-1@b", Note(1, b"word"))
    a.send("client-2@a", Note(2, b"word"))
    for gate, client, number in ((gates[1], "client-1", 1), (gates[0], "client-2", 2)):
        ((relayed, _),) = gate.heard
        assert isinstance(relayed, Relayed) and relayed.client == client
        assert decode(relayed.payload) == Note(number, b"word")


@pytest.mark.parametrize("to", ["nobody", "x@nobody", "@", "x@", "@b@", "x@y@b", "@" * 20_000, ("x@" * 5_000) + "b"])
def test_a_name_that_leads_nowhere_is_counted_however_long_it_is(to: str) -> None:
    """The names in a request are its sender's choice: what is answered to them must not break the answerer."""
    net = Net()
    a, _ = met(net, "a", "b")
    a.send(to, Note(1, b""))
    assert a.node.stats()["node.unroutable"] == 1 and net.datagrams == []


# --- what is dropped is counted ------------------------------------------------------------------------------------


def test_frames_that_are_none_and_messages_that_nobody_handles_are_counted() -> None:
    net = Net()
    a, b = met(net, "a", "b")
    foreign = encode(Relayed("x", b""))
    unknown, invalid = b"\x82\x19\xff\xff\x01", b"\x82\x19\xea\x61\x01"
    for plaintext in (b"", b"\xff", pack((foreign, unknown, unknown, invalid, encode(Note(1, b""))), 0), pack((), 0) + b"\0"):
        b.feed(a.node._seal.seal(plaintext, b.boot.session), a.address)
    counts = b.node.stats()
    assert b.toy.numbers() == [1]
    assert (counts["node.malformed_frames"], counts["node.unhandled_messages"]) == (3, 1)
    assert (counts["node.unknown_messages"], counts["node.invalid_messages"]) == (2, 1)


def test_a_refused_datagram_is_told_to_the_parts() -> None:
    a = Net().process("a")
    a.node.on_refused("10.9.9.9:1", a.net.instant())
    assert a.toy.events == [Refused("10.9.9.9:1")] and a.node.stats()["node.refused_datagrams"] == 1


@settings(max_examples=30)
@given(st.data())
def test_a_hostile_member_breaks_nothing(data: st.DataObject) -> None:
    """Sealed with the right keys, but of any content, in datagrams and on a stream."""
    net = Net()
    a, b = met(net, "a", "b")
    a.command(Dial(b.address, "x"))
    channel = a.node._streams
    for _ in range(5):
        plaintext = data.draw(st.one_of(st.binary(max_size=80), st.sampled_from([encode(Note(1, b"x")), b"\x83\x01\x00\x80"])))
        b.feed(a.node._seal.seal(plaintext, b.boot.session, data.draw(st.integers(0, 255))), a.address)
        sealed = channel.seal(ups(a)[0].channel, plaintext)
        assert sealed is not None
        b.node.on_stream(ups(b)[0].channel, sealed, net.instant())
        b.node.take()
    b.know(a)
    a.send("b", Note(77, b""))
    assert b.toy.numbers()[-1] == 77


def test_outputs_are_taken_once_and_in_order() -> None:
    net = Net()
    a, _ = met(net, "a", "b")
    now = net.instant()
    a.node.command(a.toy, (Send("b", Note(1, b"")), Stop(RuntimeError())), now)
    assert [type(output) for output in a.node.take()] == [Halt, Transmit]
    assert a.node.take() == []


def test_what_is_no_directive_is_an_error() -> None:
    a = Net().process("a")
    with pytest.raises(TypeError, match="'send' is no directive"):
        a.node.command(a.toy, ("send",), a.net.instant())  # type: ignore[arg-type]
