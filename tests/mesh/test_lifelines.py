"""Idle streams between neighbours: who keeps one to whom, when it is dialled and closed, and what its end says."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from crdt.clock import Instant
from mesh.directives import ChannelDown, ChannelUp, Directives, Message, Refused
from mesh.membership import Member, MemberChanged, Membership, State
from mesh.membership.lifelines import MAX_HELD, SUCCESSORS, Lifelines, place
from mesh.membership.messages import Lifeline, PingRequest
from mesh.membership.probe import EVIDENCE_SPACING, Prober, Verdict
from tests.mesh.membership_world import MS, SECOND, Process, World
from tests.mesh.test_membership_scenarios import known, sound, total


def lines(process: Process) -> dict[str, int]:
    """How many idle streams lead to each other member, whoever dialled them."""
    counts: dict[str, int] = {}
    for line in process.part._lifelines._lines.values():
        member = process.part.by_session(line.session)
        assert member is not None
        counts[member.name] = counts.get(member.name, 0) + 1
    return counts


def dialled(process: Process) -> list[str]:
    held = process.part._lifelines._lines.values()
    return sorted(member.name for line in held if line.dialled and (member := process.part.by_session(line.session)))


def expected(process: Process, names: list[str]) -> list[str]:
    """The next three in the order of the hashes, of these names."""
    ring = sorted(names, key=place)
    own = ring.index(process.name)
    return [ring[(own + step) % len(ring)] for step in range(1, min(SUCCESSORS + 1, len(ring)))]


def woven(world: World) -> bool:
    """Whether every living process has a stream to each of its successors."""
    living = world.living()
    names = [p.name for p in living]
    return all(name in lines(p) for p in living for name in expected(p, names))


def mesh(count: int, seed: int = 0, **options: object) -> tuple[World, list[Process]]:
    world = World(seed + 1_000 * count, **options)  # type: ignore[arg-type]
    made = world.mesh(count)
    world.run_until(lambda: woven(world), 20 * SECOND)
    return world, made


# --- which streams there are -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 10, 30])
def test_everyone_keeps_a_stream_to_three_successors_and_no_other(count: int) -> None:
    world, made = mesh(count)
    world.run(30 * SECOND)
    names = [p.name for p in made]
    for p in made:
        assert set(dialled(p)) <= set(expected(p, names))
        assert set(lines(p)) == {
            *expected(p, names), *(q.name for q in made if p.name in expected(q, names))
        }  # fmt: skip
    sound(world)


def test_the_ring_follows_who_comes_and_who_goes() -> None:
    world, made = mesh(8)
    for number in range(4):
        world.start(f"x{number}", ["10.0.0.1:7000"])
    world.run_until(lambda: world.converged() and woven(world), 20 * SECOND)
    world.kill(made[2])
    world.stop(made[5])
    world.run(30 * SECOND)
    whole = woven(world)
    assert whole
    names = [p.name for p in world.living()]
    spare = [p.name for p in world.living() if not set(dialled(p)) <= set(expected(p, names))]
    assert spare == [], "what is not needed any more is closed"
    sound(world)


def test_nothing_is_said_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle mesh of ten writes to no stream but for the exchanges of tables, which it had before."""
    world, made = mesh(10)
    world.run(30 * SECOND)
    written: list[Message] = []
    held = {(p.name, channel) for p in made for channel in p.part._lifelines._lines}
    whole = world._write

    def write(process: Process, channel: int, message: Message) -> None:
        if (process.name, channel) in held:
            written.append(message)
        whole(process, channel, message)

    monkeypatch.setattr(world, "_write", write)
    world.run(120 * SECOND)
    assert written == []
    assert {(p.name, channel) for p in made for channel in p.part._lifelines._lines} == held, "they last"


# --- what their ends say ---------------------------------------------------------------------------------------------


def killed(count: int, seed: int, how: str) -> None:
    world, made = mesh(count, seed)
    world.run(Random(seed).randrange(5 * SECOND))
    victim = made[seed % count]
    world.kill(victim, how)
    assert world.run_until(lambda: world.known_as(victim.name, State.DEAD), 2 * SECOND) < 600 * MS
    assert total(world, "deaths_by_suspicion") == 0
    sound(world)


@pytest.mark.parametrize("count", [3, 10, 30])
@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_kill_is_known_to_all_at_once(count: int, how: str) -> None:
    """Nobody need have written to it: without these streams it takes until the next probe meets a refusal."""
    for seed in range(5 if count < 30 else 1):
        killed(count, seed, how)


@pytest.mark.parametrize("count", [3, 10])
@pytest.mark.parametrize("lasts", [60, 250])
def test_a_process_that_takes_its_time_to_die_is_known_as_soon(count: int, lasts: int) -> None:
    """Its streams have ended, and its port is still open for a moment: the first who ask are not refused."""
    for seed in range(4):
        world, made = mesh(count, seed)
        victim = made[seed % count]
        world.pause(victim, 60 * SECOND)
        for channel in list(victim.streams):
            world._far_end(victim, channel, "closed")
        world.run(lasts * MS)
        world.kill(victim)
        took = world.run_until(lambda: world.known_as(victim.name, State.DEAD), 4 * SECOND)  # noqa: B023
        assert took < 600 * MS
        assert total(world, "deaths_by_suspicion") == 0


def reset_all(world: World, reason: str = "reset") -> None:
    """Something between them ends every stream, at both ends and at once."""
    for p in world.living():
        for channel in list(p.streams):
            if channel in p.streams:
                stream = p.streams[channel]
                world._far_end(p, channel, reason)
                if stream.far_channel in stream.far.streams:
                    world._far_end(stream.far, stream.far_channel, reason)


@pytest.mark.parametrize("reason", ["reset", "closed"])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_all_streams_are_ended_by_a_box_between_and_nobody_is_accused(reason: str, count: int) -> None:
    world, made = mesh(count)
    for _ in range(5):
        reset_all(world, reason)
        world.run(3 * SECOND)
    assert total(world, "lifelines_broken") >= 5
    sound(world)
    assert not any(isinstance(e, MemberChanged) and e.member.state is State.SUSPECT for p in made for e in p.events)
    world.run_until(lambda: woven(world), 3 * world.profile.redial_last)


def test_streams_that_break_for_ever_are_dialled_ever_less_often() -> None:
    world, made = mesh(4)
    world.dials.clear()
    for _ in range(240):
        reset_all(world)
        world.run(SECOND // 2)
    most = max(world.dials[p.name, q.address] for p in made for q in made)
    redials, confirmations = 120 * SECOND // world.profile.redial_last, 120 * SECOND // EVIDENCE_SPACING + 1
    assert most <= confirmations + 3 * redials
    waits = [wait.lasts for p in made for wait in p.part._lifelines._waits.values()]
    assert waits and max(waits) == world.profile.redial_last
    sound(world)


def test_evidence_is_followed_up_once_a_second() -> None:
    """Whatever forges refusals and ends of streams."""
    world, made = mesh(10)
    asked: list[int] = []

    def tap(sender: Process, to: bytes, message: object) -> None:
        if sender is made[0] and isinstance(message, PingRequest) and message.target == made[1].session:
            asked.append(world.now)

    world.tap = tap
    for _ in range(200):
        world.event(made[0], Refused(made[1].address))
        world.event(made[0], ChannelDown(999, made[1].session, made[1].address, ("courier", made[1].session), "reset"))
        world.run(50 * MS)
    assert 8 * world.profile.indirect <= len(asked) <= (10 * SECOND // EVIDENCE_SPACING + 1) * world.profile.indirect
    sound(world)


@pytest.mark.parametrize("deaf", [False, True])
def test_the_refusals_of_one_among_ten_are_no_verdict(deaf: bool) -> None:
    """Its streams are broken and its dials and datagrams refused, by a firewall of its own; the others see a living member,
    and say so if it can hear them."""
    world, made = mesh(10)
    world.refusing = lambda sender, receiver: sender is made[0] and receiver is made[1]
    world.muted = lambda sender, receiver: deaf and receiver is made[0]
    for _ in range(10):
        reset_all(world)
        world.run(2 * SECOND)
    assert total(world, "deaths_by_evidence") == 0
    if not deaf:
        state = known(made[0], made[1].name).state
        assert state is State.ALIVE
        sound(world)


@pytest.mark.parametrize("muted", [False, True])
def test_who_leaves_says_goodbye_first(muted: bool) -> None:
    """Its neighbours know that it has left before its streams end, also if no datagram of it arrives."""
    world, made = mesh(10)
    leaver = made[3]
    world.muted = lambda sender, receiver: muted and leaver in (sender, receiver)
    before = total(world, "evidence")
    world.stop(leaver)
    world.run(5 * SECOND)
    heard = world.known_as(leaver.name, State.LEFT)
    assert heard
    assert total(world, "evidence") == before, "an end that was announced was taken for evidence"
    sound(world)


def test_who_has_other_successors_says_goodbye_first() -> None:
    world, _ = mesh(4)
    for number in range(12):
        world.start(f"x{number}", ["10.0.0.1:7000"], after=number * SECOND)
    world.run(30 * SECOND)
    whole = world.converged() and woven(world)
    assert whole
    assert total(world, "evidence") == 0
    sound(world)


def test_who_stands_still_keeps_its_streams() -> None:
    world, made = mesh(6)
    before = lines(made[2])
    world.pause(made[2], 20 * SECOND)
    world.run(15 * SECOND)
    after = lines(made[2])
    assert after == before
    assert total(world, "deaths_by_evidence") == 0
    world.run(60 * SECOND)
    whole = world.converged() and woven(world)
    assert whole
    assert [death for death in world.false_deaths if death[2] != made[2].name] == []


def test_another_process_behind_the_address_is_hung_up_on_and_met() -> None:
    """A member was killed and another one, that knows nobody, took its place."""
    world, made = mesh(5)
    for p in made:
        p.part._lifelines._lines.clear()  # or they would know of the death before they dial
    world.kill(made[4])
    usurper = world.start("other", [], address=made[4].address)
    world.run_until(lambda: all(known_or_none(p, "other") for p in made[:4]), 30 * SECOND)
    world.run(30 * SECOND)
    whole = woven(world) and usurper.part.is_alive("n00")
    assert whole


def known_or_none(process: Process, name: str) -> Member | None:
    return process.part.get(name)


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_m18_streams_that_are_announced_are_bounded_and_only_accepted_ones_count() -> None:
    world, made = mesh(3)
    node, other = made[0], made[1]
    before = len(node.part._lifelines)

    def announce(channel: int) -> Directives:
        source = world.source(node, other, channel)
        return node.part.on_message(Lifeline(), source, world.instant(node))

    announce(10_000)  # nobody dialled that one
    after = len(node.part._lifelines)
    assert after == before
    for number in range(2 * MAX_HELD):
        node.part.on_event(ChannelUp(20_000 + number, other.session, other.address, None), world.instant(node))
        announce(20_000 + number)
        announce(20_000 + number)
    held = sum(not line.dialled for line in node.part._lifelines._lines.values())
    assert held == MAX_HELD
    for number in range(2 * MAX_HELD):
        down = ChannelDown(20_000 + number, other.session, other.address, None, "bye")
        node.part.on_event(down, world.instant(node))
    after = len(node.part._lifelines)
    assert after <= before
    left = [channel for channel in node.part._lifelines._accepted if channel >= 20_000]
    assert left == []


def test_places_are_the_same_everywhere() -> None:
    """Also in every version of Python."""
    assert [place(name) >> 40 for name in ("a", "b", "n0")] == [8_637_080, 10_784_620, 1_335_936]


# --- each of these tests finds its fault -----------------------------------------------------------------------------


def an_end_is_a_verdict(patch: pytest.MonkeyPatch) -> None:
    whole = Membership._on_channel_down

    def on_channel_down(self: Membership, down: ChannelDown, now: Instant) -> None:
        whole(self, down, now)
        member = self._table.by_session(down.session or b"")
        if down.reason in ("reset", "closed") and down.tag is None and member is not None and member.reachable:
            self._judged(Verdict(member, True), now)

    patch.setattr(Membership, "_on_channel_down", on_channel_down)


def leaving_without_goodbye(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lifelines, "farewell", lambda self, word: None)


def goodbyes_are_not_heard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lifelines, "on_goodbye", lambda self, source, now: None)


def confirmed_without_measure(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("mesh.membership.probe.EVIDENCE_SPACING", 0)


def one_refusal_convicts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("mesh.membership.probe.REFUSALS", 1)


def redialled_at_once(patch: pytest.MonkeyPatch) -> None:
    whole = Lifelines._lost

    def lost(self: Lifelines, session: bytes, now: int) -> None:
        whole(self, session, now)
        self._waits.clear()

    patch.setattr(Lifelines, "_lost", lost)


def nothing_is_evidence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Prober, "evidence", lambda self, member, refused, now: None)


def asked_only_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Prober, "_ask_again", lambda self, probe: None)


def asked_twice(patch: pytest.MonkeyPatch) -> None:
    whole = Prober._ask_again
    patch.setattr(Prober, "_ask_again", lambda self, probe: None if probe.asked_again else whole(self, probe))


def nobody_dials(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lifelines, "tend", lambda self, now: None)


def never_closed(patch: pytest.MonkeyPatch) -> None:
    whole = Lifelines.tend

    def tend(self: Lifelines, now: int) -> None:
        kept = {channel: line for channel, line in self._lines.items() if line.dialled}
        self._lines = {channel: line for channel, line in self._lines.items() if not line.dialled}
        for channel, line in kept.items():
            self._lines[channel] = replace(line, dialled=False)
        whole(self, now)
        self._lines.update(kept)

    patch.setattr(Lifelines, "tend", tend)


@pytest.mark.parametrize(
    ("plant", "story"),
    [
        (an_end_is_a_verdict, lambda: test_all_streams_are_ended_by_a_box_between_and_nobody_is_accused("reset", 10)),
        (leaving_without_goodbye, lambda: test_who_leaves_says_goodbye_first(True)),
        (goodbyes_are_not_heard, test_who_has_other_successors_says_goodbye_first),
        (confirmed_without_measure, test_evidence_is_followed_up_once_a_second),
        (one_refusal_convicts, lambda: test_the_refusals_of_one_among_ten_are_no_verdict(True)),
        (redialled_at_once, test_streams_that_break_for_ever_are_dialled_ever_less_often),
        (nothing_is_evidence, lambda: test_a_kill_is_known_to_all_at_once(10, "closed")),
        (asked_only_once, lambda: test_a_process_that_takes_its_time_to_die_is_known_as_soon(10, 60)),
        (asked_twice, lambda: test_a_process_that_takes_its_time_to_die_is_known_as_soon(10, 250)),
        (nobody_dials, lambda: test_everyone_keeps_a_stream_to_three_successors_and_no_other(10)),
        (never_closed, test_the_ring_follows_who_comes_and_who_goes),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch, plant: object, story: object) -> None:
    plant(monkeypatch)  # type: ignore[operator]
    with pytest.raises(AssertionError):
        story()  # type: ignore[operator]
