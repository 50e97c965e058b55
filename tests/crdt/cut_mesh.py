"""How the members of the model exchange: frames in a bag, cuts before merges, joins, pulls and pushes."""

from __future__ import annotations

from random import Random
from typing import Any

from crdt.cell import KEY, Cell, Order, above, cell_of, stamps_of
from crdt.clock import Instant, Stamp
from crdt.cuts import Cut, Opening, Report, is_told
from crdt.dots import NOBODY, DotSet, Summary
from crdt.returning import tell_for_others
from crdt.store import Place, Store
from crdt.transfer import FIRST, Transfer, missing
from mesh.wire import load
from tests.crdt.cut_members import (
    EVERYTHING,
    NS_PER_MS,
    Dot,
    Frame,
    Held,
    Member,
    Pull,
    Register,
    Rules,
)
from tests.crdt.replicas import require


class Mesh:
    def __init__(self, names: int, random: Random, rules: Rules | None = None) -> None:
        self.random = random
        self.rules = rules or Rules()
        self.ms = 1_000_000
        self.members = {f"m{n}": Member(f"m{n}", random.choice((0, 150, -150, 40))) for n in range(names)}
        self.bag: list[Frame] = []
        self.register = Register()
        self.reports: dict[str, tuple[Opening, dict[bytes, Report]]] = {}
        self.sides: dict[str, int] = dict.fromkeys(self.members, 0)
        self.log: dict[Dot, Cell] = {}
        self.by_actor: dict[bytes, list[Cell]] = {}
        self.safe: dict[Place, Cell] = {}
        self.brought: set[tuple[Place, Any]] = set()
        """What has been put again, unseen."""
        self.seen: set[tuple[Place, Any]] = set()
        """Writes that everyone had who was counted by some cut."""
        self.after: set[tuple[Place, Any]] = set()
        """Writes without a fence, after a deletion with one was forgotten; and those of members that have not joined."""
        self.adds: list[tuple[str, int, str, int]] = []
        self.told: dict[str, tuple[Store, dict[str, Order]]] = {}
        """What readers at each member were told last of each key, while its store was this one."""
        self.cuts = 0
        self.takeovers = 0
        self.wiped = False
        """All that a cut counted have died."""
        self.trace: list[str] = []
        for member in list(self.members.values()):
            member.up, member.state = True, "member"

    # --- time and reach --------------------------------------------------------------------------------------------

    def note(self, *what: object) -> None:
        self.trace.append(" ".join(map(str, what)))

    def now(self, member: Member) -> Instant:
        return Instant(0, self.ms * NS_PER_MS, self.ms + member.skew_ms)

    def tick(self, member: Member) -> Stamp:
        return member.clock.tick(self.now(member))

    def read(self, member: Member) -> Stamp:
        return member.clock.read(self.now(member))

    def reach(self, one: str, other: str) -> bool:
        return self.sides[one] == self.sides[other]

    def reaches_register(self, member: Member) -> bool:
        side = [name for name in self.members if self.sides[name] == self.sides[member.name]]
        return 2 * len(side) > len(self.members)

    def up(self) -> list[Member]:
        return [member for member in self.members.values() if member.up]

    # --- sending ---------------------------------------------------------------------------------------------------

    def send(self, member: Member, to: str, kind: str, content: Any) -> None:
        self.bag.append(Frame(to, member.name, member.actor, member.cut, kind, content))

    def deliver(self, index: int, keep: bool = False) -> None:
        frame = self.bag[index] if keep else self.bag.pop(index)
        member = self.members[frame.to]
        if not member.up or not self.reach(frame.sender, frame.to):
            return
        rules = self.rules
        ended = frame.actor in member.ends or any(each.actor == frame.actor for each in member.cut.retired)
        if ended and rules.refuses_the_ended:
            self.send(member, frame.sender, "news", frame.actor)
            return
        older = frame.cut.round < member.cut.round
        if older and not member.cut.counts(frame.actor) and frame.kind not in ("ask", "news"):
            self.send(member, frame.sender, "news", frame.actor)
            return
        if rules.carries_numbers and frame.cut.round > member.cut.round and not self.meet(member, frame.cut):
            return
        getattr(self, f"on_{frame.kind}")(member, frame)

    def meet(self, member: Member, cut: Cut) -> bool:
        """Apply a newer cut before anything else is merged; False if this life has ended with it."""
        if cut.round <= member.cut.round:
            return True
        if member.state == "waiting":
            return True  # its welcome will bring it
        if not self.rules.may_go_on(member, cut):
            self.reborn(member)
            return False
        member.cut = cut
        member.clock.raise_floor(cut.stamp)
        if member.state == "member":
            self.apply(member)
        return True

    def apply(self, member: Member) -> None:
        cut = member.cut
        before = {cell[:2]: cell for cell in member.store.cells()}
        again = self.rules.put_again(member.store, cut, self.read(member))
        for cell in member.store.cells():
            if cell.n == 0 and before.get(cell[:2]) != cell and not self.wiped:
                require((cell[:2], cell.order) not in self.seen, "what the mesh had seen is put again:", cell, member.name)
        if self.rules.tells_what_it_brings:
            member.brought += again
        self.rules.apply_cut(member.store, cut, self.read(member))
        retired = {each.actor for each in cut.retired}
        member.ends = {actor: end for actor, end in member.ends.items() if actor not in retired}
        member.ends.update({end.actor: end for end in cut.ended})
        for joiner in list(member.joiners):
            if cut.counts(joiner) or joiner in member.ends or joiner in retired:
                del member.joiners[joiner]
        if self.rules.tells_what_it_brings and self.rules.tells_for_others:
            member.brought += tell_for_others(member.store, cut)
        member.brought = [each for each in member.brought if not is_told(cut, each)]
        self.try_bring_back(member)

    def reborn(self, member: Member) -> None:
        self.note(member.name, "is reborn at", member.cut.round)
        held, led = [*member.held], member.led
        if len(member.store):
            held.append(Held(member.store, member.cut.round))
        if member.state == "member":
            self.flush(member)
            led = held[-1] if len(member.store) else Held(member.store, member.cut.round)
        owned = member.owned
        member.begin(held)
        member.owned = [*owned, member.actor]
        if self.rules.takes_over:
            member.led = led

    def take_over(self, member: Member, cut: Cut) -> None:
        """Go on from the store of the life before, under the actor of this one."""
        self.note(member.name, "takes over at", cut.round)
        waiting, led = member.store, member.led
        assert led is not None
        member.held = [held for held in member.held if held is not led]
        led.store.flush()
        member.store = led.store
        member.store.actor = waiting.actor
        for cell in list(waiting.cells()):
            if cell.actor == waiting.actor:
                here = member.store.cell(cell.kind, cell.key)
                if here is None or above(cell, here):  # else the write, made in ignorance, would lower a fenced key
                    member.store.rewrite(cell, self.tick(member))
        member.state, member.pull, member.led = "member", None, None
        member.first, member.sponsor = cut.round + 1, b""
        member.cut = cut
        member.clock.raise_floor(cut.stamp)
        self.takeovers += 1
        self.apply(member)

    def alone(self, member: Member, patient: bool = False) -> bool:
        """Whether nobody is left whom the open round has to count, and this one had been counted; or, if it has waited for so
        long that there can be nobody else (`patient`), had not."""
        cut, opening = self.register.cut, self.register.opening
        named = {*cut.counted, *(opening.members if opening is not None else ())}
        ended = {end.actor for end in opening.ends} if opening is not None else set()
        led = member.led
        if led is None or (led.store.actor not in named and not patient):
            return False
        return not any(each.actor in named - ended and each.state == "member" for each in self.up())

    def try_bring_back(self, member: Member) -> None:
        if member.state != "member":
            return
        for held in list(member.held):
            before = {cell[:2]: cell for cell in member.store.cells()}
            brought = self.rules.bring_back(member, held, self.read(member))
            if brought is None:
                continue
            member.brought += brought
            for cell in member.store.cells():
                if cell.n == 0 and before.get(cell[:2]) != cell and cell.kind == KEY:
                    what = (cell[:2], cell.order)
                    lost = self.wiped or what not in self.seen  # also by everyone who had seen it
                    require(lost, "what the mesh had seen is brought back:", cell, member.name)
                    self.brought.add(what)
            member.held.remove(held)

    # --- joining ---------------------------------------------------------------------------------------------------

    def ask(self, member: Member, sponsor: str) -> None:
        if member.state == "waiting":
            self.send(member, sponsor, "ask", member.actor)

    def on_ask(self, member: Member, frame: Frame) -> None:
        if member.state != "member":
            return
        if frame.actor in member.ends or self.older_boot(frame.actor):
            return
        if self.rules.joiners_are_reported:
            member.joiners[frame.actor] = None
        first = member.cut.round + (2 if member.reported[0] > member.cut.round else 1)
        self.send(member, frame.sender, "welcome", (frame.actor, dict(member.ends), first))

    def on_welcome(self, member: Member, frame: Frame) -> None:
        actor, ends, first = frame.content
        if member.state != "waiting" or actor != member.actor:
            return
        member.cut, member.ends, member.first, member.sponsor = frame.cut, ends, first, frame.actor
        member.clock.raise_floor(frame.cut.stamp)
        member.state = "pulling"
        self.begin_pull(member, frame.sender, everything=True)

    def older_boot(self, actor: bytes) -> bool:
        return any(actor in member.owned and actor != member.actor for member in self.members.values())

    # --- pulls -----------------------------------------------------------------------------------------------------

    def begin_pull(self, member: Member, sender: str, everything: bool = False) -> None:
        if member.state == "waiting" or (member.state == "pulling" and not everything):
            return
        member.pulls += 1
        claims = Summary((), ()) if everything else self.claims(member)
        member.pull = Pull(member.pulls, Transfer(claims), sender, everything, member.cut.round)
        self.ask_more(member)

    def claims(self, member: Member) -> Summary:
        self.flush(member)
        return member.store.dots.summary()

    def ask_more(self, member: Member) -> None:
        pull = member.pull
        if pull is not None:
            self.send(
                member, pull.sender, "pull",
                (member.actor, pull.number, pull.transfer.known, pull.transfer.after, pull.everything, pull.transfer.snapshot),
            )  # fmt: skip

    def on_pull(self, member: Member, frame: Frame) -> None:
        actor, number, have, after, everything, snapshot = frame.content
        if member.state != "member":
            return
        if self.rules.flushes_before_snapshots:
            self.flush(member)
        if after != FIRST and not member.store.dots.covers_all(snapshot):
            return  # another sender goes on only if it has all of that snapshot
        limit = self.random.choice((1, 150, EVERYTHING))
        part = missing(member.store, DotSet(have), {}, after, limit, everything=everything)
        stated = member.store.dots.summary() if after == FIRST else None
        cells = [self.decoded(data) for data in part.cells]
        self.send(member, frame.sender, "chunk", (actor, number, after, stated, cells, part))

    @staticmethod
    def decoded(data: bytes) -> Cell:
        return cell_of(load(data, EVERYTHING, 4))

    def on_chunk(self, member: Member, frame: Frame) -> None:
        actor, number, after, stated, cells, part = frame.content
        pull = member.pull
        if actor != member.actor or pull is None or number != pull.number or after != pull.transfer.after:
            return
        if frame.cut.round < pull.cut:
            return
        pull.cut = frame.cut.round
        if after == FIRST:
            if stated is None:
                return
            pull.transfer.begins(stated)
        for cell in cells:
            stamp = self.admit(member, cell)
            if pull.everything:
                member.store.absorb(cell, stamp)
            else:
                member.store.apply(cell, stamp)
        pull.transfer.received(part.last, part.complete)
        if not part.done:
            self.ask_more(member)
            return
        member.pull = None
        self.rules.finish(member, pull)
        if member.state == "pulling":
            member.state = "member"
            self.apply(member)

    # --- pushes ----------------------------------------------------------------------------------------------------

    def flush(self, member: Member, push: float = 0.7) -> None:
        if member.state != "member":
            return
        for cell, previous in member.store.flush():
            require((cell.actor, cell.n) not in self.log, "one dot for two cells:", cell)
            self.log[cell.actor, cell.n] = cell
            for to in self.members:
                if to != member.name and self.random.random() < push:
                    self.send(member, to, "push", (cell, previous))

    def on_push(self, member: Member, frame: Frame) -> None:
        if member.state != "member" and self.rules.joiners_merge_nothing:
            return
        if member.state == "waiting":
            return
        cell, previous = frame.content
        if member.store.dots.covers(cell.actor, cell.n):
            return
        member.store.apply(cell, self.admit(member, cell))
        member.store.claim_previous(cell, previous)

    def admit(self, member: Member, cell: Cell) -> Stamp:
        now = self.now(member)
        for stamp in stamps_of(cell):
            require(member.clock.merge(stamp, now), "a clock refused a fellow within the drift")
        return member.clock.read(now)

    def forward(self, member: Member, to: str, key: str) -> None:
        self.flush(member)
        cell = member.store.cell(KEY, key)
        if cell is not None and cell.n and cell.actor != NOBODY:
            self.send(member, to, "push", (cell, 0))

    def on_news(self, member: Member, frame: Frame) -> None:
        """The sender takes nothing from that actor."""
        if frame.content == member.actor:
            ended = frame.content in [end.actor for end in frame.cut.ended] or any(
                each.actor == frame.content for each in frame.cut.retired
            )
            if ended:
                self.reborn(member)
