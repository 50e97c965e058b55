"""A probe without an answer by datagram asks on the stream that is open already: what it saves, for whom it must not vouch."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import pytest

from mesh.directives import Source
from mesh.membership import MemberChanged, State
from mesh.membership.lifelines import Lifelines
from mesh.membership.messages import Ack, News
from mesh.membership.probe import DIAL, Prober
from tests.mesh.membership_world import MS, SECOND, Process, World
from tests.mesh.test_lifelines import mesh
from tests.mesh.test_membership_scenarios import known, sound, total


def probed_by_dial(world: World) -> list[str]:
    """Who dials to probe, from now on."""
    found: list[str] = []
    whole = world._dial

    def dial(process: Process, address: str, tag: Hashable) -> None:
        if isinstance(tag, tuple) and tag[:2] == (DIAL, "probe"):
            found.append(process.name)
        whole(process, address, tag)

    world._dial = dial  # type: ignore[method-assign]
    return found


def suspected(made: list[Process]) -> list[str]:
    changes = [e.member for p in made for e in p.events if isinstance(e, MemberChanged)]
    return [member.name for member in changes if member.state is State.SUSPECT]


def test_where_datagrams_are_blocked_the_open_stream_is_asked_and_none_is_dialled() -> None:
    world, made = mesh(3)
    world.muted = lambda sender, receiver: made[2] in (sender, receiver)
    dials = probed_by_dial(world)
    written: list[str] = []
    whole = world._write

    def write(process: Process, channel: int, message: object) -> None:
        written.append(type(message).__name__)
        whole(process, channel, message)  # type: ignore[arg-type]

    world._write = write  # type: ignore[method-assign]
    world.run(100 * SECOND)
    saved = total(world, "probes_saved_by_line")
    assert saved > 100
    assert written.count("Ping") == written.count("Ack") == saved, "a frame each way"
    assert News.__name__ not in written
    assert dials == []
    assert suspected(made) == []
    for p in made[:2]:  # what came on a stream says nothing of the way of datagrams
        mean = p.part._prober.trips.mean(made[2].session)
        assert mean is None or mean <= 2 * world.delay[1]
    sound(world)


def test_where_the_open_stream_is_silent_too_a_new_one_is_dialled() -> None:
    """A box between them has forgotten the old one, and says nothing of it."""
    world, made = mesh(3)
    world.muted = lambda sender, receiver: made[2] in (sender, receiver)
    world.muffled = lambda sender, receiver: made[2] in (sender, receiver)
    dials = probed_by_dial(world)
    world.run(100 * SECOND)
    assert total(world, "probes_saved_by_line") == 0
    assert total(world, "probes_saved_by_stream") > 100
    assert len(dials) >= 100
    assert suspected(made) == []
    sound(world)


@pytest.mark.parametrize("count", [2, 5])
def test_a_stream_whose_far_end_lost_its_power_vouches_for_nobody(count: int) -> None:
    for seed in range(3):
        world, made = mesh(count, seed)
        victim = made[seed % count]
        world.cut_power(victim)
        shortest, longest, _ = world.profile.suspicion(count)
        bound = 2 * count * world.profile.probe_interval + longest
        took = world.run_until(lambda: world.known_as(victim.name, State.DEAD), bound)  # noqa: B023
        assert took >= shortest, "nobody was refused: it was suspected first"
        sound(world)


def test_an_answer_on_a_stream_counts_for_its_own_probe_only() -> None:
    """M15: one that comes late, or of another process, proves nothing now."""
    world, made = mesh(3)
    asker, other, third = made
    prober = asker.part._prober
    world.muted = world.muffled = lambda sender, receiver: True
    prober._begin(known(asker, other.name), world.now, evidence=False)
    asker.part._taken()
    (sequence,) = [number for number, probe in prober._probes.items() if probe.member.name == other.name]
    channel = asker.part._lifelines.line_to(third.session)
    assert channel is not None
    wrong = Source(third.session, third.address, third.name, third.part.identity.boot, channel)
    right = Source(other.session, other.address, other.name, other.part.identity.boot, channel)
    for answer, source in ((Ack(sequence, 0), wrong), (Ack(sequence - 1, 0), right)):
        trip = prober.on_ack(answer, source, world.now)
        assert trip is None
        assert sequence in prober._probes
    trip = prober.on_ack(Ack(sequence, 0), right, world.now + 400 * MS)
    assert trip == 0
    assert sequence not in prober._probes


# --- each of these tests finds its fault -----------------------------------------------------------------------------


def always_dialled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lifelines, "line_to", lambda self, session: None)


def an_open_stream_vouches(patch: pytest.MonkeyPatch) -> None:
    whole = Prober.on_timeout

    def on_timeout(self: Prober, sequence: int, now: int) -> None:
        whole(self, sequence, now)
        if self._probes[sequence].on_line:
            self._answered(self._probes[sequence])

    patch.setattr(Prober, "on_timeout", on_timeout)


def never_dialled_after_it(patch: pytest.MonkeyPatch) -> None:
    whole = Prober._dial
    patch.setattr(Prober, "_dial", lambda self, probe: None if self._line_to(probe.member.boot.session) else whole(self, probe))


def dialled_too_late(patch: pytest.MonkeyPatch) -> None:
    """When the verdict is due."""
    whole = Prober.on_timeout

    def on_timeout(self: Prober, sequence: int, now: int) -> None:
        whole(self, sequence, now)
        if self._probes[sequence].on_line:
            self._actions.arm(("probe", sequence), self._actions.due[("verdict", sequence)] - 1)

    patch.setattr(Prober, "on_timeout", on_timeout)


def measured_by_streams(patch: pytest.MonkeyPatch) -> None:
    whole = Prober.on_ack
    patch.setattr(Prober, "on_ack", lambda self, ack, source, now: whole(self, ack, source._replace(channel=None), now))


def told_beside_it(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lifelines, "holds", lambda self, channel: False)


def pinged_without_a_number(patch: pytest.MonkeyPatch) -> None:
    """An answer to any ping on a stream will do."""
    whole = Prober.on_ack

    def on_ack(self: Prober, ack: Ack, source: Source, now: int) -> int | None:
        for sequence, probe in list(self._probes.items()):
            if source.channel is not None and probe.member.boot.session == source.session:
                return whole(self, Ack(sequence, ack.wall), source, now)
        return whole(self, ack, source, now)

    patch.setattr(Prober, "on_ack", on_ack)


FAULTS: list[tuple[Callable[[pytest.MonkeyPatch], None], Callable[[], None]]] = [
    (always_dialled, test_where_datagrams_are_blocked_the_open_stream_is_asked_and_none_is_dialled),
    (measured_by_streams, test_where_datagrams_are_blocked_the_open_stream_is_asked_and_none_is_dialled),
    (told_beside_it, test_where_datagrams_are_blocked_the_open_stream_is_asked_and_none_is_dialled),
    (never_dialled_after_it, test_where_the_open_stream_is_silent_too_a_new_one_is_dialled),
    (dialled_too_late, test_where_the_open_stream_is_silent_too_a_new_one_is_dialled),
    (an_open_stream_vouches, lambda: test_a_stream_whose_far_end_lost_its_power_vouches_for_nobody(5)),
    (pinged_without_a_number, test_an_answer_on_a_stream_counts_for_its_own_probe_only),
]


@pytest.mark.parametrize(("plant", "story"), FAULTS)
def test_a_planted_fault_is_found(
    monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], story: Callable[[], None]
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        story()
