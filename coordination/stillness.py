"""Why no cut is made: who would have to be there, or to report, so that the mesh forgets again.

A node says what it can see. Whoever leads the rounds knows who has not reported; the others know whom the cut counts and
gossip says is not alive, and name the leader if that is nobody."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

__all__ = ["Stillness", "stillness"]


class Stillness(NamedTuple):
    names: tuple[str, ...]
    """Who holds the cut back, as far as this node can see."""
    why: str
    """Half a sentence with them."""


def stillness(
    own: str,
    voters: Sequence[str],
    leader: str | None,
    alive: Collection[str],
    welcomed: bool,
    waited_for: Collection[bytes],
    name_of: Callable[[bytes], str],
) -> Stillness:
    """Parameters
    ----------
    voters: that keep the register of the rounds; none, if no roster is known.
    leader: who leads the rounds, as this node sees it.
    alive: the names of all who are, the own one among them.
    welcomed: whether the own store is one of the mesh's, and does not wait to join it.
    waited_for: the actors that have to report, and have not, or are gone.
    """
    if not voters:
        return Stillness((), "this node knows no voters yet: it waits for the founders, or to join")
    absent = tuple(sorted([name for name in voters if name not in alive]))
    if 2 * len(absent) >= len(voters):
        return Stillness(absent, f"the voters {', '.join(absent)} are not there, a majority is needed: bring them back")
    if not welcomed:
        return Stillness((own,), f"{own} waits for a member that welcomes it")
    names = tuple(sorted({name_of(actor) for actor in waited_for}))
    if names:
        return Stillness(
            names, f"{', '.join(names)} would have to report: bring back who is dead, or give it up (`mesh end NAME`)"
        )
    assert leader is not None
    return Stillness((leader,), f"{leader} leads the rounds, and makes none")
