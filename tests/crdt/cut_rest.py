"""What must hold in the model at every moment, and once everything has been exchanged."""

from __future__ import annotations

from crdt.cell import COUNTER, KEY, Cell, above, drop, expiry_of, is_dropped, put_of
from crdt.change import ChangeKind
from crdt.counter import slot_actor
from crdt.returning import unknown
from crdt.store import Store
from tests.crdt.cut_members import (
    COUNTERS,
    Member,
)
from tests.crdt.cut_rounds import Rounds
from tests.crdt.replicas import Broken, require


class Rest(Rounds):
    def restart(self, member: Member, memory: bool) -> None:
        """See `World`."""
        raise NotImplementedError

    # --- checks ----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """C18: no false alarm."""
        known: dict[tuple[int, bytes], tuple[str, list[Cell]]] = {}
        for member in self.up():
            if member.state != "member" or member.store.pending:
                continue
            cells = content(member.store)
            name, others = known.setdefault((member.cut.round, member.store.dots.digest()), (member.name, cells))
            require(cells == others, "C18:", name, "and", member.name, "claim the same and differ in", differing(cells, others))

        for member in self.up():
            self.check_told(member)

    def check_told(self, member: Member) -> None:
        """C13: of a key nothing is told after what is later, unless it says so."""
        store, told = self.told.setdefault(member.name, (member.store, {}))
        if store is not member.store:
            store, told = self.told[member.name] = member.store, {}
        for change in store.take_changes()[0]:
            if change.kind is ChangeKind.FENCED:
                continue
            order = put_of(change.new)
            last = told.get(change.key, order)
            rises = order >= last or order[1] > last[1]  # type: ignore[operator]
            require(rises or change.fell, "C13:", member.name, "told", change, "after", last)
            told[change.key] = order

    # --- the end ---------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        for member in self.up():
            self.flush(member)
            for cell in member.store.cells():
                self.keep(cell)
            for held in member.held:
                for cell in held.store.cells():
                    if cell.actor in member.owned:
                        self.keep(cell)
        certain = {(member.name, member.boot) for member in self.up()}
        self.sides = dict.fromkeys(self.members, 0)
        for member in self.members.values():
            if not member.up:
                self.restart(member, memory=False)
        for rounds in range(40):
            self.ms += 700
            self.drain()
            joined = [member for member in self.up() if member.state == "member"]
            if not joined:
                for member in self.up():
                    self.lead(member, harsh=True)
                joined = [member for member in self.up() if member.state == "member"]
                for member in [] if joined or not self.rules.takes_over else self.up():
                    self.lead(member, harsh=True, patient=True)  # it has waited for 45 s
                    if member.state == "member":
                        joined = [member]
                        break
                require(bool(joined), "not settled: everyone waits, and nobody is left to welcome anyone")
            leader = next((member for member in joined if self.register.cut.counts(member.actor)), joined[0])
            for member in self.up():
                if member.state == "pulling":
                    if rounds % 4 == 3:
                        self.reborn(member)
                    else:
                        self.ask_more(member)
                if member.state == "waiting":
                    self.ask(member, leader.name)
            self.drain()
            for _ in range(3):
                self.lead(leader, harsh=True)
                self.drain()
                self.decide(leader)
                self.drain()
            for member in self.up():
                if member is not leader and member.state == "member":
                    self.send(leader, member.name, "news", b"")  # with the number of the cut
            self.drain()
            for member in self.up():
                self.try_bring_back(member)
                self.flush(member)
            self.drain()
            for member in self.up():
                if member is not leader:
                    self.begin_pull(leader, member.name)
                    self.drain()
            for member in self.up():
                if member is not leader:
                    self.begin_pull(member, leader.name)
                    self.drain()
            self.check()
            if self.settled(leader) and rounds > 4:
                break
        else:
            raise Broken(f"not settled: {self.why(leader)}")
        self.judge(certain)

    def settled(self, leader: Member) -> bool:
        return not self.why(leader)

    def why(self, leader: Member) -> str:
        cut = self.register.cut
        for member in self.up():
            if member.state != "member":
                return f"{member.name} is {member.state}"
            if not cut.counts(member.actor) or member.cut.round != cut.round:
                return f"{member.name} is not counted, or behind ({member.cut.round} of {cut.round})"
            if member.held:
                return f"{member.name} has not brought back: {unknown(member.store, member.held[0].store, cut, 0)}"
        if cut.ended:
            return f"ended and not retired: {cut.ended} {cut.void}"
        counted = {*cut.counted}
        for member in self.up():
            left = [actor for actor, _ in member.store.dots.summary().vector if actor not in counted]
            if left or member.store.dots.gaps():
                return f"{member.name} has {left} in its vector, gaps {member.store.dots.gaps()}"
        return ""

    def drain(self) -> None:
        for _ in range(20_000):
            if not self.bag:
                return
            self.deliver(self.random.randrange(len(self.bag)) if self.random.random() < 0.5 else 0)
        raise Broken("frames without end")

    def judge(self, certain: set[tuple[str, int]]) -> None:
        if self.wiped:
            return
        first, *others = self.up()
        for other in others:
            require(first.store.dots.digest() == other.store.dots.digest(), "digests differ in the end")
            require(content(first.store) == content(other.store), "C15: stores differ in the end")
        store = first.store
        for place, safe in sorted(self.safe.items()):
            final = store.cell(*place)
            if final is None:
                ends = [cell for cell in self.log.values() if cell[:2] == place and self.is_end(cell, store)]
                require(
                    any(not above(safe, end) or end.order == safe.order for end in ends), "C7: lost without a trace:", safe
                )  # fmt: skip
            elif final.order < safe.order and (place, final.order) not in self.brought | self.after:
                raise Broken(f"C7: lost or undone: {safe} by {final}")
        for counter in COUNTERS:
            mine = [(who, boot, amount) for who, boot, name, amount in self.adds if name == counter]
            surely = [amount for who, boot, amount in mine if (who, boot) in certain]
            others_ = [amount for who, boot, amount in mine if (who, boot) not in certain]
            low = sum(surely) + sum(amount for amount in others_ if amount < 0)
            high = sum(surely) + sum(amount for amount in others_ if amount > 0)
            require(low <= store.counter(counter) <= high, "C4:", counter, store.counter(counter), "is not within", low, high)
        cut = self.register.cut
        kept = {*cut.counted, *[each.actor for each in cut.retired if each.lost]}
        left = [cell for cell in store.cells() if cell.kind == COUNTER and slot_actor(cell.key) not in kept]
        require(not left, "C4: slots of the dead are left:", left)

    @staticmethod
    def is_end(cell: Cell, store: Store) -> bool:
        return cell.body is None or bool(expiry_of(cell)) or cell.bound is not None or is_dropped(cell)


def content(store: Store) -> list[Cell]:
    return [drop(cell) if cell.kind == KEY and expiry_of(cell) else cell for cell in store.cells()]


def differing(one: list[Cell], other: list[Cell]) -> list[Cell]:
    return [cell for cell in one if cell not in other] + [cell for cell in other if cell not in one]
