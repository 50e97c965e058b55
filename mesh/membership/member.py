"""One member as an observer knows it, and the one function that decides between two pieces of news about it.

News about a name is ordered by (boot, incarnation, state), with Alive < Suspect < Dead < Left. Rules:
  - a newer boot is another process: it supersedes whatever the older one was;
  - within a boot only the subject raises the incarnation, so that Alive at a higher one refutes what was said at a
    lower;
  - at one incarnation the worse news wins, and nothing but its own leave is final for a boot.

The maximum in a total order is a commutative, associative, idempotent join: observers that heard the same news in any
order, however often, agree. Address and tags belong to (boot, incarnation); they take part in the order last, so that
even two forged entries that differ in nothing else have one winner everywhere."""

from __future__ import annotations

from enum import StrEnum

from mesh.directives import Address, Boot
from mesh.frozen import frozen
from mesh.membership.identity import Tags

__all__ = ["ALIVE", "DEAD", "LEFT", "RANK", "STATES", "SUSPECT", "Member", "State", "join", "supersedes"]


class State(StrEnum):
    ALIVE = "alive"
    SUSPECT = "suspect"
    DEAD = "dead"
    LEFT = "left"


STATES = (State.ALIVE, State.SUSPECT, State.DEAD, State.LEFT)
"""By rank: the number that travels."""

ALIVE, SUSPECT, DEAD, LEFT = STATES
"""For what is asked with each message: to find a state in its class takes longer than all the rest of such a question."""

RANK = {state: rank for rank, state in enumerate(STATES)}


@frozen
class Member:
    name: str
    boot: Boot
    incarnation: int
    state: State
    address: Address
    tags: Tags = ()

    @property
    def order(self) -> tuple[Boot, int, int, Address, Tags]:
        """Compared by `supersedes`; the higher is the later news."""
        return (self.boot, self.incarnation, RANK[self.state], self.address, self.tags)

    @property
    def reachable(self) -> bool:
        """Worth sending to: not convicted, not gone."""
        return self.state is ALIVE or self.state is SUSPECT


def supersedes(news: Member, known: Member) -> bool:
    """Whether `news` must replace `known`, which is about the same name."""
    return news.order > known.order


def join(one: Member, other: Member) -> Member:
    """What remains of two pieces of news about one name."""
    return one if supersedes(one, other) else other
