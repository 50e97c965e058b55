"""C18: the divergence alarm is never false. In a run in which nobody's memory was tampered with it must not be raised: if
it is, either it was false, or two replicas did claim the same and hold something else."""

from __future__ import annotations

from mesh.directives import Event
from mesh.replication import Alarm
from simulations.checkers.base import Checker
from simulations.machine.process import Process

__all__ = ["Alarms"]


class Alarms(Checker):
    hears = (Alarm,)

    def published(self, process: Process, event: Event) -> None:
        if isinstance(event, Alarm):
            what = f"claims what {event.name} claims and holds something else" if event.name else "has changed without a write"
            self.fail("C18", f"{process} {what}")
