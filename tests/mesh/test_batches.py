"""Datagrams that are read together: one step each, and one flush for all of them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.directives import Address, Emit, Event, Message, Send, Stop
from mesh.outputs import Halt, Output, Publish, Transmit
from tests.mesh.node_world import Net, Process, met
from tests.mesh.shell_fakes import Note as Said
from tests.mesh.toys import Ask, Note, Reply

LIMIT = 1_200


def sealed(net: Net, sender: Process, *messages: Message) -> list[tuple[bytes, Address]]:
    """A datagram for `b` with each message, as it arrives there. None is delivered."""
    net.hold = lambda datagram: True
    before = len(net.datagrams)
    for message in messages:
        sender.send("b", message)
    made = [(datagram.data, datagram.source) for datagram in net.datagrams[before:]]
    assert len(made) == len(messages)
    return made


def read(process: Process, batch: list[tuple[bytes, Address]]) -> list[Output]:
    process.node.on_datagrams(batch, process.net.instant())
    return process.node.take()


def test_what_comes_together_is_answered_together() -> None:
    net = Net()
    a, b, c = met(net, "a", "b", "c")
    asked = [*sealed(net, a, Ask(1, 0), Ask(2, 0)), *sealed(net, c, Ask(3, 0)), *sealed(net, a, Ask(4, 0))]
    outputs = read(b, asked)
    assert [output.address for output in outputs if isinstance(output, Transmit)] == [a.address, c.address]
    for output in outputs:
        assert isinstance(output, Transmit)
        (a if output.address == a.address else c).feed(output.data, b.address)
    assert a.toy.numbers(Reply) == [1, 2, 4] and c.toy.numbers(Reply) == [3]


def test_each_is_a_step_of_its_own() -> None:
    """What a step emits, and sends to itself, comes before the next datagram."""
    net = Net()
    a, b = met(net, "a", "b")
    order: list[object] = []

    def react(occasion: Event | Message) -> tuple[Send | Emit, ...]:
        order.append(occasion)
        if isinstance(occasion, Ask):
            return (Emit(Said(f"asked {occasion.number}")), Send("b", Note(10 * occasion.number, b"")))
        return ()

    b.toy.react = react
    outputs = read(b, sealed(net, a, Ask(1, 0), Ask(2, 0)))
    assert order == [Ask(1, 0), Note(10, b""), Ask(2, 0), Note(20, b"")]
    told = [output.event for output in outputs if isinstance(output, Publish)]
    assert told == [Said("asked 1"), Said("asked 2")]


def test_nothing_is_heard_behind_a_halt() -> None:
    net = Net()
    a, b = met(net, "a", "b")
    error = RuntimeError("enough")
    b.toy.react = lambda occasion: (Stop(error),) if occasion == Ask(2, 0) else ()
    outputs = read(b, sealed(net, a, Ask(1, 0), Ask(2, 0), Ask(3, 0)))
    assert b.toy.numbers(Ask) == [1, 2]
    assert [output.error for output in outputs if isinstance(output, Halt)] == [error]


def test_what_is_refused_costs_its_fellows_nothing() -> None:
    net = Net()
    a, b = met(net, "a", "b")
    one, two = sealed(net, a, Note(1, b""), Note(2, b""))
    read(b, [(b"garbage", a.address), one, (two[0][:-1] + b"\0", two[1]), one, two])
    assert b.toy.numbers() == [1, 2]
    stats = b.node.stats()
    assert (stats["node.refused_malformed"], stats["node.refused_unauthentic"], stats["node.refused_replayed"]) == (1, 1, 1)


@given(st.lists(st.integers(0, 1_300), min_size=1, max_size=12), st.lists(st.integers(1, 5), max_size=12))
@settings(max_examples=60)
def test_however_it_is_cut_the_same_is_heard_and_answered(sizes: list[int], cuts: list[int]) -> None:
    """Any division into batches gives the answers of one step a datagram, in their order, within the budget."""
    heard: list[list[int]] = []
    answered: list[list[int]] = []
    for together in (False, True):
        net = Net()
        a, b = met(net, "a", "b")
        asked = sealed(net, a, *[Ask(number, size) for number, size in enumerate(sizes)])
        outputs: list[Output] = []
        pieces = iter(cuts) if together else iter(())
        while asked:
            piece = next(pieces, len(asked) if together else 1)
            outputs += read(b, asked[:piece])
            asked = asked[piece:]
        datagrams = [output for output in outputs if isinstance(output, Transmit)]
        assert all(len(output.data) <= LIMIT for output in datagrams)
        for output in datagrams:
            a.feed(output.data, b.address)
        heard.append(b.toy.numbers(Ask))
        answered.append(a.toy.numbers(Reply))
    assert heard[0] == heard[1] == list(range(len(sizes)))
    assert answered[0] == answered[1]
