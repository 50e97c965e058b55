"""How long a member stays suspect before it is declared dead (Lifeguard, section IV-B).

The window shrinks from `longest` to `shortest` as distinct members confirm the accusation of their own observation:

    window(c) = longest - (longest - shortest) x log(c+1) / log(expected+1)

Rules: an accuser counts once, so an echo of one's own suspicion is no confirmation; who merely passes an accusation on is no
accuser; confirmations only shorten; a later incarnation of the subject is another suspicion."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log

from mesh.directives import Boot

__all__ = ["Suspicion"]


@dataclass(slots=True)
class Suspicion:
    boot: Boot
    incarnation: int
    started: int
    """Monotonic ns."""
    shortest: int
    longest: int
    expected: int
    """Confirmations that shrink the window fully; 0: it is `shortest` from the start."""
    accusers: dict[str, None] = field(default_factory=dict)

    def accuse(self, name: str) -> bool:
        """Count an accuser; False if it is none (an empty name), is known, or if no more are needed: then the news need not go
        further."""
        if not name or name in self.accusers or len(self.accusers) > self.expected:
            return False
        self.accusers[name] = None
        return True

    def deadline(self) -> int:
        """When the subject is declared dead, unless it refutes."""
        confirmations = len(self.accusers) - 1
        if confirmations >= self.expected:
            return self.started + self.shortest
        if confirmations <= 0:
            return self.started + self.longest
        saved = (self.longest - self.shortest) * log(confirmations + 1) / log(self.expected + 1)
        return self.started + self.longest - int(saved)

    def shift(self, pause: int) -> None:
        """This node was itself away for so long: the subject's refutation may wait in a buffer."""
        self.started += pause
