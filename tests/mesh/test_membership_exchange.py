"""Exchanges of tables: what is sent if they are equal, and what is sent if they are not."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from mesh.directives import Boot, Message, Source, Write
from mesh.membership.member import STATES, Member
from mesh.membership.messages import Gossip, Join, Welcome, entry_of
from mesh.membership.messages import Table as TableMessage
from mesh.membership.table import Table
from tests.mesh.membership_world import SECOND, Process, World


class Counting(World):
    """Counts the tables that are sent."""

    tables = 0

    def _write(self, process: Process, channel: int, message: Message) -> None:
        self.tables += isinstance(message, TableMessage)
        super()._write(process, channel, message)

    def equal(self) -> int:
        return sum(process.part.stats().get("equal_tables", 0) for process in self.living())


def settled(seed: int, count: int) -> tuple[Counting, list[Process]]:
    world = Counting(seed)
    made = world.mesh(count)
    world.run(120 * SECOND)
    assert world.converged()
    return world, made


def test_members_that_know_the_same_exchange_no_tables() -> None:
    world, _ = settled(1, 12)
    equal, sent = world.equal(), world.tables
    assert sent > 12
    world.run(120 * SECOND)
    assert world.equal() - equal > 12
    assert world.tables == sent


def test_a_member_that_missed_news_is_told_by_an_exchange() -> None:
    """Also if nobody tells rumours any more: tables that differ are sent, both ways."""
    world, made = settled(2, 6)
    behind = made[3].part._table
    behind.remove("n04")
    sent = world.tables
    world.run(120 * SECOND)
    assert behind.get("n04") is not None
    assert world.tables >= sent + 2
    assert world.converged()


def test_one_that_gives_no_digest_is_sent_the_table() -> None:
    """An older version, or a newcomer."""
    world, made = settled(3, 2)
    joiner = made[0].part._joiner
    source = Source(made[1].session, made[1].address, made[1].name, made[1].part.identity.boot, 7)
    subject = entry_of(made[1].part._table.own())
    for digest, expected in ((b"", [TableMessage, Welcome]), (made[1].part._table.digest(), [Welcome])):
        joiner.on_join(Join(subject, True, digest), source, world.instant(made[0]))
        written = [action.message for action in made[0].part._taken() if isinstance(action, Write)]
        assert [type(message) for message in written] == expected
        assert isinstance(written[-1], Welcome) and written[-1].same == bool(digest)
        joiner.on_channel_down(7, "closed")


members = st.builds(
    Member,
    st.sampled_from(["a", "b", "c"]),
    st.builds(Boot, st.integers(1, 3), st.sampled_from([bytes(16), bytes(15) + b"1"])),
    st.integers(0, 2),
    st.sampled_from(STATES),
    st.sampled_from(["10.0.0.1:1", "10.0.0.2:1"]),
    st.sampled_from([(), (("zone", "x"),)]),
)


@given(st.lists(st.one_of(members, st.sampled_from(["a", "b", "c"]), st.none())), st.randoms(use_true_random=False))
def test_equal_digests_mean_equal_tables(steps: list[Member | str | None], random: Random) -> None:
    """In whatever order they came to be, and whenever the digest was asked for."""
    table = Table("a")
    for step in steps:
        if isinstance(step, Member):
            table.apply(step, 0)
        elif step is None:
            table.digest()
        elif table.get(step) is not None:
            table.remove(step)
    other = Table("b")
    entries = list(table.all())
    random.shuffle(entries)
    for member in entries:
        other.apply(replace(member, state=STATES[0]), 0)
        other.apply(member, 0)
    assert other.all() == table.all()
    assert other.digest() == table.digest()
    for member in entries:
        other.apply(replace(member, incarnation=member.incarnation + 1), 0)
        assert other.digest() != table.digest()
        break


def test_nobody_is_given_an_occasion_to_hear_of_itself_alone() -> None:
    """An empty datagram is a datagram: with one rumour among five members every fourth would be one."""
    world = World(77)
    made = world.mesh(5)
    world.run(30 * SECOND)
    subject = made[1]
    given: list[bytes] = []
    world.tap = lambda sender, session, message: given.append(session) if isinstance(message, Gossip) else None
    world.command(subject, subject.part.set_tags((("colour", "red"),), world.instant(subject)))
    world.run(10 * SECOND)
    seen = {p.part.get(subject.name) for p in made}
    assert {member.tags for member in seen if member is not None} == {(("colour", "red"),)}
    assert len(given) >= 8
    assert subject.session not in given
