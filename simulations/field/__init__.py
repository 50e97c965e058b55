"""Named scenarios, one for each known failure of the field: each stages exactly what some system failed at, counts that the
dangerous moment was really there, and shows that this mesh gets through it.

Who failed, and how, stands in `Scenario.checks`; `mesh simulate list` shows it."""

from simulations.field.counters import LOST_INCREMENT
from simulations.field.deletes import RESURRECTED_DELETE
from simulations.field.expiry import CLOCK_JUMP
from simulations.field.holders import PAUSED_HOLDER, STALE_TOKEN
from simulations.field.leases import ZOMBIE_LEASE
from simulations.field.members import OLD_INCARNATION, ONE_WAY_FLAP, POISON
from simulations.field.owners import DOUBLE_GRANT
from simulations.field.queues import GHOST_WAITER, LATE_GRANT
from simulations.field.restarts import VOTERS_RESTART
from simulations.field.stamps import EQUAL_STAMPS, SKEWED_CLOCK
from simulations.field.transfers import BROKEN_TRANSFER

__all__ = ["FIELD"]

FIELD = (
    LOST_INCREMENT, RESURRECTED_DELETE, BROKEN_TRANSFER, EQUAL_STAMPS, SKEWED_CLOCK, CLOCK_JUMP,
    DOUBLE_GRANT, STALE_TOKEN, PAUSED_HOLDER, LATE_GRANT, GHOST_WAITER, VOTERS_RESTART, ZOMBIE_LEASE,
    ONE_WAY_FLAP, OLD_INCARNATION, POISON,
)  # fmt: skip
