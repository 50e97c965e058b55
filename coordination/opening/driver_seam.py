"""Which driver `open_peer` and `connect` use, and what opens a state directory: context variables, so that a simulation can put
the same call into its world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol, TypeVar

from coordination.opening.state_dir import open_state_dir
from coordination.opening.trio_driver import Build, Built, open_trio_driver
from mesh.driver import Driver, NodeLike
from mesh.shell import Store

__all__ = ["DRIVER", "STATE", "Build", "Built", "DriverFactory", "State"]

B = TypeVar("B", bound=Built)


class DriverFactory(Protocol):
    """Opens a driver for the node that `build` makes once the address is known; yields the driver and what was built.

    `bind` is what to listen on, `advertise` what others are told if it is not what is bound. Without `bind` it is any port on
    the address from which `towards` is reached; if that is empty too, there is no port and the build is given no address.
    `store` makes durable what the node remembers; `busy_poll` is as in `mesh.shell.open_driver`. One exception leaves it,
    alone and not in a group: the reason, if the node halted."""

    def __call__(
        self,
        build: Build[B],
        *,
        bind: str | None,
        advertise: str | None,
        towards: Sequence[str] = (),
        store: Store | None = None,
        busy_poll: int = 0,
    ) -> AbstractAsyncContextManager[tuple[Driver[NodeLike], B]]: ...


class State(Protocol):
    """A state directory: the name of its node, and its memory. No other process has it until it is closed."""

    @property
    def path(self) -> Path: ...

    @property
    def store(self) -> Store: ...

    def name(self) -> str:
        """The name kept here; one is invented and kept if there is none."""

    def keep(self, name: str) -> None:
        """Keep the name. Raises `BadConfig` if another one is kept."""

    async def aclose(self) -> None: ...


DRIVER: ContextVar[DriverFactory] = ContextVar("trio_mesh_driver", default=open_trio_driver)

STATE: ContextVar[Callable[[Path], Awaitable[State]]] = ContextVar("trio_mesh_state", default=open_state_dir)
