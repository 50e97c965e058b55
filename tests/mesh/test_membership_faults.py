"""Every checker fails when the rule that it watches is broken: each test plants one fault and lets the checker find it.

First the laws of `membership_laws`, by the name of the invariant that is violated; then what the scenarios check themselves
(false deaths, convergence, who counts as heard). The same story without the fault passes in `test_membership_scenarios`,
`test_membership_names` or `test_membership_lies`, or is run here both ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest

from crdt.clock import Instant
from mesh.directives import Boot, Directives, Write
from mesh.membership import Member, Membership, State
from mesh.membership.hearing import Hearing
from mesh.membership.join import Joiner
from mesh.membership.member import RANK
from mesh.membership.messages import Ack, Confirmed, Nack, News, entry_of
from mesh.membership.messages import Table as TableMessage
from mesh.membership.probe import Prober
from mesh.membership.registry import Registry
from mesh.membership.ring import Ring
from mesh.membership.suspicion import Suspicion
from mesh.membership.table import Change, Table
from tests.mesh import test_membership_lies as lies
from tests.mesh import test_membership_names as names
from tests.mesh import test_membership_scenarios as scenarios
from tests.mesh.membership_world import MS, SECOND, WALL, Process, World

Plant = Callable[[pytest.MonkeyPatch], None]


def accused(observer: Process, name: str, state: State = State.SUSPECT) -> News:
    member = observer.part.get(name)
    assert member is not None
    return News(replace(entry_of(member), rank=RANK[state]), "n01")


def violated(world: World, invariant: str) -> bool:
    return any(line.startswith(invariant + " ") for line in world.laws.violations)


# --- the faults ------------------------------------------------------------------------------------------------------


def state_before_incarnation(patch: pytest.MonkeyPatch) -> None:
    """States are compared first, so that a refuted suspicion wins again."""
    patch.setattr(Member, "order", property(lambda m: (m.boot, RANK[m.state], m.incarnation, m.address, m.tags)))


def observers_raise_incarnations(patch: pytest.MonkeyPatch) -> None:
    """Who convicts a member goes above its refutation, to be on the safe side."""

    def convict(self: Registry, name: str, now: Instant) -> None:
        member = self._table.get(name)
        assert member is not None
        self.apply(replace(member, state=State.DEAD, incarnation=member.incarnation + 1), now)

    patch.setattr(Registry, "convict", convict)


def refuting_without_measure(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hearing, "_refute", lambda self, incarnation, now: self.renew(now))


def echoes_count(patch: pytest.MonkeyPatch) -> None:
    """Whoever passes an accusation on counts as another accuser."""
    number = count()
    whole = Suspicion.accuse
    patch.setattr(Suspicion, "accuse", lambda self, name: whole(self, f"{name}{next(number)}"))


def suspicions_start_anew(patch: pytest.MonkeyPatch) -> None:
    """Each further accusation gives the suspect its whole time again."""
    whole = Registry.suspect

    def suspect(self: Registry, member: Member, accuser: str, now: Instant) -> bool:
        running = self._suspicions.get(member.name)
        if running is not None:
            running.started = now.mono
            self._actions.arm(("suspicion", member.name), running.deadline())
        return whole(self, member, accuser, now)

    patch.setattr(Registry, "suspect", suspect)


def strangers_are_shown(patch: pytest.MonkeyPatch) -> None:
    whole = Table.apply

    def apply(self: Table, news: Member, now: int) -> Change | None:
        if self.get(news.name) is None:
            whole(self, replace(news, state=State.ALIVE), now)
            change = whole(self, news, now)
            return Change(news, None) if change is not None else None
        return whole(self, news, now)

    patch.setattr(Table, "apply", apply)


def suspicion_is_no_event(patch: pytest.MonkeyPatch) -> None:
    whole = Change.visible.fget  # type: ignore[attr-defined]
    patch.setattr(Change, "visible", property(lambda self: whole(self) and self.member.state is not State.SUSPECT))


def pauses_are_no_excuse(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Membership, "_notice_lateness", lambda self, due, now: None)


def timers_follow_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    whole = Membership.on_timer

    def on_timer(self: Membership, timer: object, now: Instant) -> Directives:
        return whole(self, timer, now._replace(mono=(now.wall - WALL) * MS))

    patch.setattr(Membership, "on_timer", on_timer)


def anyone_may_ack(patch: pytest.MonkeyPatch) -> None:
    def on_ack(self: Prober, ack: Ack, source: object, now: int) -> int | None:
        probe = self._probes.get(ack.sequence)
        if probe is None:
            return None
        self._answered(probe)
        return now - probe.sent

    patch.setattr(Prober, "on_ack", on_ack)


def any_sequence_will_do(patch: pytest.MonkeyPatch) -> None:
    whole = Prober.on_ack

    def on_ack(self: Prober, ack: Ack, source: object, now: int) -> int | None:
        for sequence, probe in list(self._probes.items()):
            if probe.member.boot.session == source.session:  # type: ignore[attr-defined]
                return whole(self, Ack(sequence, ack.wall), source, now)  # type: ignore[arg-type]
        return None

    patch.setattr(Prober, "on_ack", on_ack)


def anyone_may_confirm(patch: pytest.MonkeyPatch) -> None:
    def on_confirmed(self: Prober, message: Confirmed, source: object) -> None:
        if message.sequence in self._probes:
            self._answered(self._probes[message.sequence])

    patch.setattr(Prober, "on_confirmed", on_confirmed)


def anyone_may_nack(patch: pytest.MonkeyPatch) -> None:
    whole = Prober.on_nack

    def on_nack(self: Prober, nack: Nack, source: object) -> object:
        probe = self._probes.get(nack.sequence)
        if probe is not None and nack.refused:
            probe.helpers.setdefault(source.session, False)  # type: ignore[attr-defined]
        return whole(self, nack, source)  # type: ignore[arg-type]

    patch.setattr(Prober, "on_nack", on_nack)


def one_refusal_convicts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("mesh.membership.probe.REFUSALS", 1)


def pings_for_others_are_answered(patch: pytest.MonkeyPatch) -> None:
    whole = Membership._on_ping
    patch.setattr(
        Membership,
        "_on_ping",
        lambda self, ping, source, now: whole(self, replace(ping, target=self.identity.boot.session), source, now),
    )


def nobody_is_asked_otherwise(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Prober, "_ask_otherwise", lambda self, probe: None)


def the_dead_are_not_dialled(patch: pytest.MonkeyPatch) -> None:
    whole = Joiner.on_redial
    patch.setattr(Joiner, "on_redial", lambda self, now: None if self._host.admitted else whole(self, now))


def deaths_in_tables_are_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hearing, "_stands", lambda self, news: False)


def the_ring_is_a_die(patch: pytest.MonkeyPatch) -> None:
    def draw(self: Ring) -> Member | None:
        others = self._table.others()
        return self._random.choice(others) if others else None

    patch.setattr(Ring, "next", draw)


def boots_do_not_count(patch: pytest.MonkeyPatch) -> None:
    """A restarted process is taken for its predecessor (memberlist#311)."""
    patch.setattr(Member, "order", property(lambda m: (m.incarnation, RANK[m.state], m.boot, m.address, m.tags)))


def holders_outbid_each_other(patch: pytest.MonkeyPatch) -> None:
    """Who meets a higher boot of its own name goes above it, instead of stopping."""

    def outbid(self: Hearing, other: Member) -> None:
        self._identity.boot = Boot(other.boot.stamp + 1, self._identity.boot.session)
        self._registry.apply(replace(self._table.own(), boot=self._identity.boot), Instant(0, 0, 0))

    patch.setattr(Hearing, "_stop", outbid)


def holders_are_not_heard(patch: pytest.MonkeyPatch) -> None:
    """A name is given away although its holder answers."""
    whole = Joiner.on_checked
    patch.setattr(Joiner, "on_checked", lambda self, check, lives: whole(self, check, False))


def newcomers_are_told_of_at_once(patch: pytest.MonkeyPatch) -> None:
    whole = Registry.tell

    def tell(self: Registry, member: Member, accuser: str, now: Instant) -> None:
        admitted, self._identity.admitted = self._identity.admitted, True
        whole(self, member, accuser, now)
        self._identity.admitted = admitted

    patch.setattr(Registry, "tell", tell)
    patch.setattr(Joiner, "_write_table", write_whole_table)


def write_whole_table(self: Joiner, channel: int) -> None:
    self._actions.add(Write(channel, TableMessage(tuple(entry_of(member) for member in self._members.all()))))


def leavers_refute(patch: pytest.MonkeyPatch) -> None:
    """A planned refutation is carried out after the leave."""
    whole = Membership.leave

    def leave(self: Membership, now: Instant) -> Directives:
        pending = ("refute",) in self._actions.due
        directives = list(whole(self, now))
        if pending:
            self._hearing.renew(now)
            for member in self._table.others():
                self._actions.send(member.name, News(entry_of(self._table.own()), None))
            directives += self._taken()
        return directives

    patch.setattr(Membership, "leave", leave)


# --- the laws find them ----------------------------------------------------------------------------------------------


def refuted_suspicion(world: World) -> None:
    """A suspicion, its refutation, and the old accusation once more."""
    made = world.mesh(5)
    accusation = accused(made[0], made[4].name)
    for told in (made[4:], made[:4]):
        for p in told:
            world.hear(p, made[1], accusation)
        world.run(5 * SECOND)


def stormed(world: World) -> None:
    made = world.mesh(4)
    for after in range(0, 2_000, 100):
        world.later(after * MS, lambda: world.hear(made[0], made[1], accused(made[0], made[0].name)))
    world.run(3 * SECOND)


def echoed(world: World) -> None:
    """One member accuses a silent one, and all the others pass it on."""
    made = world.mesh(8)
    world.cut_power(made[7])
    for p in made[1:7]:
        world.later(SECOND, lambda p=p: world.hear(made[0], p, accused(made[0], made[7].name)))  # type: ignore[misc]
    world.run(60 * SECOND)


def accused_by_all(world: World) -> None:
    made = world.mesh(8)
    world.cut_power(made[7])
    world.run(60 * SECOND)


def dead_stranger(world: World) -> None:
    made = world.mesh(3)
    world.hear(
        made[0],
        made[1],
        replace(accused(made[0], "n02"), subject=replace(entry_of(made[0].part.members()[2]), name="x", rank=2)),
    )


@pytest.mark.parametrize(
    ("invariant", "plant", "story"),
    [
        ("M1", state_before_incarnation, refuted_suspicion),
        ("M2", observers_raise_incarnations, accused_by_all),
        ("M5", refuting_without_measure, stormed),
        ("M6", echoes_count, echoed),
        ("M6", suspicions_start_anew, accused_by_all),
        ("M7", strangers_are_shown, dead_stranger),
        ("M19", suspicion_is_no_event, accused_by_all),
    ],
)
def test_a_law_finds_its_planted_fault(
    monkeypatch: pytest.MonkeyPatch, invariant: str, plant: Plant, story: Callable[[World], None]
) -> None:
    healthy = World(7)
    story(healthy)
    assert healthy.laws.violations == []
    plant(monkeypatch)
    broken = World(7)
    story(broken)
    assert violated(broken, invariant), broken.laws.violations[:3]


# --- the scenarios find them -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plant", "story"),
    [
        (boots_do_not_count, lambda: names.test_m3_dead_at_100_is_in_flight_while_the_name_restarts(12, False)),
        (the_dead_are_not_dialled, lambda: scenarios.test_m8_a_partition_of_an_hour_heals_by_itself(False, 4)),
        (the_dead_are_not_dialled, scenarios.test_m8_a_partition_beyond_every_memory_heals),
        (deaths_in_tables_are_believed, lambda: scenarios.test_m8_a_partition_of_an_hour_heals_by_itself(False, 8)),
        (nobody_is_asked_otherwise, lambda: scenarios.test_m9_bad_links_are_no_death_while_a_third_can_reach(True, False)),
        (pauses_are_no_excuse, lambda: [scenarios.test_m10_a_pause_accuses_nobody_wrongly(30, seed) for seed in range(3)]),
        (timers_follow_the_wall_clock, scenarios.test_m12_a_jump_of_the_wall_clock_changes_no_verdict),
        (leavers_refute, names.test_m13_a_leave_outranks_suspicion_and_death_and_a_refutation_that_was_planned),
        (holders_outbid_each_other, lambda: names.test_m14_two_holders_in_a_partition_end_as_one(0)),
        (holders_are_not_heard, lambda: names.test_m14_a_name_that_answers_elsewhere_is_refused(0)),
        (newcomers_are_told_of_at_once, names.test_nobody_hears_of_a_newcomer_before_it_is_admitted),
        (anyone_may_ack, lies.test_m15_an_ack_of_another_process_does_not_keep_a_dead_one_alive),
        (any_sequence_will_do, lies.test_m15_an_ack_of_an_earlier_probe_does_not_count_for_a_later_one),
        (anyone_may_confirm, lies.test_m15_only_a_helper_that_was_asked_confirms_and_only_its_target),
        (anyone_may_nack, lies.test_m15_refusals_count_only_of_helpers_that_were_asked),
        (one_refusal_convicts, lambda: scenarios.test_refusals_that_one_member_alone_sees_are_no_verdict(8, True)),
        (pings_for_others_are_answered, lies.test_m15_a_ping_that_is_meant_for_another_process_is_not_answered),
        (the_ring_is_a_die, lambda: scenarios.test_m16_everyone_is_probed_within_2n_1_periods(12)),
    ],
)
def test_a_scenario_finds_its_planted_fault(monkeypatch: pytest.MonkeyPatch, plant: Plant, story: Callable[[], object]) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        story()
