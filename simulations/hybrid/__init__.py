"""Users' services in the simulated world: ordinary Trio programs, whose `open_peer` and `connect` land in it."""

from simulations.hybrid.guards import NotSimulatedError
from simulations.hybrid.host import Host, OneNodeError, Service
from simulations.hybrid.hosts import Hosts
from simulations.hybrid.loop import StuckError

__all__ = ["Host", "Hosts", "NotSimulatedError", "OneNodeError", "Service", "StuckError"]
