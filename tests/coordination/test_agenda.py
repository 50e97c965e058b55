"""Many due times behind one timer: what comes up, when, and in which order, beside a plain list of them."""

from __future__ import annotations

from random import Random

from coordination.agreed.vocabulary.agenda import Agenda
from mesh.directives import Arm, Directive

DELAYS = (250, 250, 250, 5, 60, 1000, 17_000, 1, 0)


class Plain:
    """The same by looking through everything each time."""

    def __init__(self) -> None:
        self.due: dict[int, int] = {}

    def take(self, now: int) -> dict[int, int]:
        up = {key: when for key, when in self.due.items() if when <= now}
        for key in up:
            del self.due[key]
        return up


def test_everything_comes_up_at_its_time_and_in_order() -> None:
    for seed in range(60):
        random, agenda, plain, now = Random(seed), Agenda[int]("timer"), Plain(), 0
        armed: int | None = None
        for _ in range(400):
            out: list[Directive] = []
            match random.choice("aaaaasdt"):
                case "a":
                    key, when = random.randrange(30), now + random.choice(DELAYS)
                    agenda.at(key, when, out)
                    plain.due[key] = when
                case "s":
                    key, when = random.randrange(30), now + random.choice(DELAYS)
                    agenda.sooner(key, when, out)
                    plain.due[key] = min(when, plain.due.get(key, when))
                case "d":
                    key = random.randrange(30)
                    agenda.drop(key)
                    plain.due.pop(key, None)
                case _:
                    now += random.choice((0, 1, 7, 100, 300))
                    if armed is not None and armed <= now:
                        came, due = agenda.take(now), plain.take(now)
                        assert len(came) == len(due) and [due[key] for key in came] == sorted(due.values()), seed
                        armed = None
                        agenda.rearm(out)
            for directive in out:
                assert isinstance(directive, Arm) and directive.timer == "timer"
                armed = directive.at
            first = min(plain.due.values(), default=None)
            assert first is None or (armed is not None and armed <= first), f"seed {seed}: it sleeps beyond a due time"


def test_what_is_superseded_or_dropped_is_not_kept_for_ever() -> None:
    """Requests come and go: what stands in lines is no more than what was set within the longest delay."""
    agenda = Agenda[int]("timer")
    agenda.at(-1, 10**9, [])  # far off: it keeps nothing else out of a line
    for now in range(5_000):
        agenda.at(now, now + 250, [])
        agenda.drop(now)
        if now % 50 == 0:
            assert agenda.take(now) == []
            agenda.rearm([])
    assert not agenda._heap and sum(map(len, agenda._lines)) <= 302
