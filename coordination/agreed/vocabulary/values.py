"""What a register holds: holdings, each with the identity of one lease.

The identity of a lease is `(token, name, boot, request)` and is compared whole. Everything that a holder may do to a
lease later (renew, release) names it, so that nothing done for one grant can ever touch another.

`serial` counts every attempt, refresh and renewal of one request, in one sequence. A value and a grant name the
serial that they answer: the holder counts its belief from the moment before it sent that very serial, and an acceptor
extends its wait for a higher serial only. (Answers without a serial stretch the belief over an older promise; a
repeated accept that restarts the wait keeps a dead holder's lock alive for ever.)"""

from __future__ import annotations

from typing import NamedTuple

from mesh.directives import Boot

__all__ = ["FREE", "Holding", "LeaseId", "Value", "lease_text", "parse_lease"]


class LeaseId(NamedTuple):
    """One granted lease, for ever."""

    token: int
    name: str
    """The holder: a member's name, or a thin client's `ID@SPONSOR`."""
    boot: Boot
    request: int

    @property
    def asker(self) -> tuple[str, Boot, int]:
        """The request that it answers: its holder may cancel by this alone, before it knows the token."""
        return (self.name, self.boot, self.request)


class Holding(NamedTuple):
    """A lease as it stands in a register's value."""

    lease: LeaseId
    serial: int
    ttl: int
    """ns that each renewal is worth."""
    term: int
    """ns of the first wait: the ttl, or less for one that was handed over and is not renewed yet."""
    binds: bool
    """Its end must be written as a replicated cell."""
    permits: int = 0
    """What it takes of the register (see `modes`); 0: all of it."""
    delay: int = 0
    """ns for which nobody else is granted it after it has run out unreleased."""

    @property
    def worth(self) -> int:
        """ns that an acceptor waits after a renewal."""
        return self.ttl + self.delay


class Value(NamedTuple):
    holdings: tuple[Holding, ...]
    state: bytes
    """What an atomic register holds; empty for leases and locks."""
    limit: int = 0
    """Permits that there are; 0: no limit."""
    shut: bool = False
    """A barrier's: it was full, and nobody comes in until it is empty."""

    def keeping(self, holdings: tuple[Holding, ...]) -> Value:
        """The same register with these leases left of it."""
        return Value(holdings, self.state, self.limit, self.shut and bool(holdings))

    def has(self, lease: LeaseId) -> bool:
        return lease in [holding.lease for holding in self.holdings]


FREE = Value((), b"")


def lease_text(key: str, lease: LeaseId) -> str:
    """The stable text of an identity, which bound cells carry. It names the register, so anyone can ask about it."""
    return f"{lease.token:x}.{lease.request:x}.{lease.boot.stamp:x}.{lease.boot.session.hex()}.{lease.name}#{key}"


def parse_lease(text: str) -> tuple[str, LeaseId] | None:
    """The register key and identity that `lease_text` wrote, or None for any other text."""
    head, mark, key = text.partition("#")
    parts = head.split(".", 4)
    if not mark or len(parts) != 5:
        return None
    token, request, stamp, session, name = parts
    try:
        lease = LeaseId(int(token, 16), name, Boot(int(stamp, 16), bytes.fromhex(session)), int(request, 16))
    except ValueError:
        return None
    return key, lease
