"""What others say wrongly, late or twice: poison (M4), refutation (M5), confirmation (M6), strangers (M7), false acks (M15)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mesh.directives import Boot, Directives, Send, Source
from mesh.membership import Member, State
from mesh.membership.hearing import INCARNATION_LEAP, OUTBID
from mesh.membership.identity import MAX_STAMP
from mesh.membership.member import RANK
from mesh.membership.messages import (
    Ack,
    Confirmed,
    Entry,
    Nack,
    News,
    Ping,
    PingRequest,
    WireBoot,
    entry_of,
)
from tests.mesh.membership_world import MS, SECOND, Process, World

SEED = "10.0.0.1:7000"
LARGEST = (1 << 64) - 1


def sound(world: World) -> None:
    assert world.laws.violations == []
    assert world.false_deaths == []


def known(observer: Process, name: str) -> Member:
    member = observer.part.get(name)
    assert member is not None
    return member


def said_of(observer: Process, name: str, state: State = State.ALIVE, above: int = 0) -> Entry:
    member = known(observer, name)
    return replace(entry_of(member), rank=RANK[state], incarnation=member.incarnation + above)


def source_of(process: Process, channel: int | None = None) -> Source:
    return Source(process.session, process.address, process.name, process.part.identity.boot, channel)


def sent(directives: Directives) -> list[Send]:
    return [directive for directive in directives if isinstance(directive, Send)]


# --- M4: poison ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("poison", ["incarnation", "boot", "future"])
def test_m4_poison_is_checked_with_the_subject(state: State, poison: str) -> None:
    world = World(22)
    made = world.mesh(5)
    victim, teller = made[3], made[4]
    entry = said_of(victim, victim.name, state)
    if poison == "incarnation":
        entry = replace(entry, incarnation=LARGEST)
    else:
        entry = replace(entry, boot=WireBoot(LARGEST if poison == "boot" else MAX_STAMP - 1, bytes(16)))
    for p in (*made[:3], victim):
        world.hear(p, teller, News(entry, None))
    world.run(60 * SECOND)
    assert victim.error is None
    assert world.converged()
    sound(world)
    world.kill(victim)
    again = world.start(victim.name, [SEED], address=victim.address)
    world.run_until(world.converged, 10 * SECOND)
    assert again.part.identity.boot.stamp < victim.part.identity.boot.stamp + (1 << 40)


def test_m4_a_newcomer_is_not_poisoned_by_what_it_hears_of_its_name() -> None:
    world = World(32)
    made = world.mesh(3)
    late = world.start("late", [SEED, "10.0.0.99:7000"])
    world.failing["10.0.0.99:7000"] = "silent"
    world.run(5 * MS)
    entry = Entry("late", WireBoot(MAX_STAMP - 1, bytes(16)), 0, 0, "10.0.0.77:7000", ())
    world.hear(late, made[1], News(entry, None))
    world.run_until(world.converged, 10 * SECOND)
    assert late.part.identity.boot.stamp < made[0].part.identity.boot.stamp + (1 << 40)


@pytest.mark.parametrize("state", [State.ALIVE, State.SUSPECT, State.DEAD])
@pytest.mark.parametrize("above", [1, INCARNATION_LEAP])
def test_m4_a_lie_that_others_may_believe_is_outbid(state: State, above: int) -> None:
    """An incarnation that the victim never had, but near enough to be believed: the victim must get back."""
    world = World(33)
    world.laws.watched = False
    made = world.mesh(5)
    victim, teller = made[3], made[4]
    for p in made[:3]:
        world.hear(p, teller, News(replace(said_of(victim, victim.name, state, above), address="10.9.9.9:7000"), None))
    assert known(made[0], victim.name).state is (State.ALIVE if state is State.DEAD else state)  # of a death it is asked first
    world.run(SECOND)
    world.run_until(
        lambda: world.converged() and all(known(p, victim.name).address == victim.address for p in made), 60 * SECOND
    )
    assert victim.part.identity.incarnation == above + 1
    world.run(30 * SECOND)
    assert world.converged()


def test_m4_beyond_all_belief_is_not_outbid() -> None:
    world = World(34)
    made = world.mesh(3)
    for above in (OUTBID + 1, LARGEST):
        world.hear(made[0], made[1], News(replace(said_of(made[0], "n00", State.DEAD), incarnation=above), None))
    assert made[0].part.identity.incarnation == 0
    assert made[0].part.stats()["news_impossible"] == 2


def test_m4_a_member_that_missed_thousands_of_bumps_believes_the_subject() -> None:
    world = World(23)
    made = world.mesh(3)
    subject = made[0]
    subject.part.identity.incarnation = 5_000
    world.command(subject, subject.part.set_tags((("k", "v"),), world.instant(subject)))
    world.run_until(lambda: all(known(p, subject.name).incarnation > 5_000 for p in made), 30 * SECOND)
    sound(world)


# --- M5: refutations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("accused", "seen"), [(State.SUSPECT, State.SUSPECT), (State.DEAD, State.ALIVE)])
def test_m5_an_accusation_is_refuted_once(accused: State, seen: State) -> None:
    world = World(24)
    made = world.mesh(5)
    victim = made[2]
    world.hear(made[0], made[1], News(said_of(victim, victim.name, accused), None))
    assert known(made[0], victim.name).state is seen
    world.run(SECOND)
    world.run_until(world.converged, 5 * SECOND)
    assert victim.part.identity.incarnation == 1
    world.run(30 * SECOND)
    assert world.converged()
    assert victim.part.identity.incarnation == 1
    assert world.laws.violations == []


def test_m5_a_storm_of_accusations_costs_one_incarnation_a_round() -> None:
    world = World(35)
    made = world.mesh(4)
    victim = made[0]

    def accuse() -> None:
        for p in made[1:]:
            world.hear(victim, p, News(said_of(victim, victim.name, State.SUSPECT), p.name))

    for after in range(0, 10_000, 20):
        world.later(after * MS, accuse)
    world.run(10 * SECOND)
    assert 8 <= victim.part.identity.incarnation <= 11
    assert world.laws.violations == []


def test_m5_an_old_accusation_is_answered_but_raises_nothing_and_an_answer_is_not_answered() -> None:
    world = World(36)
    made = world.mesh(3)
    victim, other = made[0], made[1]
    old = News(said_of(victim, victim.name, State.SUSPECT), other.name)
    world.hear(victim, other, old)
    assert victim.part.identity.incarnation == 1
    before = dict(victim.part.stats())
    answers = sent(victim.part.on_message(old, source_of(other), world.instant(victim)))
    assert [answer.message for answer in answers] == [News(entry_of(known(victim, victim.name)), None)]
    assert victim.part.stats()["incarnations"] == before["incarnations"]
    back = sent(other.part.on_message(answers[0].message, source_of(victim), world.instant(other)))
    assert back == []


def test_m5_who_tells_old_news_of_a_third_is_told_better_and_that_ends_it() -> None:
    world = World(37)
    made = world.mesh(4)
    one, other, subject = made[0], made[1], made[2]
    old = News(said_of(one, subject.name, State.SUSPECT), other.name)
    world.hear(subject, other, old)
    world.run_until(lambda: known(one, subject.name).incarnation == 1, 10 * SECOND)
    answers = sent(one.part.on_message(old, source_of(other), world.instant(one)))
    assert [(answer.to, answer.message) for answer in answers] == [
        (other.session, News(entry_of(known(one, subject.name)), None))
    ]
    assert sent(other.part.on_message(answers[0].message, source_of(one), world.instant(other))) == []


def test_m5_nobody_is_told_better_by_a_death() -> None:
    """When a partition heals, each half holds the other for dead."""
    world = World(57)
    made = world.mesh(4)
    old = News(said_of(made[0], made[2].name, State.SUSPECT), made[1].name)
    world.kill(made[2])
    world.run_until(lambda: world.known_as(made[2].name, State.DEAD), 10 * SECOND)
    assert sent(made[0].part.on_message(old, source_of(made[1]), world.instant(made[0]))) == []


# --- M6: confirmations -----------------------------------------------------------------------------------------------


def suspicion_until(process: Process, name: str) -> int:
    return process.timers["suspicion", name][0]


def test_m6_only_distinct_accusers_of_their_own_observation_shorten_a_suspicion() -> None:
    world = World(38)
    made = world.mesh(8)
    at, subject = made[0], made[7]
    world.cut_power(subject)
    accusation = said_of(at, subject.name, State.SUSPECT)
    shortest, longest, _ = world.profile.suspicion(8)
    world.hear(at, made[1], News(accusation, "n01"))
    begun = world.now
    assert suspicion_until(at, subject.name) == begun + longest
    for teller, accuser in ((made[1], "n01"), (made[2], "n01"), (made[2], None), (made[3], "n00")):
        world.hear(at, teller, News(accusation, accuser))
        assert suspicion_until(at, subject.name) == begun + longest, (teller.name, accuser)
    for accuser in ("n02", "n03", "n04"):
        before = suspicion_until(at, subject.name)
        world.hear(at, made[1], News(accusation, accuser))
        assert suspicion_until(at, subject.name) < before
    assert suspicion_until(at, subject.name) == begun + shortest


def test_m6_a_table_is_no_accuser() -> None:
    world = World(39)
    made = world.mesh(8)
    at, subject = made[0], made[7]
    world.cut_power(subject)
    for teller in made[1:5]:
        world.merge(at, teller, said_of(at, subject.name, State.SUSPECT))
        world.merge(at, teller, replace(said_of(at, subject.name), rank=RANK[State.DEAD]))
    assert known(at, subject.name).state is State.SUSPECT
    assert suspicion_until(at, subject.name) == world.now + world.profile.suspicion(8)[1]


# --- M7: strangers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.SUSPECT, State.DEAD, State.LEFT])
def test_m7_bad_news_of_a_stranger_is_not_shown_but_its_boot_is_kept(state: State) -> None:
    world = World(40)
    made = world.mesh(3)
    boot = WireBoot(made[0].part.identity.boot.stamp, b"s" * 16)
    stranger = Entry("stranger", boot, 0, RANK[state], "10.0.1.1:7000", ())
    world.hear(made[0], made[1], News(stranger, None))
    world.merge(made[0], made[1], stranger)
    assert made[0].part.get("stranger") is None
    late = world.start("stranger", [SEED], wall_offset=-100_000)
    world.run_until(world.converged, 10 * SECOND)
    assert late.part.identity.boot > Boot(boot.stamp, boot.session)
    sound(world)


# --- M15: false acks -------------------------------------------------------------------------------------------------


def answer_all_pings_for(world: World, victim: Process, answer: Callable[[Process, Ping], None]) -> None:
    """Whoever pings the victim is answered by somebody else, 3 ms later."""

    def tap(sender: Process, session: bytes, message: object) -> None:
        if isinstance(message, Ping) and session == victim.session:
            world.later(3 * MS, lambda: answer(sender, message))

    world.tap = tap


def test_m15_an_ack_of_another_process_does_not_keep_a_dead_one_alive() -> None:
    world = World(41)
    made = world.mesh(5)
    victim, liar = made[4], made[3]
    answer_all_pings_for(world, victim, lambda asker, ping: world.hear(asker, liar, Ack(ping.sequence, 0)))
    world.cut_power(victim)
    world.run_until(lambda: all(known(p, victim.name).state is State.DEAD for p in made[:3]), 60 * SECOND)
    assert sum(p.part.stats().get("acks_late", 0) for p in made[:3]) > 0


def test_m15_an_ack_of_an_earlier_probe_does_not_count_for_a_later_one() -> None:
    world = World(42)
    made = world.mesh(5)
    victim = made[4]
    answer_all_pings_for(world, victim, lambda asker, ping: world.hear(asker, victim, Ack(ping.sequence - 1, 0)))
    world.cut_power(victim)
    world.run_until(lambda: world.known_as(victim.name, State.DEAD), 60 * SECOND)


def test_m15_only_a_helper_that_was_asked_confirms_and_only_its_target() -> None:
    world = World(43)
    made = world.mesh(8)
    victim = made[7]
    asked: dict[tuple[str, int], list[bytes]] = {}

    def tap(sender: Process, session: bytes, message: object) -> None:
        if not isinstance(message, PingRequest) or message.target != victim.session:
            return
        asked.setdefault((sender.name, message.sequence), []).append(session)

        def lie() -> None:
            for p in made[:7]:
                if p.session not in asked[sender.name, message.sequence]:
                    world.hear(sender, p, Confirmed(message.sequence, victim.session))
                else:
                    world.hear(sender, p, Confirmed(message.sequence, p.session))

        world.later(1 * MS, lie)

    world.tap = tap
    world.cut_power(victim)
    world.run_until(lambda: world.known_as(victim.name, State.DEAD), 60 * SECOND)
    assert asked


def test_m15_refusals_count_only_of_helpers_that_were_asked() -> None:
    """Whoever else shouts that a living member is refused gives no evidence."""
    world = World(44)
    made = world.mesh(8)
    asked: dict[int, list[bytes]] = {}

    def tap(sender: Process, session: bytes, message: object) -> None:
        if sender is made[0] and isinstance(message, PingRequest):
            asked.setdefault(message.sequence, []).append(session)
        elif sender is made[0] and isinstance(message, Ping) and session == made[1].session:
            world.later(0, lambda: shout(message.sequence))

    def shout(sequence: int) -> None:
        for p in made[2:]:
            if p.session not in asked.get(sequence, []):
                world.hear(made[0], p, Nack(sequence, True))

    world.tap = tap
    world.refusing = lambda sender, receiver: sender is made[0] and receiver is made[1]
    world.muted = lambda sender, receiver: receiver is made[0]  # nor do those that were asked come through
    world.run(60 * SECOND)
    assert asked
    assert sum(p.part.stats().get("deaths_by_evidence", 0) for p in made) == 0


def test_m15_a_ping_that_is_meant_for_another_process_is_not_answered() -> None:
    world = World(45)
    made = world.mesh(3)
    for target in (made[2].session, bytes(16)):
        assert not sent(made[0].part.on_message(Ping(7, target), source_of(made[1]), world.instant(made[0])))
    assert made[0].part.stats()["pings_for_others"] == 2
    answers = sent(made[0].part.on_message(Ping(7, made[0].session), source_of(made[1]), world.instant(made[0])))
    assert [(answer.to, type(answer.message)) for answer in answers] == [(made[1].session, Ack)]
