"""Who is told to hold a register, though those that ask restart, a voter has not heard of what it waits for, or is dead."""

from __future__ import annotations

from coordination.agreed.vocabulary import events
from coordination.agreed.vocabulary.events import Explanation
from coordination.agreed.vocabulary.messages import ExplainAnswer
from coordination.agreed.vocabulary.succession_messages import SurveyAnswer, SurveyAsk
from mesh.directives import Message
from tests.coordination.agreed_world import MS, S, World
from tests.coordination.one_lock import KEY, group, held, of
from tests.coordination.roster_stories import begin

SEMAPHORE = "semaphore/x"


def ask(world: World, name: str, query: int, key: str = KEY) -> None:
    node = world.nodes[name]
    assert node.parts is not None
    inspector = node.parts.inspector
    world.perform(node, inspector, inspector.explain(query, key, world.instant(node), early=True))


def told(world: World) -> list[Explanation]:
    """What was told so far, and is decided."""
    found = [event.explanation for _, event in of(world, events.Explained) if isinstance(event, events.Explained)]
    return [each for each in found if each.decided]


# --- the next process of who asked ----------------------------------------------------------------------------------


def told_after_a_restart() -> tuple[int, bool]:
    """n4 asks while the voters' disks are slow, and restarts. How many answers the next process gets for the first one's
    question; and what it is told when it asks itself, after another one was granted the lock."""
    world = World(3, voters=3, clients=3, latency=(MS, MS), durable=True)
    assert world.run_until(world.founded, 20 * S)
    world.run(20 * S)
    first = held(world, "n3")
    world.run(2 * S)
    disks = [disk for name in group(world) if (disk := world.nodes[name].disk) is not None]
    for disk in disks:
        disk.slower[1] = 150 * MS
    world.acquire("n5", "lock/other", ttl=3 * S)
    world.run(10 * MS)
    ask(world, "n4", 1)
    asked_by = world.nodes["n4"].boot
    world.run(20 * MS)
    late: list[tuple[str, Message]] = []

    def slow(number: int, a: str, b: str, message: Message) -> bool:
        if b == "n4" and isinstance(message, ExplainAnswer):
            late.append((a, message))
            return True
        return False

    world.lose = slow
    world.crash("n4")
    world.start("n4")
    world.run(S)
    assert world.nodes["n4"].boot != asked_by
    for disk in disks:
        disk.slower.clear()
    world.command(first, "release")
    assert world.run_until(lambda: first.state == "released", 2 * S)
    second = held(world, "n5")
    world.run(S)
    ask(world, "n4", 1)
    world.lose = None
    for name, message in late:
        world.transmit(world.nodes[name], "n4", message)
    assert world.run_until(lambda: bool(told(world)), S)
    assert world.valid(second)
    return len(late), told(world)[0].holder == "n5"


def test_an_answer_to_an_earlier_process_of_its_name_is_nothing_to_the_next() -> None:
    late, right = told_after_a_restart()
    assert late == 3, "no answer waited for a disk: it proves nothing"
    assert right


def test_a_survey_is_answered_to_the_process_that_asks() -> None:
    world = begin(3, ())
    late: list[tuple[str, Message]] = []

    def survey() -> None:
        node = world.nodes["n3"]
        assert node.parts is not None
        world.perform(node, node.parts.reset, node.parts.reset.survey(1, world.instant(node)))

    def slow(number: int, a: str, b: str, message: Message) -> bool:
        if isinstance(message, SurveyAnswer):
            late.append((a, message))
            return True
        return False

    world.lose = slow
    survey()
    world.run(20 * MS)
    world.crash("n3")
    world.start("n3")
    world.run(2 * S)
    world.lose = lambda number, a, b, message: isinstance(message, SurveyAsk)
    survey()
    for name, message in late:
        world.transmit(world.nodes[name], "n3", message)
    world.run(S)
    (found,) = [event for _, event in of(world, events.Surveyed) if isinstance(event, events.Surveyed)]
    assert len(late) == 3 and [each.answered for each in found.voters] == [False] * 3
