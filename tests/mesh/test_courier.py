"""Large messages: one stream a process, a bounded wait for its handshake, nothing for another process than was meant."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from mesh.courier import IDLE, WAITING_BYTES, Courier
from tests.mesh.sources import session

A, B = session("a"), session("b")


def test_what_waited_leaves_in_order_when_the_stream_is_up() -> None:
    courier = Courier()
    route = courier.begin(A, 1)
    for item in (b"1", b"2", b"3"):
        courier.hold(route, item)
    assert courier.established(1, A) == [b"1", b"2", b"3"]
    assert courier.route(A) is route and route.up
    assert (route.waiting, route.waiting_bytes) == (deque(), 0)
    assert courier.dropped == 0


def test_another_process_than_was_meant_gets_nothing() -> None:
    courier = Courier()
    courier.hold(courier.begin(A, 1), b"for a")
    assert courier.established(1, B) is None
    assert courier.route(A) is None and courier.route(B) is None
    assert courier.dropped == 1 and len(courier) == 0
    assert courier.established(1, A) == [], "the stream is no courier's any more"


def test_a_stream_that_is_none_of_its_own_is_none_of_its_business() -> None:
    courier = Courier()
    assert courier.established(9, A) == []
    courier.ended(9)
    assert len(courier) == courier.dropped == 0


def test_what_waits_for_a_stream_that_ends_is_counted() -> None:
    courier = Courier()
    route = courier.begin(A, 1)
    courier.hold(route, b"1")
    courier.hold(route, b"2")
    courier.ended(1)
    courier.ended(1)
    assert courier.dropped == 2 and courier.route(A) is None


@given(st.lists(st.integers(1, WAITING_BYTES // 2), max_size=12))
def test_the_oldest_goes_when_too_much_waits(sizes: list[int]) -> None:
    courier = Courier()
    route = courier.begin(A, 1)
    items = [memoryview(_ZEROS)[:size] for size in sizes]
    for item in items:
        courier.hold(route, item)  # type: ignore[arg-type]
        assert route.waiting_bytes == sum(map(len, route.waiting)) <= WAITING_BYTES
    kept = courier.established(1, A)
    assert kept is not None and [len(item) for item in kept] == sizes[len(sizes) - len(kept) :]
    assert courier.dropped == len(sizes) - len(kept)
    if len(kept) < len(sizes):
        assert sum(sizes[len(sizes) - len(kept) - 1 :]) > WAITING_BYTES, "no more is dropped than must be"


_ZEROS = bytes(WAITING_BYTES)


def test_only_streams_that_are_up_and_unused_are_idle() -> None:
    courier = Courier()
    for number, target in ((1, A), (2, B)):
        courier.begin(target, number)
    assert courier.idle(10 * IDLE) == [], "a handshake has a limit of its own"
    courier.established(1, A)
    route = courier.route(A)
    assert route is not None
    route.used = 5
    assert courier.idle(5 + IDLE - 1) == []
    assert courier.idle(5 + IDLE) == [1]
