"""First contact (W5): one round trip, nothing for strangers, and no third party that is made a target."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mesh.contacts
from mesh.directives import (
    Greet,
    Greeted,
    OtherSecret,
)
from mesh.hello import COOKIE_INTERVAL
from mesh.keyring import Keyring
from mesh.outputs import Publish, Transmit
from mesh.seal import Kind, Seal
from mesh.wire import pack
from tests.mesh.node_world import SECOND, Net, met
from tests.mesh.sources import OTHER_SECRET, entropy, session
from tests.mesh.toys import Ask, Note, Reply


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
