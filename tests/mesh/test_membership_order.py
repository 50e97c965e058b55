"""The order of news (M1, M2, M7) and the small machines of membership, each against a plain model."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.directives import Boot
from mesh.membership.health import Health
from mesh.membership.identity import MAX_STAMP, is_reachable, valid_name, valid_tags
from mesh.membership.lateness import FORGIVEN, Lateness
from mesh.membership.lost import MAX_LOST, Lost
from mesh.membership.member import Member, State, join, supersedes
from mesh.membership.messages import News, entry_of
from mesh.membership.profile import LAN, PROFILES, Profile
from mesh.membership.ring import Ring
from mesh.membership.rtt import RoundTrips
from mesh.membership.rumours import MAX_ACCUSERS, Rumours
from mesh.membership.suspicion import Suspicion
from mesh.membership.table import Table
from mesh.wire import decode, encode
from tests.mesh.membership_laws import rank_of

SECOND = 1_000_000_000

boots = st.builds(Boot, st.integers(1, 3), st.sampled_from([b"a" * 16, b"b" * 16]))
news_of_one = st.builds(
    Member,
    st.just("x"),
    boots,
    st.integers(0, 2),
    st.sampled_from(list(State)),
    st.sampled_from(["10.0.0.1:7000", "10.0.0.2:7000"]),
    st.sampled_from([(), (("k", "v"),)]),
)


def member(name: str, state: State = State.ALIVE, boot: int = 1, incarnation: int = 0) -> Member:
    return Member(name, Boot(boot, name.encode().ljust(16, b"\0")), incarnation, state, f"10.0.0.{len(name)}:7000")


# --- M1, M2, M7 ------------------------------------------------------------------------------------------------------


@given(news_of_one, news_of_one, news_of_one)
def test_m1_the_join_is_total_commutative_associative_and_idempotent(a: Member, b: Member, c: Member) -> None:
    assert join(a, b) in (a, b)
    assert join(a, b) == join(b, a)
    assert join(join(a, b), c) == join(a, join(b, c))
    assert join(a, a) == a
    assert (a == b) + supersedes(a, b) + supersedes(b, a) == 1


@given(news_of_one, news_of_one)
def test_m2_boot_leads_then_incarnation_then_the_worse_state(a: Member, b: Member) -> None:
    first, second = [(m.boot, m.incarnation, rank_of(m.state)) for m in (a, b)]
    if first != second:
        assert supersedes(a, b) == (first > second)


@given(st.lists(news_of_one, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_m1_observers_that_heard_the_same_alive_agree_whatever_the_order_and_repetition(
    told: list[Member], random: Random
) -> None:
    """What is introduced at all ends as the join of everything that was told, unless a stranger's death came first."""
    alive = [replace(news, state=State.ALIVE) for news in told]
    best = alive[0]
    for news in alive:
        best = join(best, news)
    for _ in range(4):
        order = alive + random.sample(alive, random.randint(0, len(alive)))
        random.shuffle(order)
        table = Table("me")
        for news in order:
            table.apply(news, 0)
        assert table.get("x") == best


@given(st.lists(news_of_one, max_size=10))
def test_m1_an_entry_never_goes_down_and_m7_only_alive_introduces(told: list[Member]) -> None:
    table = Table("me")
    for news in told:
        before = table.get("x")
        change = table.apply(news, 0)
        after = table.get("x")
        if before is None:
            assert after in (None, news) and (after is None or after.state is State.ALIVE)
        else:
            assert after is not None and not supersedes(before, after)
            assert before.boot == after.boot or after.state is State.ALIVE
        assert (change is None) == (before == after)
        highest = table.highest_boot("x", but=bytes(16))
        assert highest is not None and highest >= news.boot


@given(
    st.lists(
        st.builds(
            member,
            st.sampled_from(["a", "bb", "ccc", "me"]),
            st.sampled_from(list(State)),
            st.integers(1, 3),
            st.integers(0, 2),
        )
    )
)
def test_the_tables_indices_equal_what_a_scan_finds(told: list[Member]) -> None:
    table = Table("me")
    for now, news in enumerate(told):
        table.apply(news, now)
        entries = table.all()
        assert [m.name for m in entries] == sorted(m.name for m in entries)
        assert table.names_alive() == tuple(m.name for m in entries if m.reachable)
        assert table.others() == tuple(m for m in entries if m.reachable and m.name != "me")
        assert table.standing == len(table.names_alive())
        for m in entries:
            assert table.by_session(m.boot.session) is m
            assert m in table.at(m.address)


# --- M6: suspicion ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [1, 2, 3, 4, 5, 10, 100, 5_000])
@pytest.mark.parametrize("profile", PROFILES.values())
def test_m6_distinct_accusers_shorten_and_nothing_else_does(members: int, profile: Profile) -> None:
    shortest, longest, expected = profile.suspicion(members)
    suspicion = Suspicion(Boot(1, bytes(16)), 0, 7, shortest, longest, expected)
    assert not suspicion.accuse("")
    windows = [suspicion.deadline() - 7]
    for accuser in ("a", "a", "b", "", "b", "c", "d", "e", "a"):
        suspicion.accuse(accuser)
        windows.append(suspicion.deadline() - 7)
    assert windows == sorted(windows, reverse=True)
    assert windows[0] == windows[1] == windows[2] == longest
    assert windows[-1] == shortest
    if expected:
        assert windows[3] < longest
        assert windows[3] == windows[4] == windows[5]


def test_m6_the_window_follows_lifeguards_formula() -> None:
    shortest, longest, expected = LAN.suspicion(30)
    assert shortest / SECOND == pytest.approx(5.965, abs=0.01)
    assert (longest, expected) == (6 * shortest, 3)
    suspicion = Suspicion(Boot(1, bytes(16)), 0, 0, 6 * SECOND, 36 * SECOND, 3)
    at: list[float] = []
    for accuser in "abcd":
        assert suspicion.accuse(accuser)
        at.append(suspicion.deadline() / SECOND)
    assert at == pytest.approx([36, 21, 12.226, 6], abs=0.001)
    assert not suspicion.accuse("e")


# --- M16: the ring ---------------------------------------------------------------------------------------------------


def ring_of(count: int, random: Random) -> tuple[Table, Ring]:
    table = Table("me")
    for i in range(count):
        table.apply(member(f"n{i}"), 0)
    table.apply(member("me"), 0)
    return table, Ring(table, random)


def test_m16_everyone_is_probed_once_a_turn_and_newcomers_within_two() -> None:
    for seed in range(50):
        random = Random(seed)
        table, ring = ring_of(9, random)
        for _ in range(random.randint(0, 20)):
            ring.next()
        table.apply(member("late"), 0)
        ring.add("late")
        probed = [m.name for m in (ring.next() for _ in range(2 * 10 - 1)) if m is not None]
        assert set(probed) == {m.name for m in table.others()}
        assert "me" not in probed
        for _ in range(30):
            turn = [m.name for m in (ring.next() for _ in range(10)) if m is not None]
            probed += turn
        for name in set(probed):
            places = [i for i, other in enumerate(probed) if other == name]
            assert max(b - a for a, b in pairwise(places)) <= 2 * 10 - 1


def test_m16_flapping_does_not_make_the_ring_longer() -> None:
    _, ring = ring_of(5, Random(3))
    ring.next()
    for _ in range(100):
        ring.add("n0")
    probed = [m.name for m in (ring.next() for _ in range(9)) if m is not None]
    assert set(probed) == {"n0", "n1", "n2", "n3", "n4"}


def test_the_dead_are_passed_over_and_the_lonely_ring_is_empty() -> None:
    table, ring = ring_of(2, Random(0))
    table.apply(member("n0", State.DEAD), 0)
    assert {m.name for m in (ring.next() for _ in range(4)) if m is not None} == {"n1"}
    table.apply(member("n1", State.LEFT), 0)
    assert ring.next() is None


# --- rumours ---------------------------------------------------------------------------------------------------------


def told(rumours: Rumours, room: int = 1_200, tellings: int = 3, receiver: str = "z") -> list[Member]:
    messages = [decode(data) for data in rumours.fill(room, tellings, receiver)]
    return [m for m in (message.subject.member() for message in messages if isinstance(message, News)) if m is not None]


def test_newer_news_replaces_older_and_older_is_not_taken_up() -> None:
    for order in permutations([member("a"), member("a", State.SUSPECT), member("a", State.ALIVE, 1, 1)]):
        rumours = Rumours()
        for news in order:
            rumours.tell(news)
        assert told(rumours) == [member("a", State.ALIVE, 1, 1)]


def test_a_rumour_is_told_its_number_of_times_and_the_freshest_goes_first() -> None:
    rumours = Rumours()
    rumours.tell(member("old"))
    assert told(rumours) == [member("old")]
    rumours.tell(member("new"))
    size = len(encode(News(entry_of(member("new")), None)))
    assert told(rumours, room=size + 10) == [member("new")]
    assert [m.name for _ in range(3) for m in told(rumours)] == ["old", "new", "old", "new"]
    assert len(rumours) == 0


def test_accusers_are_told_side_by_side_and_bounded() -> None:
    rumours = Rumours()
    for accuser in "abcdef":
        rumours.tell(member("x", State.SUSPECT), accuser)
    assert len(told(rumours)) == MAX_ACCUSERS
    assert told(rumours, receiver="x") == []
    rumours.tell(member("x", State.DEAD))
    assert told(rumours) == [member("x", State.DEAD)]


# --- the others ------------------------------------------------------------------------------------------------------


def test_each_pause_is_noticed_once_and_lateness_without_end_is_no_excuse() -> None:
    lateness = Lateness(500)
    assert lateness.observe(1_000, 1_500) == 0
    assert lateness.observe(2_000, 9_000) == 7_000
    assert lateness.observe(2_500, 9_000) == 0
    assert lateness.excuses
    for at in range(20_000, 20_000 + 10_000 * FORGIVEN, 10_000):
        assert lateness.excuses
        assert lateness.observe(at, at + 1_000) == 1_000
        lateness.on_time(at + 1_000)
    assert not lateness.excuses
    lateness.on_time(90_000)
    assert lateness.excuses


def test_health_is_bounded_both_ways() -> None:
    health = Health(8)
    health.improve()
    assert health.multiplier == 1
    health.worsen(100)
    assert health.multiplier == 9
    health.improve()
    assert health.multiplier == 8


def test_timeouts_follow_the_measured_round_trips_within_bounds() -> None:
    trips = RoundTrips()
    assert trips.timeout(b"a", 100, 5_000) == 5_000
    for _ in range(50):
        trips.sample(b"a", 400)
    assert 400 <= trips.timeout(b"a", 100, 5_000) < 500
    trips.sample(b"b", 1)
    assert trips.timeout(b"b", 100, 5_000) == 100
    trips.forget(b"a")
    assert trips.mean(b"a") is None


def test_lost_addresses_are_bounded_and_found_again() -> None:
    lost = Lost()
    for i in range(MAX_LOST + 10):
        lost.add(f"10.0.{i // 256}.{i % 256}:1")
    assert len(lost.addresses()) == MAX_LOST
    last = lost.addresses()[-1]
    lost.found(last)
    assert last not in lost.addresses()


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("10.0.0.1:7946", True),
        ("[::1]:7946", True),
        ("[fe80::1%2]:7946", True),
        ("0.0.0.0:7946", False),
        ("[::]:7946", False),
        ("224.0.0.1:7946", False),
        ("10.0.0.1:0", False),
        ("10.0.0.1:65536", False),
        ("10.0.0.1", False),
        ("::1:7946", False),
        ("[10.0.0.1]:7946", False),
        ("host:7946", False),
        ("", False),
    ],
)
def test_m17_which_addresses_others_can_reach(address: str, good: bool) -> None:
    assert is_reachable(address) is good


def test_m18_names_tags_and_boots_that_no_member_may_have() -> None:
    assert valid_name("a" * 64) and not valid_name("a" * 65) and not valid_name("") and not valid_name("a b")
    assert valid_tags((("a", "1"), ("b", "2")))
    assert not valid_tags((("b", "2"), ("a", "1")))
    assert not valid_tags((("a", "1"), ("a", "2")))
    assert not valid_tags((("a", "v" * 512),))
    good = entry_of(member("a"))
    assert good.member() == member("a")
    for bad in (
        replace(good, name="a b"),
        replace(good, address="0.0.0.0:1"),
        replace(good, tags=(("a", "v" * 256), ("b", "v" * 256))),
        replace(good, boot=replace(good.boot, stamp=MAX_STAMP)),
    ):
        assert bad.member() is None


def test_worked_numbers_of_the_profiles() -> None:
    assert LAN.transmissions(30) == 9
    assert LAN.transmissions(1) == 2
    assert LAN.exchange_after(30) == LAN.exchange_interval
    assert LAN.exchange_after(1_000) == 6 * LAN.exchange_interval
    assert LAN.redial_after(320) == 10 * LAN.redial_last
