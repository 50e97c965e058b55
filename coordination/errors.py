"""Everything that this library raises on purpose, as one small tree. Each says what happened and what to do."""

from __future__ import annotations

from mesh.errors import (
    AddressRefusedError,
    BindFailedError,
    ClosedError,
    ForkedError,
    MeshError,
    NameTakenError,
)

__all__ = [
    "AddressRefused",
    "AlreadyHeld",
    "BadConfig",
    "BadKey",
    "BadTTL",
    "BadValue",
    "BindFailed",
    "ClockDrift",
    "Closed",
    "DifferentMesh",
    "Disconnected",
    "DiskFailed",
    "Exhausted",
    "Fenced",
    "Forked",
    "JoinFailed",
    "LeaseLost",
    "LimitDiffers",
    "MemoryLost",
    "MeshError",
    "NameTaken",
    "NoQuorum",
    "NotDelivered",
    "NotHolding",
    "OutcomeUnknown",
    "ResetRefused",
    "SecretLacking",
    "StoreFull",
    "TooLarge",
    "Unreachable",
]

NameTaken = NameTakenError
BindFailed = BindFailedError
AddressRefused = AddressRefusedError
Closed = ClosedError
Forked = ForkedError


class BadConfig(MeshError, ValueError):
    """An argument of `open_peer`, `connect`, a command or a call that cannot work."""


class BadKey(MeshError, ValueError):
    """A key or a name that is empty, too long or not text."""


class BadValue(MeshError, TypeError):
    """A value that is not plain CBOR."""


class TooLarge(MeshError, ValueError):
    """A value above 1 MiB encoded, or nested too deep."""


class BadTTL(MeshError, ValueError):
    """A time to live out of range."""


class JoinFailed(MeshError):
    """No seed admitted this node in time. `reasons` holds one (address, why) for each."""

    def __init__(self, reasons: tuple[tuple[str, str], ...], seconds: float) -> None:
        told = "; ".join(f"{address} {JOIN_REASONS.get(why, why)}" for address, why in reasons) or "no seed was reached"
        super().__init__(f"could not join within {seconds:g} s: {told}")
        self.reasons = reasons


JOIN_REASONS = {
    "refused": "refused the connection (is a node running there?)",
    "silent": "did not answer (is the address right, is it reachable?)",
    "unanswered": "did not complete the handshake (has it the same secret?)",
    "unauthentic": "did not complete the handshake (has it the same secret?)",
    "unwelcomed": "answered, but did not welcome this node (is it joining itself?)",
    "full": "has no room for another member",
    "busy": "is checking many others that join (it is tried again)",
    "malformed": "answered with something else (is it a node of this mesh?)",
    "itself": "is this node itself (name another one, or expect founders)",
    "closed": "closed the connection (has it the same secret?)",
    "reset": "reset the connection (is it a node of this mesh?)",
    "unresolved": "is a name that does not resolve",
}


class NoQuorum(MeshError):
    """Fewer than a majority of the voters answer: this may be the minority side of a partition. Nothing was changed."""

    def __init__(self, what: str, missing: tuple[str, ...], reason: str, way_out: str = "Try again when they are back") -> None:
        waiting = f"; without an answer: {', '.join(missing)}" if missing else ""
        super().__init__(f"{what}: {reason}{waiting}. {way_out}")
        self.missing = missing


class LeaseLost(MeshError):
    """The lease can be proven no longer: another may hold it by now. The body was cancelled before that."""


class MemoryLost(MeshError):
    """A majority of the voters that keep an atomic register restarted without memory: its value is gone, and no later one can
    be safe. The ways out are a voter that still has its memory, or a mesh that is founded anew."""

    def __init__(self, register: str, names: tuple[str, ...]) -> None:
        super().__init__(
            f"the register {register!r} is lost: {', '.join(names)} restarted without memory of it, a majority of its voters. "
            "Found the mesh anew, and run voters with a state_dir to prevent it"
        )
        self.names = names


class ResetRefused(MeshError):
    """The roster was not reset; the sentence says what stands in the way."""


class NotHolding(MeshError, RuntimeError):
    """Used without being held: before it was granted, or after its end."""


class DifferentMesh(MeshError):
    """The state directory belongs to another mesh than the one that this node has met: neither is a change of the other.

    `own` and `other` are the voters of both, the latter empty if nobody has said who they are."""

    def __init__(self, own: tuple[str, ...], other: tuple[str, ...], told_by: str) -> None:
        of = f"one of {', '.join(other)}" if other else "another one"
        super().__init__(
            f"the state directory belongs to a mesh of {', '.join(own)}, and {told_by or 'a member'} is of {of}: give this "
            "node the seeds of its own mesh, or another (or an emptied) state directory"
        )
        self.own = own
        self.other = other


class AlreadyHeld(MeshError, RuntimeError):
    """This task holds it already, and would wait for itself."""

    def __init__(self, what: str) -> None:
        super().__init__(f"this task has entered {what} already, and would wait for itself: locks are not re-entrant")


class LimitDiffers(MeshError, ValueError):
    """The semaphore, barrier or budget is in use with another limit. `limit` is the one that it has."""

    def __init__(self, what: str, asked: int, limit: int, how: str = "") -> None:
        has = f"the limit {limit}" if limit else "no limit"
        how = how or "name the same one everywhere, or let it rest for two max_ttl"
        super().__init__(f"{what} has {has}, not {asked}: {how}")
        self.limit = limit


class Exhausted(MeshError):
    """There is not so much left of a budget; nothing was spent. `remaining` is what could be had."""

    def __init__(self, name: str, asked: int, remaining: int) -> None:
        super().__init__(
            f"{asked} of the budget {name!r} cannot be spent: {remaining} can be had here. Ask for less, or refund some"
        )
        self.remaining = remaining


class ClockDrift(MeshError):
    """This node's wall clock is off the others': what it wrote would order wrongly."""

    def __init__(self, offset_ms: float) -> None:
        side = "behind" if offset_ms > 0 else "ahead of"
        super().__init__(
            f"this node's clock is {abs(offset_ms):.0f} ms {side} the others': correct it (NTP); writes go on when it is right"
        )
        self.offset_ms = offset_ms


class DiskFailed(MeshError):
    """The state directory takes nothing more (full, or broken): what was written here now would not be kept. Nothing was
    written. What others hold is safe, and what was written before is sent to them."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the state directory takes nothing more ({reason}), so nothing is written here: make room or repair it; writes go "
            "on by themselves then"
        )
        self.reason = reason


class StoreFull(MeshError):
    """So many deleted, expired and hidden keys wait for a cut that this node lets no more keys fade: deletes, and puts of new
    keys with a ttl or a lease, are refused until cuts are made again. Nothing was written. `keys` wait, `limit` may
    (`max_fading`), `seconds` have gone by since the last cut, and `names` hold it back, as far as this node can see."""

    def __init__(self, keys: int, limit: int, seconds: int, names: tuple[str, ...], why: str) -> None:
        super().__init__(
            f"{keys} deleted or expired keys wait to be forgotten, of {limit} that may (max_fading), and no cut has been made "
            f"for {seconds} s: {why}. Until then only what lets no more keys fade is taken"
        )
        self.keys = keys
        self.limit = limit
        self.seconds = seconds
        self.names = names


class Fenced(MeshError):
    """The key, or the resource, was written under a fencing token: a write without one, under a lower one, or under another
    lock's would undo what a later holder did. `key`, `fence` and `lock` (if known) say what stands there."""

    def __init__(self, key: str, fence: int, lock: str = "", why: str = "", what: str = "key") -> None:
        of = f" of {lock.replace('/', ' ', 1)!r}" if lock else ""
        why = why or "only the holder of that lock may write it"
        super().__init__(f"the {what} {key!r} carries the fence {fence}{of}: {why}")
        self.key = key
        self.fence = fence
        self.lock = lock

    @classmethod
    def refused(cls, key: str, fence: int, lock: str, token: int, own_lock: str) -> Fenced:
        """A local write was refused: say why."""
        if token and lock and lock != own_lock:
            return cls(key, fence, lock, f"the token of {own_lock.replace('/', ' ', 1)!r} is another lock's")
        return cls(key, fence, lock, f"the token {token} is an earlier holder's" if token else "")


class NotDelivered(MeshError):
    """A message was taken by nobody, or a question answered by nobody. `why` is a word or a few: `nobody`, `full`, `absent`,
    `busy`; of a question what `Answers.missing` says."""

    def __init__(self, told: str, why: str) -> None:
        super().__init__(told)
        self.why = why


class SecretLacking(MeshError):
    """Members have not said that they hold a secret of the mesh, and would be cut off. `names` are those, `key` is which
    one."""

    def __init__(self, key: str, names: tuple[str, ...], what: str) -> None:
        super().__init__(
            f"{', '.join(names)} may not hold the secret {key}, and would be cut off: wait for them, or {what} with force, and "
            "start them with a secret of the ring"
        )
        self.key = key
        self.names = names


class OutcomeUnknown(MeshError):
    """The write may or may not have happened: the stream broke before the answer, or no majority answered after it was sent.
    Read before writing again."""


class Unreachable(MeshError):
    """A thin client could not reach any of the nodes that it was given, or lost its node before an answer. `reasons` holds
    one (address, why) for each that was tried."""

    reasons: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, reasons: tuple[tuple[str, str], ...]) -> Unreachable:
        error = cls("no node could be reached: " + "; ".join(f"{where} {JOIN_REASONS.get(why, why)}" for where, why in reasons))
        error.reasons = reasons
        return error


class Disconnected(Closed):
    """A thin client whose node went away: it does nothing more. What it holds is its until its own deadline."""

    def __init__(self, sponsor: str, address: str, reason: str) -> None:
        MeshError.__init__(self, f"the node {sponsor} at {address} went away ({reason}): connect again")
