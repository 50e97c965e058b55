"""What a node remembers of the ring: every word that was said of a secret, and every secret that was added.

Added secrets lie on the disk sealed under one that the node was started with, whose operator has it anyway. That one need not
be in the ring any more."""

from __future__ import annotations

from mesh.frozen import frozen
from mesh.keyring import Keyring
from mesh.memory import Memory
from mesh.records import RecordKind
from mesh.rotation.messages import KeyEntry
from mesh.rotation.ring import Ring

__all__ = ["KEYRING", "KeyringNote", "Shelf"]

TABLE = "keyring"


@frozen
class KeyringNote:
    """What a node remembers of a secret, or (under the key `b""`) of which one seals."""

    stamp: int
    present: bool
    under: bytes
    """The secret, of those that the node was started with, under which it is sealed here."""
    sealed: bytes


KEYRING: RecordKind[KeyringNote] = RecordKind(KeyringNote)


class Shelf:
    """Made at the start: the secrets that the keyring holds then are those that the node was given."""

    __slots__ = ("_keyring", "_keys", "given")

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self.given = keyring.identifiers()
        """The secrets that this node was started with."""
        self._keys = {key: keyring.derive(key, b"shelf", b"") for key in self.given}

    def records(self, ring: Ring) -> list[tuple[str, bytes, bytes | None]]:
        """What is to be remembered of it."""
        if not ring.entries:
            return []
        under = self.given[0]
        stamp, use = ring.use
        records: list[tuple[str, bytes, bytes | None]] = [(TABLE, b"", KEYRING.write(KeyringNote(stamp, True, use, b"")))]
        for key, (said, present) in sorted(ring.entries.items()):
            sealed = self._keyring.wrap(key, self._keys[under]) if present and key in self._keyring else b""
            records.append((TABLE, key, KEYRING.write(KeyringNote(said, present, under, sealed))))
        return records

    def recall(self, memory: Memory, ring: Ring) -> None:
        """Take the ring up where the last process left it. What was sealed under a secret that this one was not given is
        lost, and given by the others again."""
        for key, data in sorted(memory.table(TABLE).items()):
            note = KEYRING.read(data)
            if not key:
                ring.use = (note.stamp, note.under)
                continue
            ring.join([KeyEntry(key, note.stamp, note.present)], (0, b""))
            if note.present and note.sealed and key not in self._keyring and note.under in self._keys:
                self._keyring.unwrap(key, self._keys[note.under], note.sealed)
