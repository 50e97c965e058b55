"""The boots of voters that have forgotten, as they said themselves, or as others say: on the disk of whoever has one.

Whoever tells such a voter what it keeps has learned its boot before, durably. (It restarts, remembers what it keeps, and not
that the other one has forgotten it: then an answer of that one's earlier process counts beside its own.)"""

from __future__ import annotations

from coordination.agreed.vocabulary.boots import NO_BOOT, BootRecord
from coordination.agreed.voting.voter_memory import VoterMemory
from mesh.directives import Boot, Directive

__all__ = ["KnownBoots"]


class KnownBoots:
    """One for a node: of the record what has to outlive the process."""

    __slots__ = ("_kept", "_memory", "record")

    def __init__(self, record: BootRecord, memory: VoterMemory | None = None) -> None:
        self.record = record
        self._memory = memory
        self._kept: dict[str, Boot] = {}
        if memory is not None:
            self._kept = memory.known()
            record.learn(tuple(self._kept), tuple(self._kept.values()))

    def learn(self, names: tuple[str, ...], boots: tuple[Boot, ...], out: list[Directive]) -> None:
        self.record.learn(names, boots)
        if self._memory is not None:
            for name, boot in zip(names, boots, strict=False):
                if boot > self._kept.get(name, NO_BOOT):
                    self._kept[name] = boot
                    self._memory.keep_known(name, boot, out)
