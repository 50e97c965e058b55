"""The streams of a node: each comes up at most once and ends exactly once, in whatever order the news of it arrives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.streams import Received, Streams
from tests.mesh.sources import OTHER_SECRET, SECRET, entropy, ring, session


def streams(name: str, *secrets: str) -> Streams:
    return Streams(ring(*secrets), session(name), entropy(name))


class Pair:
    """A stream between two nodes, driven by hand."""

    def __init__(self, one: Streams | None = None, two: Streams | None = None) -> None:
        self.one = streams("one") if one is None else one
        self.two = streams("two") if two is None else two
        self.dialled = self.one.dial("10.0.0.2:1", "tag")
        self.accepted = self.two.accept("10.0.0.1:9")

    def shake(self) -> list[Received]:
        """Everything that came of the handshake."""
        news = []
        data, ends = self.one.connected(self.dialled), [(self.two, self.accepted), (self.one, self.dialled)]
        while data:
            received = ends[0][0].received(ends[0][1], data)
            assert received is not None
            news.append(received)
            data = received.reply
            ends.reverse()
        return news


def test_both_ends_come_up_once_and_name_each_other() -> None:
    pair = Pair()
    ups = [each.up for each in pair.shake() if each.up is not None]
    assert [(up.session, up.address, up.tag) for up in ups] == [
        (session("one"), "10.0.0.1:9", None),
        (session("two"), "10.0.0.2:1", "tag"),
    ]
    assert pair.one.is_up(pair.dialled) and pair.two.is_up(pair.accepted)
    assert pair.one.far(pair.dialled) == (session("two"), "10.0.0.2:1")
    for _ in range(3):
        data = pair.one.seal(pair.dialled, b"word")
        assert data is not None
        assert pair.two.received(pair.accepted, data) == (b"", None, [b"word"], None)


def test_nothing_is_sealed_before_and_after_it_is_up() -> None:
    pair = Pair()
    assert pair.one.seal(pair.dialled, b"early") is None and pair.two.seal(pair.accepted, b"early") is None
    pair.shake()
    assert pair.one.seal(pair.dialled, b"word") is not None
    pair.one.ended(pair.dialled, "closed")
    assert pair.one.seal(pair.dialled, b"late") is None and not pair.one.is_up(pair.dialled)


def test_a_first_message_in_the_last_bytes_of_the_handshake_comes_after_the_news_that_it_is_up() -> None:
    pair = Pair()
    opening = pair.two.received(pair.accepted, pair.one.connected(pair.dialled))
    assert opening is not None
    proof = pair.one.received(pair.dialled, opening.reply)
    assert proof is not None
    up = pair.two.received(pair.accepted, proof.reply)
    assert up is not None and up.up is not None
    data = pair.two.seal(pair.accepted, b"at once")
    assert data is not None
    received = pair.one.received(pair.dialled, up.reply + data + bytes(8))
    assert received is not None and received.up is not None
    assert received.plaintexts == [b"at once"] and received.error == "unauthentic"


ENDINGS = ["closed", "reset", "bye", "idle", "silent", "unanswered", "too_large", "another"]


@given(st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=5), st.integers(0, 3))
def test_each_stream_ends_exactly_once(reasons: list[str], moment: int) -> None:
    """Whatever is told of it, and whether it was dialled, connected, or up."""
    pair = Pair()
    if moment == 1:
        pair.one.connected(pair.dialled)
    elif moment > 1:
        pair.shake()
    downs = [pair.one.ended(pair.dialled, reason) for reason in reasons]
    assert downs[0] is not None and downs[1:] == [None] * (len(reasons) - 1)
    assert downs[0].tag == "tag" and downs[0].session == (session("two") if moment > 1 else None)
    assert pair.one.received(pair.dialled, b"late bytes") is None
    assert pair.one.connected(pair.dialled) == b""
    assert len(pair.one) == 0 and pair.one.open() == []


@pytest.mark.parametrize(("reason", "told"), [("reset", "unanswered"), ("closed", "unanswered"), ("itself", "itself")])
def test_one_that_ends_before_the_proof_was_not_answered(reason: str, told: str) -> None:
    pair = Pair()
    pair.one.connected(pair.dialled)
    down = pair.one.ended(pair.dialled, reason)
    assert down is not None and down.reason == told
    up = Pair()
    up.shake()
    down = up.one.ended(up.dialled, reason)
    assert down is not None and down.reason == reason


def test_one_that_was_never_connected_keeps_the_drivers_reason() -> None:
    for reason in ("refused", "silent", "closed"):
        pair = Pair()
        down = pair.one.ended(pair.dialled, reason)
        assert down is not None and down.reason == reason


def test_a_wrong_secret_comes_up_on_neither_side() -> None:
    pair = Pair(streams("one", OTHER_SECRET), streams("two", SECRET))
    received = pair.two.received(pair.accepted, pair.one.connected(pair.dialled))
    assert received == (b"", None, [], "unknown_key")
    down = pair.two.ended(pair.accepted, "unknown_key")
    assert down is not None and down.reason == "unanswered" and down.session is None


def test_streams_are_numbered_for_ever() -> None:
    """A late byte for an ended stream can never reach a later one."""
    one = streams("one")
    numbers = []
    for _ in range(5):
        numbers += [one.dial("a:1", None), one.accept("b:1")]
        one.ended(numbers[-2], "closed")
        one.ended(numbers[-1], "closed")
    assert numbers == sorted(set(numbers))
