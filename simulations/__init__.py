"""The deterministic world: machines, a network, faults and checkers, over the same cores that run in production.

Every name is loaded when it is first used, so that the command `mesh` finds its subcommand here at next to no cost."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulations.cases import Case as Case
    from simulations.cases import replay as replay
    from simulations.cluster import Cluster as Cluster
    from simulations.cluster import SimPeer as SimPeer
    from simulations.network import Conditions as Conditions
    from simulations.observer import Observer as Observer
    from simulations.running import Result as Result
    from simulations.running import Scenario as Scenario
    from simulations.shrinking import shrink as shrink
    from simulations.sweeping import sweep as sweep
    from simulations.world import MS as MS
    from simulations.world import SECOND as SECOND
    from simulations.world import World as World

_HOMES = {
    "simulations.cases": ("Case", "replay"),
    "simulations.cluster": ("Cluster", "SimPeer"),
    "simulations.network": ("Conditions",),
    "simulations.observer": ("Observer",),
    "simulations.running": ("Result", "Scenario"),
    "simulations.shrinking": ("shrink",),
    "simulations.sweeping": ("sweep",),
    "simulations.world": ("MS", "SECOND", "World"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "MS",
    "SECOND",
    "Case",
    "Cluster",
    "Conditions",
    "Observer",
    "Result",
    "Scenario",
    "SimPeer",
    "World",
    "replay",
    "shrink",
    "sweep",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
