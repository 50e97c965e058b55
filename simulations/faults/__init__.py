"""Faults, as data: what, when, whom, how long. A plan is a sequence of them, and any subset of a plan is a plan.

Times are ns of true time, counted from the moment at which the plan is set. Faults may overlap: a machine is down while any
fault keeps it down, a link is cut while any rule cuts it, the latest rate counts. A fault whose victim is in no state for it
(a pause of what does not run) does nothing."""

from simulations.faults.clocks import ClockFault, Rate, WallDrift, WallStep
from simulations.faults.disks import Damage, DiskFault, FullDisk, OldDisk, SlowDisk, Torn
from simulations.faults.injector import Fault, Faults
from simulations.faults.links import (
    Corruption,
    Cut,
    Isolate,
    LinkFault,
    OneWay,
    Partition,
    RandomCuts,
    Ring,
    Throttle,
    Weather,
)
from simulations.faults.nodes import Blackout, Crash, NodeFault, Pause, Slow, Suspend

__all__ = [
    "Blackout",
    "ClockFault",
    "Corruption",
    "Crash",
    "Cut",
    "Damage",
    "DiskFault",
    "Fault",
    "Faults",
    "FullDisk",
    "Isolate",
    "LinkFault",
    "NodeFault",
    "OldDisk",
    "OneWay",
    "Partition",
    "Pause",
    "RandomCuts",
    "Rate",
    "Ring",
    "Slow",
    "SlowDisk",
    "Suspend",
    "Throttle",
    "Torn",
    "WallDrift",
    "WallStep",
    "Weather",
]
