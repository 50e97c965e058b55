"""How the model makes cuts: whoever leads, through one register that only a majority reaches."""

from __future__ import annotations

from crdt.cell import KEY, Cell
from crdt.cuts import Cut, End, Opening, Report
from crdt.returning import unknown
from tests.crdt.cut_members import (
    Frame,
    Member,
)
from tests.crdt.cut_mesh import Mesh


class Rounds(Mesh):
    # --- rounds ----------------------------------------------------------------------------------------------------

    def to_end(self, leader: Member, harsh: bool) -> dict[bytes, End]:
        """Whom the leader ends: older boots and lives that it knows of, those that its reporters name, and the long dead."""
        cut = self.register.cut
        ends: dict[bytes, End] = {end.actor: end for end in cut.ended}
        if self.register.opening is not None:
            ends = {end.actor: end for end in self.register.opening.ends}
        gone = {each.actor for each in cut.retired}
        first = self.register.opening.members if self.register.opening is not None else ()
        summary = leader.store.dots.summary()
        actors = {*cut.counted, *first, *[actor for actor, _ in (*summary.vector, *summary.extras)]}
        gathered = self.reports.get(leader.name)
        for report in gathered[1].values() if gathered is not None else ():
            actors.update(report.joiners)
        alive = {member.actor: member for member in self.up()}
        for actor in actors - gone - {*ends}:
            holder = alive.get(actor)
            reachable = holder is not None and self.reach(holder.name, leader.name)
            if holder is None and self.random.random() < 0.5:
                name, boot, _ = actor.decode().split(".")  # a newer life of the process may bring something back
                ends[actor] = End(actor, lost=boot == str(self.members[name].boot))
            elif not reachable and harsh:
                ends[actor] = End(actor, lost=True)
        if self.rules.strangers_are_named:
            for member in self.up():
                if self.reach(member.name, leader.name):
                    for held in member.held:
                        for actor in unknown(member.store, held.store, cut, held.since):
                            if actor not in gone and actor not in ends and member.state == "member":
                                ends[actor] = End(actor, lost=True)
        return ends

    def lead(self, leader: Member, harsh: bool, patient: bool = False) -> None:
        """Open the next round, or this one anew, and ask everyone for reports."""
        if leader.state == "waiting" and self.reaches_register(leader) and self.alone(leader, patient):
            self.wiped = self.wiped or patient  # what those alone had who were named is lost
            self.take_over(leader, self.register.cut)
        if leader.state != "member" or not self.reaches_register(leader):
            return
        register = self.register
        if register.cut.round > leader.cut.round:
            alive = {member.actor for member in self.up()}
            if not alive & {*register.cut.counted}:
                leader.first, leader.sponsor = register.cut.round + 1, b""
                self.wiped = True  # what those alone had is lost, whoever goes on
                ended = {end.actor for end in register.cut.ended} | {row.actor for row in register.cut.retired}
                if leader.actor in ended:
                    self.flush(leader)
                    leader.life += 1
                    leader.store.actor = f"{leader.name}.{leader.boot}.{leader.life}".encode().ljust(16, b"_")
                    leader.owned.append(leader.store.actor)
                leader.cut = register.cut
                leader.clock.raise_floor(register.cut.stamp)
                self.apply(leader)
            elif not self.meet(leader, register.cut):
                return
        ends = self.to_end(leader, harsh)
        opening = register.opening
        if opening is not None and leader.actor in [end.actor for end in opening.ends]:
            self.reborn(leader)
            return
        if opening is None or {*ends} > {end.actor for end in opening.ends}:
            if leader.actor in ends:
                return
            members = opening.members if opening is not None else ()
            if {*register.cut.counted, *members} <= {*ends}:
                members = tuple(
                    sorted(each.actor for each in self.up() if each.state == "member" and self.reach(each.name, leader.name))
                )
            attempt = 1 if opening is None else opening.attempt + 1
            register.opening = opening = Opening(
                register.cut.round + 1, attempt, tuple([ends[actor] for actor in sorted(ends)]), members
            )
        self.reports[leader.name] = (opening, {})
        for name in self.members:
            self.send(leader, name, "open", opening)

    def on_open(self, member: Member, frame: Frame) -> None:
        opening: Opening = frame.content
        if member.state != "member" or opening.round != member.cut.round + 1:
            return
        if (opening.round, opening.attempt) < member.reported:
            return
        if any(end.actor == member.actor for end in opening.ends):
            self.reborn(member)
            return
        member.ends.update({end.actor: end for end in opening.ends})
        for joiner in list(member.joiners):
            if joiner in member.ends:
                del member.joiners[joiner]
        self.flush(member)
        member.reported = (opening.round, opening.attempt)
        report = Report(
            member.actor,
            member.store.dots.summary(),
            member.store.dots.last(member.actor),
            self.read(member),
            tuple(sorted(member.joiners)),
            tuple(member.brought) if self.rules.tells_what_it_brings else (),
        )
        self.send(member, frame.sender, "report", (opening, report))

    def on_report(self, member: Member, frame: Frame) -> None:
        opening, report = frame.content
        gathered = self.reports.get(member.name)
        if gathered is not None and gathered[0] == opening:
            gathered[1][report.actor] = report

    def decide(self, leader: Member) -> None:
        gathered = self.reports.get(leader.name)
        register = self.register
        if gathered is None or leader.state != "member" or not self.reaches_register(leader):
            return
        opening, reports = gathered
        if register.opening != opening:
            return
        cut = self.rules.make_cut(register.cut, opening, reports)
        if cut is None:
            return
        register.cut, register.opening = cut, None
        self.cuts += 1
        self.note("cut", cut.round, "counts", len(cut.counted), "ends", [end.actor for end in cut.ended])
        self.decided(cut, reports)
        self.meet(leader, cut)

    def decided(self, cut: Cut, reports: dict[bytes, Report]) -> None:
        """Everyone that is counted has what `least` covers: it is safe, and seen."""
        void = {(actor, n) for actor, numbers in cut.void for n in numbers}
        void |= {(each.actor, n) for each in cut.retired for n in each.void}
        highest = {each.actor: each.last for each in cut.retired}  # void numbers at the end are not told one by one
        for actor, last in cut.least:
            for n in range(1, min(last, highest.get(actor, last)) + 1):
                cell = self.log.get((actor, n))
                if cell is not None and (actor, n) not in void:
                    self.keep(cell)
                    self.seen.add((cell[:2], cell.order))

    def keep(self, cell: Cell) -> None:
        """It must not be lost from now on."""
        if cell.kind == KEY:
            known = self.safe.get(cell[:2])
            if known is None or cell.order > known.order:
                self.safe[cell[:2]] = cell
