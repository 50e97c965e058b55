"""A sealed stream: both ends prove the secret, frames come whole and in order, anything else ends it, however it is cut."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.channel import GREETING_BYTES, HEADER_BYTES, LENGTH_BYTES, MAX_FRAME, TAG_BYTES, Channel, ChannelError
from tests.mesh.sources import OTHER_SECRET, SECRET, entropy, ring, session


def channel(name: str, *secrets: str, initiator: bool, seed: object = 0) -> Channel:
    return Channel(ring(*secrets), session(name), entropy((name, seed)), initiator=initiator)


def handshake(one: Channel, two: Channel) -> tuple[bytes, bytes]:
    """Everything that each has said when both are ready."""
    forth, back = one.opening(), b""
    pending = forth
    while pending:
        two.receive(pending)
        answer = two.take()
        back += answer
        one.receive(answer)
        pending = one.take()
        forth += pending
    return forth, back


def ready() -> tuple[Channel, Channel]:
    one, two = channel("one", initiator=True), channel("two", initiator=False)
    handshake(one, two)
    return one, two


def header(end: Channel, length: int, number: int) -> bytes:
    """What that end would say before a frame of this length."""
    assert end._outbound is not None
    return end._outbound.header(number, length)


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return (data[start:end] for start, end in pairwise(places))


def outcome(end: Channel, chunks: Iterator[bytes]) -> tuple[list[bytes], str | None]:
    """What a stream delivered, and why it ended."""
    plaintexts: list[bytes] = []
    try:
        for chunk in chunks:
            plaintexts += end.receive(chunk)
    except ChannelError as problem:
        return plaintexts + problem.plaintexts, problem.reason
    return plaintexts, None


def test_both_ends_are_ready_once_each_has_proven_itself() -> None:
    one, two = channel("one", initiator=True), channel("two", initiator=False)
    two.receive(one.opening())
    one.receive(two.take())
    assert not one.ready and not two.ready, "a greeting proves nothing"
    two.receive(one.take())
    assert two.ready and not one.ready
    one.receive(two.take())
    assert one.ready
    assert (one.session, two.session) == (session("two"), session("one"))


@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(0, 10_000), max_size=12))
def test_frames_come_whole_and_in_order_however_they_are_cut(frames: list[bytes], cuts: list[int]) -> None:
    one, two = ready()
    assert outcome(two, pieces(b"".join(map(one.seal, frames)), cuts)) == (frames, None)
    assert outcome(one, pieces(b"".join(map(two.seal, frames)), cuts)) == (frames, None)


@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_a_handshake_may_be_cut_anywhere(cuts: list[int]) -> None:
    one, two = channel("one", initiator=True), channel("two", initiator=False)
    for piece in pieces(one.opening(), cuts):
        two.receive(piece)
    for piece in pieces(two.take(), cuts):
        one.receive(piece)
    for piece in pieces(one.take(), cuts):
        two.receive(piece)
    for piece in pieces(two.take() + two.seal(b"at once"), cuts):
        if plaintexts := one.receive(piece):
            assert plaintexts == [b"at once"]
    assert one.ready and two.ready


@settings(max_examples=150)
@given(st.lists(st.integers(0, 10_000), max_size=8), st.data())
def test_a_flipped_bit_ends_the_stream_after_what_came_before(cuts: list[int], data: st.DataObject) -> None:
    """Nothing after it is delivered, everything before it is, and the cuts between chunks make no difference."""
    one, two = ready()
    frames = [b"first", b"second", b"third"]
    sealed = [one.seal(frame) for frame in frames]
    stream = bytearray(b"".join(sealed))
    bit = data.draw(st.integers(0, 8 * len(stream) - 1))
    stream[bit // 8] ^= 1 << bit % 8
    place, whole = bit // 8, 0
    while place >= len(sealed[whole]):
        place -= len(sealed[whole])
        whole += 1
    plaintexts, reason = outcome(two, pieces(bytes(stream), cuts))
    assert (plaintexts, reason) == (frames[:whole], "unauthentic")


def test_a_length_that_was_changed_ends_the_stream_before_a_byte_is_awaited() -> None:
    """Sweep of noisy streams: a length with one bit more kept the receiver silent, and every later frame was swallowed, until
    megabytes had come."""
    for bit in range(8 * HEADER_BYTES):
        one, two = ready()
        header = bytearray(one.seal(b"word")[:HEADER_BYTES])
        header[bit // 8] ^= 1 << bit % 8
        assert outcome(two, iter([bytes(header)])) == ([], "unauthentic")


def test_a_length_is_proven_for_its_own_frame_and_direction() -> None:
    one, two = ready()
    first = one.seal(b"1234")
    second = one.seal(b"5678")
    assert outcome(two, iter([second[:HEADER_BYTES]])) == ([], "unauthentic")
    _, two = ready()
    assert outcome(two, iter([first[:HEADER_BYTES]])) == ([], None)
    assert outcome(one, iter([first[:HEADER_BYTES]])) == ([], "unauthentic")


@given(st.integers(0, 200))
def test_a_truncated_stream_delivers_whole_frames_only(cut: int) -> None:
    one, two = ready()
    sealed = [one.seal(b"first"), one.seal(b"second")]
    stream = b"".join(sealed)[:cut]
    expected = [frame for frame, end in ((b"first", len(sealed[0])), (b"second", sum(map(len, sealed)))) if cut >= end]
    assert outcome(two, iter([stream])) == (expected, None)


def test_frames_that_are_dropped_repeated_or_exchanged_are_noticed() -> None:
    for order in ([1], [0, 0], [1, 0], [0, 2]):
        one, two = ready()
        sealed = [one.seal(bytes([index])) for index in range(3)]
        expected = [bytes([index]) for index in order if index == 0][:1] if order[0] == 0 else []
        assert outcome(two, (sealed[index] for index in order)) == (expected, "unauthentic")


def test_a_frame_of_one_direction_is_none_of_the_other() -> None:
    one, two = ready()
    assert outcome(one, iter([one.seal(b"reflected")])) == ([], "unauthentic")
    two.seal(b"")


def test_another_secret_is_an_unknown_key() -> None:
    one, two = channel("one", OTHER_SECRET, initiator=True), channel("two", initiator=False)
    assert outcome(two, iter([one.opening()])) == ([], "unknown_key")
    assert two.take() == b"", "nothing unauthenticated is answered"


def test_a_wrong_secret_under_the_right_identifier_proves_nothing() -> None:
    one, two = channel("one", OTHER_SECRET, initiator=True), channel("two", SECRET, OTHER_SECRET, initiator=False)
    forged = bytearray(one.opening())
    forged[4:8] = ring(SECRET).primary
    two.receive(bytes(forged))
    one.receive(two.take()[:4] + ring(OTHER_SECRET).primary + session("two") + bytes(32))
    assert outcome(two, iter([one.take()])) == ([], "unauthentic")
    assert not two.ready


def test_the_initiator_chooses_the_secret() -> None:
    one, two = channel("one", OTHER_SECRET, initiator=True), channel("two", SECRET, OTHER_SECRET, initiator=False)
    handshake(one, two)
    assert one.ready and two.ready
    assert outcome(two, iter([one.seal(b"word")])) == ([b"word"], None)


def test_a_stream_to_itself_is_refused() -> None:
    one, two = channel("one", initiator=True), channel("one", initiator=False, seed=1)
    assert outcome(two, iter([one.opening()])) == ([], "itself")


def test_a_reflected_greeting_is_a_stream_to_itself() -> None:
    one = channel("one", initiator=True)
    assert outcome(one, iter([one.opening()])) == ([], "itself")


@pytest.mark.parametrize("data", [b"G", b"GET / HTTP/1.1\r\n", b"TMS1" + bytes(60), bytes(4), b"TMT"])
def test_another_protocol_is_noticed_at_its_first_byte_that_differs(data: bytes) -> None:
    assert outcome(channel("two", initiator=False), iter([data])) == ([], "malformed")


def test_a_recorded_stream_opens_nothing_again() -> None:
    one, two = channel("one", initiator=True), channel("two", initiator=False)
    forth, back = handshake(one, two)
    forth, back = forth + one.seal(b"order"), back + two.seal(b"answer")
    assert len(forth) > GREETING_BYTES + HEADER_BYTES + TAG_BYTES
    again = channel("two", initiator=False, seed="later")
    assert outcome(again, iter([forth])) == ([], "unauthentic")
    assert not again.ready
    dialler = channel("one", initiator=True, seed="later")
    dialler.opening()
    assert outcome(dialler, iter([back])) == ([], "unauthentic")
    assert not dialler.ready


def test_before_the_proof_only_a_proof_is_awaited() -> None:
    """A stranger cannot make this end wait for, or hold, a large frame; nor can one with the secret, by its first."""
    for length in (0, TAG_BYTES - 1, TAG_BYTES, TAG_BYTES + 1, 1 << 16, MAX_FRAME, MAX_FRAME + TAG_BYTES + 1, (1 << 32) - 1):
        one, two = channel("one", initiator=True), channel("two", initiator=False)
        two.receive(one.opening())
        assert outcome(two, iter([length.to_bytes(LENGTH_BYTES, "big") + bytes(4)])) == ([], "unauthentic")
    for length, reason in [(TAG_BYTES + 1, "unauthentic"), (0, "malformed"), (MAX_FRAME + TAG_BYTES + 1, "malformed")]:
        one, two = channel("one", initiator=True), channel("two", initiator=False)
        two.receive(one.opening())
        one.receive(two.take())
        assert outcome(two, iter([header(one, length, 0)])) == ([], reason)


def test_an_oversized_frame_is_refused_by_its_length_on_both_sides() -> None:
    one, two = ready()
    with pytest.raises(ValueError, match="above the limit"):
        one.seal(bytes(MAX_FRAME + 1))
    assert outcome(two, iter([one.seal(bytes(MAX_FRAME))])) == ([bytes(MAX_FRAME)], None)
    for length in (MAX_FRAME + TAG_BYTES + 1, (1 << 32) - 1, TAG_BYTES - 1, 0):
        far, end = ready()
        assert outcome(end, iter([header(far, length, 1)])) == ([], "too_large")
        assert len(end._buffer) == HEADER_BYTES


def test_salts_make_every_stream_new() -> None:
    """The same two processes, the same words: no byte of the ciphertext comes twice."""
    seen = set()
    for seed in range(20):
        one, two = channel("one", initiator=True, seed=seed), channel("two", initiator=False, seed=seed)
        handshake(one, two)
        seen |= {one.seal(b"the same words"), two.seal(b"the same words")}
    assert len(seen) == 40
