"""The node: one step one flush, budgets of datagrams, first contact, large messages, and nothing that a stranger can do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mesh.contacts
from mesh.courier import IDLE
from mesh.directives import (
    Act,
    Arm,
    Bye,
    ChannelDown,
    ChannelUp,
    Close,
    Dial,
    Disarm,
    Emit,
    Event,
    Greet,
    Greeted,
    OtherSecret,
    Refused,
    Send,
    Stop,
    Write,
)
from mesh.hello import COOKIE_INTERVAL
from mesh.keyring import Keyring
from mesh.outputs import Halt, Output, Publish, StreamClose, StreamWrite, Transmit
from mesh.relay import Relayed
from mesh.seal import DATAGRAM_OVERHEAD, Kind, Seal
from mesh.streams import HANDSHAKE
from mesh.wire import FRAME_OVERHEAD, MAX_FRAME_BYTES, MAX_NUMBER, decode, encode, pack
from tests.mesh.node_world import SECOND, Net, News, Process, Toy, met
from tests.mesh.sources import OTHER_SECRET, entropy, session
from tests.mesh.toys import Ask, Note, Reply

HEAD = len(encode(Note(0, bytes(300)))) - 300
"""Bytes of a note around a body of 256 bytes to 64 KiB."""


def note(size: int) -> Note:
    """One whose encoding has that many bytes."""
    made = Note(0, bytes(size - HEAD))
    assert len(encode(made)) == size
    return made


def ups(process: Process) -> list[ChannelUp]:
    return [event for event in process.toy.events if isinstance(event, ChannelUp)]


def downs(process: Process) -> list[ChannelDown]:
    return [event for event in process.toy.events if isinstance(event, ChannelDown)]


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


# --- large messages ------------------------------------------------------------------------------------------------


def test_one_stream_carries_all_large_messages_in_order_and_is_closed_when_idle() -> None:
    net = Net()
    a, b = met(net, "a", "b")
    for number in range(20):
        a.send("b", Note(number, bytes(10_000)))
    assert b.toy.numbers() == list(range(20)) and len(net.conversations) == 1
    net.run(25 * SECOND)
    a.send("b", Note(20, bytes(10_000)))
    net.run(25 * SECOND)
    assert len(a.lines) == 1, "it was used meanwhile"
    net.run(40 * SECOND)
    assert a.lines == b.lines == {}
    assert downs(a)[0].reason == "idle" and len(downs(a)) == len(downs(b)) == 1
    assert a.node.due() is None
    a.send("b", Note(21, bytes(10_000)))
    assert b.toy.numbers()[-1] == 21 and len(net.conversations) == 2


def test_each_stream_is_idle_by_its_own_use() -> None:
    """Neither do the streams to others keep one open, nor does their age close a young one."""
    net = Net()
    a, *others = met(net, *"abcdefgh")
    opened: dict[str, int] = {}
    for process in others:
        a.send(process.name, Note(1, bytes(10_000)))
        opened[process.name] = net.now
        net.run(9 * SECOND)
        for down in downs(a):
            (name,) = [other.name for other in others if other.address == down.address]
            assert IDLE <= net.now - opened.pop(name, net.now - IDLE) <= 2 * IDLE + 9 * SECOND
        a.toy.events.clear()
    assert 1 < len(opened) < len(others)
    assert len(a.lines) == len(opened)


def test_a_stream_that_reaches_another_process_delivers_nothing() -> None:
    net = Net()
    a, b = met(net, "a", "b")
    impostor = net.process("b", address=b.address)
    a.send("b", Note(1, bytes(10_000)))
    assert impostor.toy.heard == [] and impostor.lines == a.lines == {}
    assert [down.reason for down in downs(a)] == ["another"] and ups(a) == []
    assert a.node.stats()["node.undelivered"] == 1


def test_a_stream_that_reaches_another_process_is_closed_also_if_that_one_speaks_at_once() -> None:
    """Its first message may come in the bytes that complete the handshake: nobody is told, and nothing breaks."""
    net = Net()
    a, b = met(net, "a", "b")
    impostor = net.process("b", address=b.address)
    impostor.toy.react = lambda occasion: (
        (Write(occasion.channel, Note(9, b"at once")),) if isinstance(occasion, ChannelUp) else ()
    )
    joined = _join_writes(impostor)
    a.send("b", Note(1, bytes(10_000)))
    assert joined and a.toy.heard == [] and a.lines == {}
    a.send("b", Ask(1, 1))


def _join_writes(process: Process) -> list[int]:
    """Let all that a step writes to a stream arrive as one piece, as TCP may; the streams on which that happened."""
    take = process.node.take
    joined: list[int] = []

    def together() -> list[Output]:
        outputs: list[Output] = []
        writes: dict[int, int] = {}
        for output in take():
            if isinstance(output, StreamWrite):
                place = writes.setdefault(output.stream, len(outputs))
                if place < len(outputs):
                    before = outputs[place]
                    assert isinstance(before, StreamWrite)
                    outputs[place] = StreamWrite(output.stream, before.data + output.data)
                    joined.append(output.stream)
                    continue
            outputs.append(output)
        return outputs

    process.node.take = together  # type: ignore[method-assign]
    return joined


def test_nothing_is_delivered_from_a_stream_that_a_part_has_closed() -> None:
    net = Net()
    a, b = met(net, "a", "b")
    b.toy.react = lambda occasion: (Close(ups(b)[0].channel),) if isinstance(occasion, Note) else ()
    a.command(Dial(b.address, "x"))
    _join_writes(a)
    channel = ups(a)[0].channel
    a.command(*[Write(channel, Note(number, b"")) for number in range(4)])
    assert b.toy.numbers() == [0]
    assert len(downs(a)) == len(downs(b)) == 1


def test_a_message_above_every_bound_is_counted_and_breaks_nothing() -> None:
    net = Net()
    a, b = met(net, "a", "b")
    a.send("b", Note(1, bytes(MAX_FRAME_BYTES)))
    a.send("b", Note(2, bytes(MAX_FRAME_BYTES - 200)))
    assert b.toy.numbers() == [2]
    assert a.node.stats()["node.too_large"] == 1


def test_nothing_encoded_is_kept_after_its_step() -> None:
    net = Net()
    a, _ = met(net, "a", "b")
    for number in range(3):
        a.send("b", Note(number, bytes(10_000)), stream=True)
    assert a.node._encoded == (None, b"") and not a.node._packer.outgoing


# --- streams -------------------------------------------------------------------------------------------------------


def test_a_dialled_stream_carries_messages_both_ways() -> None:
    net = Net()
    a, b = net.process("a"), net.process("b")
    a.command(Dial(b.address, "tag"))
    (up,) = ups(a)
    assert up.tag == "tag" and up.session == b.boot.session and up.address == b.address
    a.command(Write(up.channel, Note(1, b"there")))
    b.command(Write(ups(b)[0].channel, Note(2, b"back")))
    assert (b.toy.numbers(), a.toy.numbers()) == ([1], [2])
    assert b.toy.heard[0][1].session == a.boot.session and b.toy.heard[0][1].channel == ups(b)[0].channel
    a.node.command(a.toy, (Close(up.channel), Close(up.channel)), net.instant())
    outputs = a.node.take()
    assert [output for output in outputs if isinstance(output, StreamClose)] == [StreamClose(up.channel)]
    assert len(downs(a)) == 1
    a.command(Write(up.channel, Note(3, b"late")))
    assert a.node.stats()["node.unwritable"] == 1


@pytest.mark.parametrize(
    ("secret", "reason"), [(OTHER_SECRET, "unanswered"), (None, "refused")], ids=["wrong secret", "nobody there"]
)
def test_a_dial_that_fails_is_told_once_with_its_reason(secret: str | None, reason: str) -> None:
    net = Net()
    a = net.process("a")
    target = net.process("b", keyring=Keyring([secret])) if secret else None
    a.command(Dial(target.address if target else "10.9.9.9:1", "tag"))
    assert [(down.reason, down.session, down.tag) for down in downs(a)] == [(reason, None, "tag")]
    assert ups(a) == [] and a.node.due() is None
    if target:
        assert target.node.stats()["node.stream_unknown_key"] == 1 and ups(target) == []


def test_a_dial_to_itself_is_told() -> None:
    net = Net()
    a = net.process("a")
    a.command(Dial(a.address, "tag"))
    assert sorted(down.reason for down in downs(a)) == ["itself", "unanswered"] and ups(a) == []


def test_a_handshake_that_stalls_is_given_up() -> None:
    net = Net()
    a = net.process("a")
    for data in (b"", b"TMS2", b"TMS2" + a.ring.primary + bytes(48)):
        stream = a.node.on_accept("10.9.9.9:1", net.instant())
        a.node.on_stream(stream, data, net.instant())
    net.run(HANDSHAKE + 1)
    assert len(downs(a)) == 3 and {down.reason for down in downs(a)} == {"unanswered"}
    assert a.node.due() is None and a.node.stats()["node.streams"] == 0


def test_bytes_of_no_stream_and_of_one_that_ended_are_nothing() -> None:
    net = Net()
    a = net.process("a")
    a.node.on_stream(99, b"bytes", net.instant())
    a.node.on_stream_end(99, "reset", net.instant())
    a.node.on_connected(99, net.instant())
    assert a.node.take() == [] and a.toy.events == []


def test_garbage_on_a_stream_closes_it_unanswered() -> None:
    net = Net()
    a = net.process("a")
    stream = a.node.on_accept("10.9.9.9:1", net.instant())
    a.node.on_stream(stream, b"GET / HTTP/1.1\r\n\r\n", net.instant())
    assert [type(output) for output in a.node.take() if not hasattr(output, "event")] == [StreamClose]
    assert a.node.stats()["node.stream_malformed"] == 1


# --- first contact (W5) --------------------------------------------------------------------------------------------


def test_a_frame_that_travels_again_with_a_proof_is_delivered_once() -> None:
    """Also if the receiver hears of the sender meanwhile, the cookie comes twice, and the first datagram is replayed."""
    net = Net()
    a, b = net.process("a"), net.process("b")
    a.know(b)
    net.hold = lambda datagram: True
    a.send("b", Note(1, b"word"))
    frame = net.datagrams[0]
    cookies = []
    for _ in range(2):
        (cookie,) = b.feed(frame.data, a.address)
        assert isinstance(cookie, Transmit)
        cookies.append(cookie.data)
        net.now += COOKIE_INTERVAL
    b.know(a)
    for cookie_data in cookies:
        (proof,) = a.feed(cookie_data, b.address)
        assert isinstance(proof, Transmit)
        b.feed(proof.data, a.address)
    assert b.toy.numbers() == [1]
    assert b.feed(frame.data, a.address) == []
    assert b.toy.numbers() == [1]


@pytest.mark.parametrize("body", [0, 1, 5, 100, 1_000])
def test_the_smallest_first_datagram_is_worth_a_cookie(body: int) -> None:
    """Else who sends little is never known."""
    net = Net()
    a, b = net.process("a"), net.process("b")
    a.know(b)
    a.send("b", Note(1, bytes(body)))
    assert b.toy.numbers() == [1]
    first, cookie, _ = net.datagrams
    assert len(cookie.data) <= len(first.data)


def test_who_is_heard_of_first_by_one_side_only_costs_one_round_trip() -> None:
    """A knows B by gossip, B not A: nothing is delivered before the proof, and nothing is lost after it."""
    net = Net()
    a, b = net.process("a"), net.process("b")
    a.know(b)
    a.send("b", Ask(1, 10))
    assert [datagram.data[1] for datagram in net.datagrams] == [Kind.PAIR, Kind.COOKIE, Kind.PROOF]
    assert b.toy.numbers(Ask) == [1] and b.toy.heard[0][1].name is None
    assert b.node.stats()["node.unroutable"] == 1, "a session that is no member's is not written to"
    b.know(a)
    a.send("b", Ask(2, 10))
    assert a.toy.numbers(Reply) == [2] and len(net.datagrams) == 5


def test_a_greeting_is_answered_and_told() -> None:
    net = Net()
    a, b = net.process("a"), net.process("b")
    a.command(Greet(b.address))
    assert [event for event in a.toy.events if isinstance(event, Greeted)] == [Greeted(b.boot.session, b.address)]
    assert [datagram.data[1] for datagram in net.datagrams] == [Kind.HELLO, Kind.COOKIE, Kind.PROOF]
    assert len(net.datagrams[1].data) < len(net.datagrams[0].data)
    assert a.node._introductions._greets == {} and b.node._seal.knows(a.boot.session) and a.node._seal.knows(b.boot.session)


def test_a_greeting_of_nobody_or_of_another_mesh_is_not_answered() -> None:
    net = Net()
    a, b = net.process("a"), net.process("b", keyring=Keyring([OTHER_SECRET]))
    a.command(Greet(b.address), Greet("10.9.9.9:1"), Greet(a.address))
    assert a.toy.events == [] and len(net.datagrams) == 3
    assert b.node.stats()["node.refused_unknown_key"] == 1 and a.node.stats()["node.refused_own"] == 1


def test_nothing_unauthenticated_is_answered() -> None:
    net = Net()
    a, b = met(net, "a", "b")
    a.send("b", Note(1, bytes(200)))
    valid = net.datagrams[0].data
    stranger = Seal(Keyring([OTHER_SECRET]), session("stranger"), entropy("stranger"))
    forged = [
        b"",
        bytes(50),
        bytes(1_200),
        valid[:-1],
        valid[:-1] + b"\0",
        b"\x02" + valid[1:],
        stranger.seal_hello(bytes(128)),
    ]
    forged += [valid[:1] + bytes([kind]) + valid[2:] for kind in (2, 3, 4, 9)]
    forged += [valid[:6] + session("anyone") + valid[22:], stranger.seal(bytes(64), b.boot.session)]
    before = b.state()
    for data in forged:
        assert [output for output in b.feed(data, "10.9.9.9:1") if output != Publish(OtherSecret("10.9.9.9:1"))] == []
    assert b.state() == before
    refused = {name: count for name, count in b.node.stats().items() if name.startswith("node.refused_")}
    assert sum(refused.values()) == len(forged), refused


@given(st.integers(0, 200), st.sampled_from([Kind.PAIR, Kind.HELLO, Kind.PROOF, Kind.COOKIE, 9]), st.booleans())
def test_no_answer_to_an_unproven_source_is_larger_than_its_request(size: int, kind: int, hello: bool) -> None:
    """Whatever a holder of the secret, or a recording of one, sends from an address that it has not proven."""
    net = Net()
    b = net.process("b")
    unknown = Seal(b.ring, session("unknown"), entropy("unknown"))
    data = unknown.seal_hello(bytes(size)) if hello else unknown.seal(bytes(size), b.boot.session, kind)
    before = b.state()
    outputs = b.feed(data, "10.9.9.9:1")
    assert all(isinstance(output, Transmit) and len(output.data) <= len(data) for output in outputs)
    assert len(outputs) <= 1
    assert b.state() == before, "a source that is not proven changes nothing"


def test_a_flood_of_hellos_gets_one_cookie_an_interval() -> None:
    net = Net()
    b = net.process("b")
    unknown = Seal(b.ring, session("unknown"), entropy("unknown"))
    answers = 0
    for _ in range(100):
        answers += len(b.feed(unknown.seal_hello(bytes(128)), "10.9.9.9:1"))
        net.now += COOKIE_INTERVAL // 10
    assert answers == 10


def test_no_third_party_is_made_a_target() -> None:
    """A cookie that an attacker holds back and sends from a victim's address is answered where the frame went, if at all."""
    net = Net()
    a, b = net.process("a"), net.process("b")
    a.know(b)
    net.hold = lambda datagram: datagram.data[1] == Kind.COOKIE
    a.send("b", Note(1, bytes(1_000)))
    cookie = net.datagrams[-1]
    assert cookie.data[1] == Kind.COOKIE
    victim = "10.66.66.66:53"
    answers = a.feed(cookie.data, victim)
    assert [output.address for output in answers if isinstance(output, Transmit)] == [b.address]
    assert a.feed(cookie.data, victim) == a.feed(cookie.data, b.address) == []


def test_a_cookie_that_nobody_asked_for_is_refused() -> None:
    net = Net()
    a, b = net.process("a"), net.process("b")
    for plaintext in (bytes(16), b"", bytes(15), bytes(1_000)):
        assert a.feed(b.node._seal.seal(plaintext, a.boot.session, Kind.COOKIE), b.address) == []
    assert a.node.stats()["node.refused_cookie"] == 4 and not a.node._seal.knows(b.boot.session)


def test_a_proof_with_a_wrong_or_old_cookie_changes_nothing() -> None:
    net = Net()
    a, b = net.process("a"), net.process("b")
    a.know(b)
    net.hold = lambda datagram: datagram.data[1] == Kind.PROOF
    a.send("b", Note(1, b"word"))
    proof = net.datagrams[-1].data
    before = b.state()
    assert b.feed(proof, "10.9.9.9:1") == []
    forged = a.node._seal.seal(bytes(16) + pack((), 0), b.boot.session, Kind.PROOF)
    assert b.feed(forged, a.address) == []
    net.now += 60 * SECOND
    assert b.feed(proof, a.address) == []
    assert b.state() == before and b.node.stats()["node.refused_cookie"] == 3


def test_strangers_are_bounded_and_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh.contacts, "STRANGERS", 3)
    net = Net()
    b = net.process("b")
    asking = [net.process(f"asker {index}", address=f"10.1.0.{index}:1") for index in range(5)]
    for process in asking:
        process.command(Greet(b.address))
    assert [b.node._seal.knows(process.boot.session) for process in asking] == [False, False, True, True, True]
    b.know(asking[2])
    for process in asking[:2]:
        net.now += SECOND
        process.command(Greet(b.address))
    assert b.node._seal.knows(asking[2].boot.session), "a member is no stranger any more"


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
