"""The process of a host: one that may run without a node, and with one after the other.

A service opens its peer when it likes. Until then the port is closed: datagrams are refused, as they are by a machine that runs
nothing. The fate of the process (pause, crash, a clock that gains) is that of the service in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from mesh.driver import NodeLike
from simulations.dice import seed_of
from simulations.machine.process import Process, Sources

__all__ = ["HostProcess", "Tenant"]


class Tenant(Protocol):
    """The service in the process."""

    def killed(self) -> None:
        """It gets no turn any more."""

    def asked_to_stop(self) -> None:
        """As SIGTERM asks."""

    def go_on(self) -> None:
        """It was paused: its tasks that are due may run."""

    def clock_changed(self) -> None:
        """What it waits for is due at another true time."""

    def halted(self, error: Exception) -> None:
        """Its node must not go on."""


class HostProcess(Process):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.tenant: Tenant | None = None
        self.openings = 0
        self.opened = self.bound = False
        self._closed = self.deaf = True

    def sources(self) -> Sources:
        """For the node that is opened now: each has a session of its own."""
        if self.openings <= 1:
            return super().sources()
        seeds = [
            seed_of(self._seed, what, self.machine, self.boot, self.openings) for what in ("session", "entropy", "choices")
        ]
        session, entropy, choices = [Random(seed) for seed in seeds]
        return Sources(session.randbytes(16), entropy.randbytes, choices, self.instant())

    # --- its nodes -----------------------------------------------------------------------------------------------------

    def open(self, build: Callable[[Sources], NodeLike], *, bound: bool) -> None:
        """Run a node; `bound` if it listens."""
        assert not self.opened
        self.openings += 1
        node = build(self.sources())
        self.failed = None
        self.opened, self.bound = True, bound
        self._closed = self.deaf = False
        self._subscribers = ()
        self._held = deque()
        self._due = self._wake_at = None
        self.start(node)

    def close(self) -> None:
        """Let the node say its last, and close its port."""
        if self.opened and self.alive:
            self.opened = self.bound = False
            self._closed = self.deaf = True
            self.node.stop(self.instant())
            self.perform()
            self.flush()
            self._wire.closed(self)

    def fail(self, error: Exception) -> None:
        """What listens to the node has failed."""
        self._halt(error)

    def _halt(self, error: Exception) -> None:
        if self.failed is None:
            self.failed = error
            self.deaf = True
            self._trace.add(self._schedule.now, self.machine, "halt", type(error).__name__)
            if self.tenant is not None:
                self.tenant.halted(error)

    # --- life ----------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask the service to end."""
        if self.tenant is not None:
            self.tenant.asked_to_stop()

    def exit(self) -> None:
        """The service has ended."""
        if self.alive:
            self.close()
            self._wire.exited(self)

    def end(self) -> None:
        super().end()
        if self.tenant is not None:
            self.tenant.killed()

    def _waited(self, together: int) -> list[Callable[[], None]]:
        tasks = super()._waited(together)
        return tasks if self.tenant is None else [*tasks, self.tenant.go_on]

    def resume(self) -> None:
        super().resume()
        if self.slow and self.tenant is not None:  # the node's inputs have their turns one by one; its own code costs nothing
            self.tenant.go_on()

    def rearm(self) -> None:
        super().rearm()
        if self.tenant is not None:
            self.tenant.clock_changed()
