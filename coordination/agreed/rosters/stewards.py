"""Stewards: in a large roster a few voters hear everyone, and tell everyone what they have heard.

What each of n voters asks n others, again and again, is n^2 messages. So in a roster of more than `SMALL` voters everyone turns
to its stewards, the first of the group of a key that stands for the roster, and only these turn to everyone. What they pass on
are facts that stay true whoever tells them. Who they are is a matter of speed alone: whoever sees none of them alive, or is
not told by them for a while, turns to everyone itself."""

from __future__ import annotations

from coordination.agreed.vocabulary.ports import View
from coordination.agreed.voting.standing import Standing

__all__ = ["SHARE", "SMALL", "stewards"]

SMALL = 16
STEWARDS = 3
KEY = "stewards"
SHARE = 50
"""Whoever has to turn to everyone pauses as long as usual for each so many voters: all of them may have to."""


def stewards(standing: Standing, view: View, own: str, small: int) -> list[str] | None:
    """Of the newest roster, those to turn to in place of everyone, as far as they are seen alive; None if this node is one of
    them, or there are none: the roster has not more than `small` voters."""
    roster = standing.roster
    if roster is None or len(roster.voters) <= small:
        return None
    few = standing.placement(roster.epoch).group(KEY)[:STEWARDS]
    return None if own in few else [name for name in few if view.is_alive(name)]
