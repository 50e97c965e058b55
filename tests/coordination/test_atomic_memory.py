"""How a voter without memory comes to vote on an atomic register again: each rule, and what breaks without it.

Three voters a, b, c; nothing tells of a restart but messages. What random histories hardly ever hit is staged here: a promise
or an acceptance of a process that is gone, still on its way to a quorum."""

from __future__ import annotations

import pytest

from coordination.agreed.atomics.calls import AskKeys, KeysAre, Recollect, Recollection
from coordination.agreed.owning.round import Round
from coordination.agreed.recalling.recollector import Recollector
from coordination.agreed.vocabulary.ballot import ZERO, Ballot
from coordination.agreed.vocabulary.boots import NO_BOOT, BootRecord
from coordination.agreed.vocabulary.messages import Accept, Accepted, Prepare, Promise, Reason, Rejected
from coordination.agreed.vocabulary.placement import Placement
from coordination.agreed.vocabulary.roster import RosterValue, found
from coordination.agreed.vocabulary.values import FREE, Value
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.atomic_memory import AtomicMemory, Blank
from coordination.agreed.voting.known_boots import KnownBoots
from coordination.agreed.voting.standing import Standing
from coordination.agreed.voting.voter_memory import VoterMemory
from crdt.clock import HybridClock, Instant
from mesh.directives import Boot, Directive, Directives, Emit, Message, Persist, Send, Source
from mesh.memory import Memory
from tests.coordination.agreed_world import PARAMETERS, Self_
from tests.coordination.atomic_faults import ForgetsToPromise, RestsOnTheDead, TeachesNothing

KEY = "atomic/x"
ROSTER = found(("a", "b", "c"), PARAMETERS)
GROUP = Placement(ROSTER).group(KEY)
BORN = Ballot(1, 1, "a", Boot(1, b"a" * 16))
NOW = Instant(1, 1, 1_700_000_000_000)
SOURCE = Source(b"", "", None, None, None)


class Known:
    roster: RosterValue | None = ROSTER

    def abstaining_until(self, now: Instant) -> int | None:
        return None


class Blind:
    def is_alive(self, name: str) -> bool:
        return True

    def boot(self, name: str) -> Boot | None:
        return None

    def names_alive(self) -> list[str]:
        return list(GROUP)


class Voter:
    """One process after the other of one name."""

    def __init__(self, name: str, changes: tuple[tuple[type, type], ...] = (), memory: VoterMemory | None = None) -> None:
        self.name = name
        self.changes = changes
        self.boots_used = 0
        self.start(memory, founding=True)

    def start(self, memory: VoterMemory | None = None, *, founding: bool = False) -> None:
        self.boots_used += 1
        self.boot = Boot(self.boots_used, self.name.encode() * 16)
        known = Known()
        me = Self_(self.name, self.boot)
        standing = Standing(me)
        standing.found(ROSTER, BORN, NOW, memory=founding)
        self.record = BootRecord(me, Blind())
        self.acceptor = Acceptor(me, known, HybridClock(500), self.record, memory, standing)
        self.recollector = Recollector(me, known, KnownBoots(self.record, memory), self.acceptor, memory, standing)
        for thing in (self.acceptor, self.acceptor.atomic, self.recollector):
            for old, new in self.changes:
                if type(thing) is old:
                    thing.__class__ = new
        self.acceptor.start(NOW)
        self.recollector.start(NOW)

    @property
    def register(self) -> tuple[Ballot, Ballot, bytes]:
        kept = self.acceptor.register(KEY)
        return (kept.promised, kept.accepted, kept.value.state) if kept is not None else (ZERO, ZERO, b"")

    def remembers(self) -> bool:
        return self.acceptor.atomic.remembers(KEY)


class Three:
    """Voters by name, and what is said between them, by hand."""

    def __init__(self, changes: tuple[tuple[type, type], ...] = ()) -> None:
        self.voters = {name: Voter(name, changes) for name in GROUP}

    def boots(self) -> tuple[Boot, ...]:
        return tuple([self.voters[name].boot for name in GROUP])

    def prepare(self, ballot: Ballot, name: str, boots: tuple[Boot, ...]) -> Promise | Rejected | None:
        return self.voters[name].acceptor.prepare(Prepare(KEY, ballot, boots), NOW, [])

    def accept(
        self, ballot: Ballot, name: str, state: bytes, boots: tuple[Boot, ...], *rests: str
    ) -> Accepted | Rejected | None:
        bits = sum([1 << GROUP.index(each) for each in rests])
        return self.voters[name].acceptor.accept(Accept(KEY, ballot, boots, bits, Value((), state), (), -1, ()), NOW, [])

    def read_back(self, name: str, *others: str) -> None:
        """Let a voter ask, and these answer."""
        voter = self.voters[name]
        asked = voter.recollector.on_event(Blank(KEY), NOW)
        for each in asked:
            assert isinstance(each, Send)
            if each.to in others:
                for answer in self.voters[str(each.to)].recollector.on_message(each.message, SOURCE, NOW):
                    assert isinstance(answer, Send)
                    voter.recollector.on_message(answer.message, SOURCE, NOW)


def ballot(counter: int, name: str = "a") -> Ballot:
    return Ballot(1, counter, name, Boot(1, name.encode() * 16))


def refused(answer: object) -> int:
    return answer.reason if isinstance(answer, Rejected) else Reason.OK


def test_without_memory_nothing_is_answered_until_it_is_read_back() -> None:
    three = Three()
    boots = three.boots()
    for name in ("a", "b"):
        assert isinstance(three.accept(ballot(3), name, b"v", boots), Accepted)
    three.voters["b"].start()
    boots = three.boots()
    out: list[Directive] = []
    answer = three.voters["b"].acceptor.prepare(Prepare(KEY, ballot(9, "c"), boots), NOW, out)
    assert refused(answer) == Reason.MEMORY and Emit(Blank(KEY)) in out
    assert refused(three.accept(ballot(9, "c"), "b", b"w", boots)) == Reason.MEMORY
    three.read_back("b", "a")
    assert not three.voters["b"].remembers(), "one of two others is not enough"
    three.read_back("b", "c")
    three.voters["b"].recollector._readings.clear()
    three.read_back("b", "a", "c")
    assert three.voters["b"].remembers()
    assert three.voters["b"].register == (ballot(4), ballot(3), b"v")
    assert isinstance(three.prepare(ballot(9, "c"), "b", boots), Promise)


def test_those_that_have_forgotten_themselves_do_not_count() -> None:
    three = Three()
    three.accept(ballot(3), "a", b"v", three.boots())
    three.accept(ballot(3), "b", b"v", three.boots())
    three.voters["a"].start()
    three.voters["b"].start()
    three.read_back("b", "a", "c")
    three.read_back("a", "b", "c")
    assert not three.voters["a"].remembers() and not three.voters["b"].remembers(), "c never knew of it: it is lost"


def test_an_answer_of_a_process_that_is_known_to_be_gone_does_not_count() -> None:
    three = Three()
    b = three.voters["b"]
    b.start()
    asked = [each for each in b.recollector.on_event(Blank(KEY), NOW) if isinstance(each, Send)]
    answers = {
        str(each.to): answer
        for each in asked
        for answer in three.voters[str(each.to)].recollector.on_message(each.message, SOURCE, NOW)
        if isinstance(answer, Send)
    }
    three.voters["a"].start()
    newer = three.voters["a"].recollector.on_message(asked[0].message, SOURCE, NOW)
    three.voters["c"].record.learn(("a",), (three.voters["a"].boot,))
    told = three.voters["c"].recollector.on_message(asked[0].message, SOURCE, NOW)
    b.recollector.on_message(answers["a"].message, SOURCE, NOW)
    b.recollector.on_message(message_of(told), SOURCE, NOW)
    assert not b.remembers(), "c says that a has been replaced"
    b.recollector.on_message(message_of(newer), SOURCE, NOW)
    assert not b.remembers(), "and the new a has no memory"


def test_an_answer_to_an_earlier_process_is_nothing_to_the_next() -> None:
    """It waited for a disk. (Of what its giver accepts in between, beside the earlier process, it says nothing.)"""
    three = Three()
    b = three.voters["b"]
    b.start()
    late = [
        message_of(three.voters[str(each.to)].recollector.on_message(each.message, SOURCE, NOW))
        for each in b.recollector.on_event(Blank(KEY), NOW)
        if isinstance(each, Send)
    ]
    for answer in late:
        b.recollector.on_message(answer, SOURCE, NOW)
    assert b.remembers()
    boots = three.boots()
    assert isinstance(three.accept(ballot(3), "a", b"v", boots), Accepted)
    assert isinstance(three.accept(ballot(3), "b", b"v", boots), Accepted)
    b.start()
    b.recollector.on_event(Blank(KEY), NOW)
    for answer in late:
        b.recollector.on_message(answer, SOURCE, NOW)
    assert not b.remembers()
    b.recollector._readings.clear()
    three.read_back("b", "a", "c")
    assert b.register[2] == b"v"


def message_of(directives: Directives) -> Message:
    (send,) = [each for each in directives if isinstance(each, Send)]
    return send.message


def promised_before_the_others(changes: tuple[tuple[type, type], ...] = ()) -> None:
    """`a` is promised by b and a, and b forgets. What b read back is what keeps it from helping a lower ballot along."""
    three = Three(changes)
    boots = three.boots()
    assert isinstance(three.prepare(ballot(8, "c"), "c", boots), Promise)
    assert isinstance(three.prepare(ballot(8, "c"), "b", boots), Promise)
    assert isinstance(three.prepare(ballot(9), "a", boots), Promise)
    assert isinstance(three.prepare(ballot(9), "b", boots), Promise)
    three.voters["b"].start()
    three.read_back("b", "a", "c")
    assert three.voters["b"].register[0] == ballot(9)
    assert refused(three.accept(ballot(8, "c"), "b", b"lost", boots, "c")) == Reason.BALLOT


def promised_after_it_was_read(changes: tuple[tuple[type, type], ...] = ()) -> None:
    """As before, but nobody else has seen that promise yet when b reads back; then a lower ballot is decided with b's help, and
    the higher one, which rests on the forgotten promise and knows nothing of that, must find no quorum."""
    three = Three(changes)
    old = three.boots()
    assert isinstance(three.prepare(ballot(8, "c"), "c", old), Promise)
    assert isinstance(three.prepare(ballot(9), "b", old), Promise), "of the process that is about to die"
    three.voters["b"].start()
    three.read_back("b", "a", "c")
    new = three.boots()
    for name in ("b", "c"):
        assert isinstance(three.accept(ballot(8, "c"), name, b"decided", new, "c"), Accepted)
    assert isinstance(three.prepare(ballot(9), "a", old), Promise)
    answers = [three.accept(ballot(9), name, b"over it", old, "a", "b") for name in ("a", "c")]
    assert [refused(answer) for answer in answers] == [Reason.BOOT, Reason.BOOT]


def test_what_was_promised_is_read_back() -> None:
    promised_before_the_others()
    with pytest.raises(AssertionError):
        promised_before_the_others(((Acceptor, ForgetsToPromise),))


def test_what_rests_on_the_promise_of_the_dead_finds_no_quorum() -> None:
    promised_after_it_was_read()
    for changes in (((AtomicMemory, RestsOnTheDead),), ((Recollector, TeachesNothing),)):
        with pytest.raises(AssertionError):
            promised_after_it_was_read(changes)


def test_an_acceptance_of_the_dead_does_not_count_beside_one_that_knows() -> None:
    three = Three()
    old = three.boots()
    message = Accept(KEY, ballot(9), old, 0, Value((), b"v"), (), -1, ())
    round_ = Round(message, GROUP, 0)
    first = three.voters["b"].acceptor.accept(message, NOW, [])
    assert isinstance(first, Accepted) and round_.add(first)
    three.voters["b"].start()
    three.read_back("b", "a", "c")
    assert three.voters["b"].register[1] == ZERO, "nobody else had accepted it"
    second = three.voters["a"].acceptor.accept(message, NOW, [])
    assert isinstance(second, Accepted) and round_.add(second)
    assert not round_.reached(), "counted, it would be decided by a alone"
    third = three.voters["c"].acceptor.accept(message, NOW, [])
    assert isinstance(third, Accepted) and round_.add(third) and round_.reached()


def test_who_knows_of_a_restart_hands_that_on_when_it_is_asked() -> None:
    three = Three()
    three.voters["b"].start()
    three.read_back("b", "a", "c")
    three.voters["a"].start()
    assert three.voters["a"].record.of("b") == NO_BOOT
    three.read_back("a", "b", "c")
    assert three.voters["a"].record.of("b") == three.voters["b"].boot


def test_a_voter_with_a_disk_keeps_what_it_learns_so_before_it_answers() -> None:
    memory = VoterMemory(Memory())
    a = Voter("a", memory=memory)
    newer = Boot(7, b"b" * 16)
    out = list(a.recollector.on_message(Recollect(KEY, "b", newer, (NO_BOOT,) * 3), SOURCE, NOW))
    kinds = [type(each) for each in out]
    assert Persist in kinds and kinds.index(Persist) < kinds.index(Send)
    records = {key: data for each in out if isinstance(each, Persist) for table, key, data in each.records if data}
    a.start(VoterMemory(Memory({"known": records})))
    assert a.record.of("b") == newer


def test_what_was_read_back_is_on_the_disk_before_it_is_voted_on() -> None:
    three = Three()
    three.accept(ballot(3), "a", b"v", three.boots())
    three.accept(ballot(3), "c", b"v", three.boots())
    b = three.voters["b"]
    b.start(VoterMemory(Memory()))
    out: list[Directive] = []
    for name in ("a", "c"):
        kept = three.voters[name].acceptor.register(KEY)
        assert kept is not None
        told = Recollection(KEY, name, three.voters[name].boot, three.boots(), True, kept.promised, kept.accepted, kept.value)
        b.recollector.on_event(Blank(KEY), NOW)
        out += b.recollector.on_message(told, SOURCE, NOW)
    assert b.remembers()
    records = {
        key: data
        for each in out
        if isinstance(each, Persist)
        for table, key, data in each.records
        if data and table == "register"
    }
    b.start(VoterMemory(Memory({"register": records})))
    assert b.remembers() and b.register == (ballot(4), ballot(3), b"v")


def test_a_voter_that_forgot_reads_everything_back_unasked() -> None:
    three = Three()
    keys = [f"atomic/{number}" for number in range(300)]
    for name in ("a", "c"):
        for key in keys:
            part = three.voters[name].acceptor
            part.accept(Accept(key, ballot(1), (NO_BOOT,) * 3, 0, Value((), b"v"), (), -1, ()), NOW, [])
    b = three.voters["b"]
    b.start()
    todo: list[Directive] = list(b.recollector.on_timer("sweep", NOW))
    pages = 0
    while todo:
        each = todo.pop(0)
        if isinstance(each, Send):
            pages += isinstance(each.message, AskKeys)
            todo += three.voters[str(each.to)].recollector.on_message(each.message, SOURCE, NOW)
    assert all(b.acceptor.atomic.remembers(key) for key in keys)
    assert pages == 6, "three pages of each of the two"


def test_a_list_that_another_process_began_is_begun_anew() -> None:
    three = Three()
    a = three.voters["a"]
    a.acceptor.accept(Accept(KEY, ballot(1), three.boots(), 0, FREE, (), -1, ()), NOW, [])
    (send,) = a.recollector.on_message(AskKeys("b", Boot(99, b""), 128), SOURCE, NOW)
    assert isinstance(send, Send) and send.message == KeysAre("a", a.boot, 0, (KEY,), 0)
