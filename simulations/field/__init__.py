"""Named scenarios, one for each known failure of the field: each stages exactly what some system failed at, counts that the
dangerous moment was really there, and shows that this mesh gets through it.

Who failed, and how, stands in `Scenario.checks`; `mesh simulate list` shows it."""

from simulations.field.counters import LOST_INCREMENT
from simulations.field.deletes import RESURRECTED_DELETE
from simulations.field.holders import PAUSED_HOLDER, STALE_TOKEN
from simulations.field.leases import ZOMBIE_LEASE
from simulations.field.owners import DOUBLE_GRANT
from simulations.field.stamps import EQUAL_STAMPS, SKEWED_CLOCK

__all__ = ["FIELD"]

FIELD = (
    LOST_INCREMENT, RESURRECTED_DELETE, EQUAL_STAMPS, SKEWED_CLOCK,
    DOUBLE_GRANT, STALE_TOKEN, PAUSED_HOLDER, ZOMBIE_LEASE,
)  # fmt: skip
