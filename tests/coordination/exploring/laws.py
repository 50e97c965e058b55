"""What must hold in every state of a small case, and over every step of one process.

In every state:
    L1   at most one process believes that it holds the lock
    L3   what is believed is kept: of the acceptors that may vote, fewer than a quorum do not call the lease live, so that
         nobody can read it as free. And what two acceptors accepted under one ballot is one value
Over every step:
    no promise is taken back, an accepted ballot is promised too, no highest token falls
    the `until` of a lease never falls, and rises with a higher serial (or another roster) only; or while its voter abstains and
    reads back what it forgot: each lease counts for a full ttl from each answer, and nobody rests on it yet
Over the whole history:
    L2   tokens rise over the grants
    L11  of one epoch there is one roster
"""

from __future__ import annotations

from collections.abc import Sequence

from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.values import Value
from tests.coordination.exploring.cores import Seen

__all__ = ["Broken", "check_state", "check_step"]


class Broken(AssertionError):
    """A law does not hold."""


def check_state(seen: Sequence[Seen], now: int, *, key: str, group: tuple[str, ...]) -> None:
    """`group` is that of the register, or empty if the roster changes."""
    believing = [each for core in seen for each in core.believing if each.until > now and each.key == key]
    if len(believing) > 1:
        raise Broken(f"L1: {', '.join(f'{each.lease.name} ({each.lease.token})' for each in believing)} believe at once")
    accepted: dict[tuple[str, Ballot], Value] = {}
    for core in seen:
        for register in core.accepting:
            other = accepted.setdefault((register.key, register.accepted), register.value)
            if other != register.value:
                raise Broken(f"L3: under {register.accepted} there are two values")
    if not group:
        return
    for each in believing:
        without = 0
        for core in seen:
            if core.name not in group or not core.up or core.votes_from > now:
                continue
            lives = any(
                lease == each.lease and until > now
                for register in core.accepting
                if register.key == key
                for lease, _, until in register.leases
            )
            without += not lives
        if without >= len(group) // 2 + 1:
            raise Broken(f"L3: {each.lease.name} believes, and a quorum does not know of its lease {each.lease.token}")


def check_step(before: Seen, after: Seen, now: int) -> None:
    """Of one and the same process."""
    if not before.up or not after.up:
        return
    old = {register.key: register for register in before.accepting}
    for register in after.accepting:
        if register.promised < register.accepted:
            raise Broken(f"L3: {after.name} has accepted {register.accepted} and promised only {register.promised}")
        known = old.get(register.key)
        if known is None:
            continue
        if register.promised < known.promised or register.accepted < known.accepted:
            raise Broken(f"L3: {after.name} takes back what it promised under {known.promised}")
        if register.highest < known.highest:
            raise Broken(f"L2: {after.name} forgets the token {known.highest}")
        leases = {lease: (serial, until) for lease, serial, until in known.leases}
        moved = register.accepted.epoch > known.accepted.epoch
        for lease, serial, until in register.leases:
            last = leases.get(lease)
            if last is None:
                continue
            if until < last[1]:
                raise Broken(f"L3: {after.name} waits less long for {lease.token} than before")
            if before.votes_from > now:
                # It reads back what it forgot, counts a full ttl from each answer, and nobody rests on it yet.
                continue
            if until > last[1] and serial <= last[0] and not moved:
                raise Broken(f"L12: {after.name} waits longer for {lease.token}, though its holder has not asked for it again")
            if until > last[1] and last[1] <= now and register.accepted == known.accepted:
                raise Broken(f"L1: {after.name} extends {lease.token}, which has run out")
