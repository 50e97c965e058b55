"""Streams of a node: large messages, what parts dial, and what is given up."""

from __future__ import annotations

import pytest

from mesh.courier import IDLE
from mesh.directives import (
    ChannelUp,
    Close,
    Dial,
    Write,
)
from mesh.keyring import Keyring
from mesh.outputs import Output, StreamClose, StreamWrite
from mesh.streams import HANDSHAKE
from mesh.wire import MAX_FRAME_BYTES
from tests.mesh.node_world import SECOND, Net, Process, downs, met, ups
from tests.mesh.sources import OTHER_SECRET
from tests.mesh.toys import Ask, Note

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
