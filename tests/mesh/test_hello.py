"""Proof of address: a cookie shows that its asker receives there now; no answer is larger than what it answers (W5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.hello import ADDRESSES, COOKIE_BYTES, COOKIE_INTERVAL, COOKIE_LIFE, Greeter
from mesh.seal import DATAGRAM_OVERHEAD, Kind, Opened, Seal
from tests.mesh.sources import entropy, ring, session

HERE, THERE = "10.0.0.1:7946", "10.0.0.2:7946"


def greeter(name: str) -> tuple[Seal, Greeter]:
    seal = Seal(ring(), session(name), entropy(name))
    return seal, Greeter(seal, entropy(f"key of {name}")(32))


def ask(asker: Seal, answerer: tuple[Seal, Greeter], at: int, address: str = HERE) -> bytes:
    """The plaintext of the cookie that answers a hello."""
    seal, greets = answerer
    hello = Greeter(asker, bytes(32)).hello()
    answer = greets.answer(seal.open(hello), address, len(hello), at)
    assert answer is not None and len(answer) <= len(hello)
    opened = asker.open(answer)
    assert opened.kind == Kind.COOKIE and len(opened.plaintext) == COOKIE_BYTES
    return opened.plaintext


def proven(asker: Seal, answerer: tuple[Seal, Greeter], cookie: bytes, at: int, address: str = HERE) -> bytes | None:
    proof = Greeter(asker, bytes(32)).prove(cookie, session("B"), b"frame")
    return answerer[1].accept(answerer[0].open(proof), address, at)


@given(st.integers(-(10**15), 10**18), st.integers(0, COOKIE_LIFE))
def test_a_cookie_is_good_for_its_life_at_its_address(at: int, later: int) -> None:
    asker, answerer = greeter("A")[0], greeter("B")
    cookie = ask(asker, answerer, at)
    assert proven(asker, answerer, cookie, at + later) == b"frame"
    assert proven(asker, answerer, cookie, at + later, THERE) is None
    assert proven(asker, answerer, cookie, at + 2 * COOKIE_LIFE) is None


def test_a_cookie_is_good_for_one_session_and_one_answerer() -> None:
    asker, answerer = greeter("A")[0], greeter("B")
    cookie = ask(asker, answerer, 0)
    assert proven(greeter("C")[0], answerer, cookie, 1) is None
    restarted = answerer[0], Greeter(answerer[0], entropy("restarted")(32))
    assert proven(asker, restarted, cookie, 1) is None
    assert proven(asker, answerer, bytes(COOKIE_BYTES), 1) is None
    assert proven(asker, answerer, cookie[:-1], 1) is None


def test_one_cookie_an_interval_to_an_address() -> None:
    asker, (seal, greets) = greeter("A")[0], greeter("B")
    hello = Greeter(asker, bytes(32)).hello()
    opened, size = seal.open(hello), len(hello)
    assert greets.answer(opened, HERE, size, 0) is not None
    assert greets.answer(opened, HERE, size, COOKIE_INTERVAL - 1) is None
    assert greets.answer(opened, THERE, size, COOKIE_INTERVAL - 1) is not None
    assert greets.answer(opened, HERE, size, COOKIE_INTERVAL) is not None


@pytest.mark.parametrize("plaintext", range(COOKIE_BYTES + 4))
def test_what_is_smaller_than_a_cookie_gets_none(plaintext: int) -> None:
    asker, (seal, greets) = greeter("A")[0], greeter("B")
    data = asker.seal(bytes(plaintext), session("B"))
    answer = greets.answer(seal.open(data), HERE, len(data), 0)
    assert (answer is None) == (plaintext < COOKIE_BYTES)
    assert answer is None or len(answer) <= len(data) == plaintext + DATAGRAM_OVERHEAD


def test_remembered_addresses_are_bounded() -> None:
    _, greets = greeter("B")
    opened = Opened(Kind.HELLO, session("A"), b"", False, 1)
    for index in range(3 * ADDRESSES):
        greets.answer(opened, f"10.{index}.0.1:1", 1_000, index)
    assert len(greets._sent) == ADDRESSES


def test_the_greeter_keeps_nothing_of_a_hello() -> None:
    """Only when an address was last answered: no session, no key, no state that a flood could fill."""
    answerer = greeter("B")
    for index in range(50):
        ask(greeter(f"asker {index}")[0], answerer, index, f"10.0.{index}.1:1")
    assert all(not answerer[0].knows(session(f"asker {index}")) for index in range(50))
    assert set(answerer[1]._sent.values()) == set(range(50))
