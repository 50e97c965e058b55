"""What befalls disks. A machine whose program keeps nothing on its disk does not notice; `Torn` needs a commit to happen."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Damage", "DiskFault", "FullDisk", "OldDisk", "SlowDisk", "Torn"]


@dataclass(frozen=True, slots=True)
class SlowDisk:
    """Each commit takes `adds` ns longer."""

    at: int
    lasts: int
    whom: str
    adds: int


@dataclass(frozen=True, slots=True)
class FullDisk:
    """No commit succeeds, and none leaves anything."""

    at: int
    lasts: int
    whom: str


@dataclass(frozen=True, slots=True)
class Torn:
    """The machine loses its power in the middle of its next commit, which is there whole or not at all; it has power again at
    the end."""

    at: int
    lasts: int
    whom: str


@dataclass(frozen=True, slots=True)
class Damage:
    """As a crash, and the memory is damaged: whoever starts next sets it aside, and begins anew."""

    at: int
    lasts: int
    whom: str


@dataclass(frozen=True, slots=True)
class OldDisk:
    """At the end the process is killed, and started again from the disk as it was at the beginning: restored from a backup.

    It breaks what durable means: a mesh with such a voter need not survive it. So it is only in the profile `mixed`, for what
    voters have no part in. See docs/simulation.md."""

    at: int
    lasts: int
    whom: str


DiskFault = SlowDisk | FullDisk | Torn | Damage | OldDisk
