"""How well this node itself is doing (Lifeguard, section IV-A: local health aware probe).

A node that gets no acks, and no nacks from helpers that are certainly well, had better doubt itself. Its score slows
its probes and lengthens its timeouts and suspicions, up to `worst + 1` times, until answers come in again.

    a probe was answered, directly or by a helper                  -1
    a probe failed and no helper was there to be asked             +1
    each helper that answered neither way                          +1
    this node was accused, and refuted                             +1
    its own timers were late                                       +1

A failed probe of which every helper says that it heard nothing either costs nothing: that is the target's trouble. (The paper
counts it; its implementation in memberlist does not.)"""

from __future__ import annotations

__all__ = ["Health"]


class Health:
    """Parameters
    ----------
    worst: the highest score; 0 for a node that never doubts itself."""

    __slots__ = ("_score", "_worst")

    def __init__(self, worst: int) -> None:
        self._worst = worst
        self._score = 0

    @property
    def multiplier(self) -> int:
        """1 in perfect health."""
        return self._score + 1

    def improve(self) -> None:
        """A probe was answered."""
        self._score = max(0, self._score - 1)

    def worsen(self, by: int = 1) -> None:
        """A probe failed, a helper's nack is missing, this node had to refute, or its own timers were late."""
        self._score = min(self._worst, self._score + by)
