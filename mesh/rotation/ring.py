"""What the mesh has agreed on about its secrets: a value that merges.

Of each secret the last word counts, added or removed, by its hybrid time; of all words about which one seals the last, too. The
maximum by stamp is a join, so whatever order the news comes in, everyone comes to the same ring. What nobody ever said anything
about (the secrets that nodes were started with) is in nobody's entries: it is accepted wherever it was given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from mesh.rotation.messages import MAX_KEYS, RING_DIGEST_BYTES, KeyEntry, RingNews

__all__ = ["Ring", "digest_of"]


@dataclass(slots=True)
class Ring:
    entries: dict[bytes, tuple[int, bool]] = field(default_factory=dict)
    """Stamp, and whether it is present."""
    use: tuple[int, bytes] = (0, b"")

    def present(self, key: bytes) -> bool:
        """Whether a secret is accepted, as far as anybody has said."""
        return self.entries.get(key, (0, True))[1]

    def say(self, key: bytes, stamp: int, present: bool) -> bool:
        """Take in a word about a secret; whether it is the last one. At equal stamps added wins."""
        if (stamp, present) <= self.entries.get(key, (0, False)) or (key not in self.entries and len(self.entries) >= MAX_KEYS):
            return False
        self.entries[key] = (stamp, present)
        return True

    def join(self, entries: Iterable[KeyEntry], use: tuple[int, bytes]) -> bool:
        """Take in another's; whether anything was new."""
        changed = False
        for entry in entries:
            changed |= self.say(entry.key, entry.stamp, entry.present)
        if use > self.use:
            self.use = use
            changed = True
        return changed

    def chosen(self, held: Sequence[bytes]) -> bytes:
        """Which of the secrets that a node holds (its present primary first) it seals with: the one that was last said, if it
        is there; else the primary, unless that was removed; else the one that was added last. Of removed ones alone the
        primary: who has no other is cut off anyway, and must not lose its last."""
        stamp, use = self.use
        if stamp and use in held and self.present(use):
            return use
        if self.present(held[0]):
            return held[0]
        present = [key for key in held if self.present(key)]
        return max(present, key=lambda key: (self.entries.get(key, (0, True))[0], key)) if present else held[0]

    def news(self, holds: Sequence[bytes], heard: bytes, want: bool) -> RingNews:
        entries = tuple([KeyEntry(key, stamp, present) for key, (stamp, present) in sorted(self.entries.items())])
        stamp, use = self.use
        return RingNews(entries, stamp, use or bytes(4), tuple(holds), heard, want)


def digest_of(news: RingNews) -> bytes:
    """Of a ring as it was told: what it says, and what its node holds."""
    said = b"".join([entry.key + entry.stamp.to_bytes(8, "big") + bytes([entry.present]) for entry in news.entries])
    use = news.use_stamp.to_bytes(8, "big") + news.use
    return blake2b(said + b"|" + use + b"|" + b"".join(news.holds), digest_size=RING_DIGEST_BYTES).digest()
