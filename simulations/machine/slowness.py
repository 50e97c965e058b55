"""A process that has too little of a processor: each input takes its time, and the others wait.

While it is slow its inputs are not fed to it when they arrive. They wait in the buffers of its sockets, bounded as the
kernel's, and it takes one at a time: a timer that is due, a datagram, a connection or a piece of a stream, whichever chance
picks. Each is fed to the node once the time that it takes has passed, so that its answers come late, and its timers too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulations.dice import GOLDEN, mix
from simulations.schedule import Schedule

__all__ = ["Service", "Turns"]

CHANCES = 1 << 32


@dataclass(frozen=True, slots=True)
class Service:
    """What an input costs: `step` ns, and now and then, with the chance `stalls`, `stall` ns more."""

    step: int
    stall: int = 0
    stalls: float = 0.0


class Turns:
    """Whose turn it is in a slow process.

    Parameters
    ----------
    key: of a stream of chance: how long the n-th turn takes, and whose it is, depends on (key, n).
    ready: what could have a turn now."""

    __slots__ = ("_key", "_n", "_pending", "_ready", "_schedule", "service")

    def __init__(
        self, service: Service, key: int, schedule: Schedule, ready: Callable[[], list[Callable[[], None]]]
    ) -> None:  # fmt: skip
        self.service = service
        self._key = key
        self._schedule = schedule
        self._ready = ready
        self._n = 0
        self._pending = False

    def ask(self) -> None:
        """Something waits: if nothing has a turn, one begins."""
        if self._pending:
            return
        self._pending = True
        self._n += 1
        draw, service = mix(self._key + self._n * GOLDEN), self.service
        stalls = draw >> 32 < round(service.stalls * CHANCES)
        self._schedule.after(service.step + (service.stall if stalls else 0), self._turn, draw)

    def _turn(self, draw: int) -> None:
        self._pending = False
        ready = self._ready()
        if ready:
            ready[(draw & 0xFFFF) % len(ready)]()
            if self._ready():
                self.ask()
