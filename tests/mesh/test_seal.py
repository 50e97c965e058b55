"""Sealed datagrams: for one receiver alone, each taken once, whoever forgot whom in between (W5, W6)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mesh.seal
from mesh.replay import WIDTH
from mesh.seal import DATAGRAM_OVERHEAD, HEADER_BYTES, Kind, Refusal, Seal
from tests.mesh.sources import OTHER_SECRET, SECRET, entropy, ring, session


def seal_of(name: str, *secrets: str) -> Seal:
    return Seal(ring(*secrets), session(name), entropy(name))


def pair(*secrets: str) -> tuple[Seal, Seal]:
    """Two that know each other."""
    one, two = seal_of("one", *secrets), seal_of("two", *secrets)
    one.know(session("two"))
    two.know(session("one"))
    return one, two


def reason(seal: Seal, data: bytes) -> str:
    with pytest.raises(Refusal) as refused:
        seal.open(data)
    return refused.value.reason


@given(st.binary(max_size=1_400), st.sampled_from([Kind.PAIR, Kind.PROOF, Kind.COOKIE]))
def test_what_is_sealed_for_one_is_opened_by_it(plaintext: bytes, kind: int) -> None:
    one, two = pair()
    data = one.seal(plaintext, session("two"), kind)
    assert len(data) == len(plaintext) + DATAGRAM_OVERHEAD
    assert two.open(data) == (kind, session("one"), plaintext, True, 1)


def test_nobody_else_opens_it() -> None:
    one, two = pair()
    third, restarted, stranger = seal_of("third"), seal_of("two, restarted"), seal_of("two", OTHER_SECRET)
    data = one.seal(b"for two", session("two"))
    for other in (third, restarted):
        assert reason(other, data) == "unauthentic"
        other.know(session("one"))
        assert reason(other, data) == "unauthentic"
    assert reason(stranger, data) == "unknown_key"
    assert reason(one, data) == "own"
    assert two.open(data).plaintext == b"for two"


def test_each_direction_has_its_own_key() -> None:
    """What one sealed for two is not taken for what two sealed for one, also with the header's session exchanged."""
    one, two = pair()
    data = bytearray(one.seal(b"there", session("two")))
    data[6:22] = session("two")
    assert reason(one, bytes(data)) == "unauthentic"
    assert two.open(one.seal(b"there", session("two"))).plaintext == b"there"


def test_a_wrong_secret_under_the_right_identifier_is_unauthentic() -> None:
    one, _ = pair(OTHER_SECRET)
    _, right = pair()
    data = bytearray(one.seal(b"x", session("two")))
    data[2:6] = ring(SECRET).primary
    assert reason(right, bytes(data)) == "unauthentic"


@settings(max_examples=200)
@given(st.data())
def test_every_bit_and_every_length_counts(data: st.DataObject) -> None:
    one, two = pair()
    whole = one.seal(b"plaintext", session("two"))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    assert reason(two, bytes(flipped)) in ("version", "unknown_key", "unauthentic")
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert reason(two, whole[:cut]) == ("malformed" if cut < DATAGRAM_OVERHEAD else "unauthentic")
    assert reason(two, whole + b"\0") == "unauthentic"
    assert two.open(whole).plaintext == b"plaintext", "what was refused must not use up the counter"


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    _, two = pair()
    assert reason(two, data) in ("malformed", "version", "unknown_key", "unauthentic")


def test_another_version_is_counted_as_such() -> None:
    one, two = pair()
    data = one.seal(b"x", session("two"))
    assert reason(two, b"\x02" + data[1:]) == "version"


def test_a_datagram_is_taken_once_in_any_order() -> None:
    one, two = pair()
    sent = [one.seal(bytes([n % 256]), session("two")) for n in range(WIDTH)]
    for data in (*sent[::2], *sent[1::2][::-1]):
        assert two.open(data).known
    for data in sent:
        assert reason(two, data) == "replayed"


def test_a_sender_that_is_not_known_is_opened_but_not_as_known() -> None:
    one, two = seal_of("one"), seal_of("two")
    opened = two.open(one.seal(b"x", session("two")))
    assert opened.known is False and opened.sender == session("one")


def test_forgetting_remembers_what_was_taken() -> None:
    one, two = pair()
    taken = [one.seal(b"old", session("two")) for _ in range(3)]
    late = one.seal(b"late", session("two"))
    for data in taken:
        two.open(data)
    two.forget(session("one"))
    assert not two.knows(session("one"))
    for data in taken:
        assert reason(two, data) == "replayed"
    two.know(session("one"))
    for data in taken:
        assert reason(two, data) == "replayed"
    assert two.open(late).plaintext == b"late"
    two.forget(session("one"))
    two.know(session("one"))
    assert reason(two, late) == "replayed"


def test_a_proof_covers_what_was_sealed_before_it() -> None:
    one, two = seal_of("one"), seal_of("two")
    frame = one.seal(b"frame", session("two"))
    proof = one.seal(b"the same frame", session("two"), Kind.PROOF)
    two.know(session("one"), two.open(proof).counter, fresh=True)
    assert reason(two, frame) == "replayed"
    assert reason(two, proof) == "replayed"
    assert two.open(one.seal(b"next", session("two"))).known


def test_beyond_the_bound_of_memory_only_a_fresh_proof_makes_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh.seal, "FORGOTTEN", 4)
    one, two = pair()
    recorded = one.seal(b"recorded", session("two"))
    two.open(recorded)
    two.forget(session("one"))
    for index in range(5):
        other = seal_of(f"other {index}")
        two.know(session(f"other {index}"))
        two.open(other.seal(b"", session("two")))
        two.forget(session(f"other {index}"))
    two.know(session("one"))
    assert two.open(recorded).known is False, "what was taken long ago must not be delivered again"
    cookie = one.seal(b"a cookie, recorded", session("two"), Kind.COOKIE)
    two.know(session("one"), two.open(cookie).counter)
    assert not two.knows(session("one"))
    proof = one.seal(b"proof", session("two"), Kind.PROOF)
    two.know(session("one"), two.open(proof).counter, fresh=True)
    assert reason(two, recorded) == "replayed"
    assert two.open(one.seal(b"new", session("two"))).known


def test_those_never_heard_use_up_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh.seal, "FORGOTTEN", 1)
    one, two = pair()
    two.open(one.seal(b"", session("two")))
    two.forget(session("one"))
    for index in range(10):
        two.know(session(f"silent {index}"))
        two.forget(session(f"silent {index}"))
    two.know(session("one"))
    assert two.knows(session("one"))


def test_the_own_session_is_never_a_peer() -> None:
    one = seal_of("one")
    one.know(session("one"))
    assert not one.knows(session("one"))


def test_a_hello_is_opened_by_whoever_holds_the_secret() -> None:
    one, two = pair()
    hello = one.seal_hello(b"padding")
    for seal in (two, seal_of("third"), seal_of("fourth", OTHER_SECRET, SECRET)):
        assert seal.open(hello).kind == Kind.HELLO
    assert reason(seal_of("fifth", OTHER_SECRET), hello) == "unknown_key"
    relabelled = bytearray(hello)
    relabelled[1] = Kind.PAIR
    assert reason(two, bytes(relabelled)) == "unauthentic"


def test_a_cloned_machine_repeats_its_counter_but_no_nonce() -> None:
    one = seal_of("one")
    clone = Seal(ring(), session("one"), entropy("another machine"))
    nonces = {seal.seal(b"x", session("two"))[:HEADER_BYTES] for seal in (one, clone) for _ in range(500)}
    assert len(nonces) == 1_000
    counters = {nonce[22:30] for nonce in nonces}
    assert len(counters) == 500
