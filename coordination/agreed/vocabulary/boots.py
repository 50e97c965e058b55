"""Which process of each voter's name is the newest: a guard against two live processes of one name.

Every prepare, accept and renewal carries the sender's record of the group's boots; every answer carries the
acceptor's own boot, and its record where that is newer. A quorum counts only answers that are not older than any boot
named in it. (A vote of a process that has been replaced, beside one of its replacement, makes two quorums that do not
meet.) A node that learns of a newer boot of its own name stops voting."""

from __future__ import annotations

from collections.abc import Sequence

from coordination.agreed.vocabulary.ports import Identity, View
from mesh.directives import Boot

__all__ = ["NO_BOOT", "BootRecord"]

NO_BOOT = Boot(0, b"")
"""Stands for a boot that is not known."""
GROUPS = 1024
"""Groups of which it is kept what they said last."""


class BootRecord:
    __slots__ = ("_identity", "_known", "_said", "_view", "newest")

    def __init__(self, identity: Identity, view: View) -> None:
        self._identity = identity
        self._view = view
        self._known: dict[str, Boot] = {}
        self.newest = 0
        """The highest stamp of any boot that was learned."""
        self._said: dict[tuple[str, ...], tuple[Boot, ...]] = {}
        """Of each group what the record says of it, if that was heard last: nearly all that is heard says it again."""

    def of(self, name: str) -> Boot:
        known = self._known.get(name, NO_BOOT)
        seen = self._identity.boot if name == self._identity.name else self._view.boot(name)
        return known if seen is None or seen < known else seen

    def group(self, names: Sequence[str]) -> tuple[Boot, ...]:
        of = self.of
        return tuple([of(name) for name in names])

    def learn(self, names: tuple[str, ...], boots: tuple[Boot, ...]) -> None:
        """`names` are of a roster, which bounds the record, and of the one by which `boots` were written down. (Those of
        another order make a voter believe that it has been replaced.)"""
        if self._said.get(names) == boots:
            return
        for name, boot in zip(names, boots, strict=False):
            if boot > self._known.get(name, NO_BOOT):
                self._known[name] = boot
                self.newest = max(self.newest, boot.stamp)
                self._said.clear()

    def exchange(self, names: tuple[str, ...], boots: tuple[Boot, ...]) -> tuple[Boot, ...]:
        """Learn an asker's record; what to answer with: the own record where it says more, else nothing."""
        if self._said.get(names) == boots:
            return ()  # the ordinary case, without a look at the view: it was compared when this was learned
        known = self._known
        for name, boot in zip(names, boots, strict=False):
            if known.get(name) != boot:
                break
        else:
            if len(boots) == len(names):
                if len(self._said) >= GROUPS:
                    self._said.clear()
                self._said[names] = boots
            return ()
        if len(boots) != len(names) or self.group(names) == boots:
            return ()
        self.learn(names, boots)
        own = self.group(names)
        return () if own == boots else own

    def superseded(self) -> bool:
        """Whether a newer process of the own name is known: then this one must not vote."""
        return self._known.get(self._identity.name, NO_BOOT) > self._identity.boot
