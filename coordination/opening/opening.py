"""Opening a peer: what was asked for is checked, the node is built and driven, and admitted or founded.

One exception leaves it bare, never in a group, whichever task it came from; a peer that must not go on (its name is taken)
cancels the body and raises the reason."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import trio

from coordination.assembly import Assembly, build
from coordination.config import MeshConfig
from coordination.core import Core
from coordination.errors import JoinFailed
from coordination.leaving import stop
from coordination.opening.arguments import Secrets, checked_directory, checked_settings
from coordination.opening.driver_seam import DRIVER, STATE
from coordination.peer import Peer
from crdt.clock import Instant
from mesh.directives import OtherSecret, StoreFailing, StoreRestored
from mesh.membership import Joined, MemberChanged
from mesh.membership import JoinFailed as JoinAttempt
from mesh.memory import Memory
from mesh.replication import Alarm, Relieved, Unforgotten
from mesh.replication.burden import LIMIT
from mesh.rotation import RingChanged

__all__ = ["JOIN_SECONDS", "open_peer"]

JOIN_SECONDS = 10.0
LOOPBACK = "127.0.0.1:1"

logger = logging.getLogger("mesh")


@asynccontextmanager
async def open_peer(
    *,
    name: str | None = None,
    bind: str | None = None,
    advertise: str | None = None,
    seeds: Sequence[str] = (),
    secret: Secrets = None,
    expect: int = 1,
    voter: bool = True,
    state_dir: str | Path | None = None,
    fresh: bool = False,
    profile: str = "lan",
    tags: Mapping[str, str] | None = None,
    config: MeshConfig | None = None,
    max_fading: int = LIMIT,
) -> AsyncIterator[Peer]:
    """Join a mesh, found one, or be one alone; leave it on exit.

    With `bind`, `seeds` and `secret` all absent it is a mesh of one in this process, without a network: the same code then
    runs on many nodes. Entering and leaving are checkpoints. Leaving is a *stop*: grants are released and the others are
    told; it takes about a second at the most. What tasks outside of the context run under a lock is cancelled first
    (`LeaseLost`), and has a second to end; what they wait for raises `Closed`, and watches end.

    Parameters
    ----------
    name: 1 to 64 of `A-Z a-z 0-9 . _ -`, unique in the mesh. Without one it is invented, or kept in `state_dir`.
    bind: `host:port` to listen on, UDP and TCP; port 0 chooses one. With seeds and no `bind`: any port, on the address that
        reaches the first of them.
    advertise: `host:port` that others are told, where it is not what is bound.
    seeds: addresses of members, or of all founders; the own one may be among them.
    secret: of at least 32 bytes, the same on every node; several are a keyring, the first one seals.
    expect: how many voters found the mesh together; with 1 and seeds this node joins one that exists. They wait
        until fewer than `expect / 2` of the seeds are missing.
    voter: whether this peer votes on locks and leases.
    state_dir: a directory of this node's own that keeps its name, its keys and counters, and whatever it promises as a voter:
        with it a restarted node has its state before it has peers, and votes at once; without it once others have told it
        what it may have promised, or after max_ttl. A directory that was restored from a backup must be emptied.
    fresh: the operator's word that no lock of this mesh is alive: the founders vote at once. Refused with a `state_dir` that
        remembers a mesh.
    profile: `local`, `lan` or `wan`: how fast silence is noticed. In `local`, where a process asks again and again and is
        answered at once, its loop looks for the next datagram for 0.4 ms before it sleeps (docs/decisions.md).
    tags: short texts that the members see.
    config: what the founders agree on.
    max_fading: deleted, expired and hidden keys that may wait in this node while the mesh makes no cut (docs/cuts.md), 1,000 to
        100,000,000, of about 400 bytes each. Beyond it deletes, and puts of new keys with a ttl or a lease, raise `StoreFull`.
        As a dead member holds cuts back for eleven minutes, no fewer than fade in that time.

    Raises
    ------
    BadConfig: arguments that cannot work together. BindFailed: the address is taken, or not of this machine.
    JoinFailed: no seed admitted this node within 10 s (`expect=1` with seeds). NameTaken: now or later, another process
    runs under this name. DifferentMesh: later, if `state_dir` is of another mesh than the one that was joined.
    """
    state = await STATE.get()(checked_directory(state_dir)) if state_dir is not None else None
    try:
        settings = checked_settings(
            name, bind, advertise, seeds, secret, expect, voter, state, fresh, profile, tags, config, max_fading
        )

        def make(address: str, *, session: bytes, entropy: Callable[[int], bytes], random: Random, now: Instant) -> Assembly:
            return build(
                replace(settings, address=address), session=session, entropy=entropy, random=random, now=now, memory=memory
            )

        store = state.store if state is not None else None
        memory = Memory(store.tables) if store is not None else None
        # A founder of a network without seeds and address is reached by nobody but this machine.
        towards = (settings.seeds or (LOOPBACK,)) if settings.networked and bind is None else ()
        async with DRIVER.get()(
            make, bind=bind, advertise=advertise, towards=towards, store=store, busy_poll=settings.profile.busy_poll
        ) as (driver, assembly):
            core = Core(assembly, driver)
            joining = Joining(core)
            peer = Peer(core)
            assembly.gateway.operations.stats = peer.stats
            core.dispatch.handle(MemberChanged, _log_member)
            core.dispatch.handle(StoreFailing, _log_failing)
            core.dispatch.handle(StoreRestored, _log_restored)
            core.dispatch.handle(OtherSecret, _log_other_secret)
            core.dispatch.handle(Alarm, _log_alarm)
            core.dispatch.handle(Unforgotten, partial(_log_unforgotten, assembly))
            core.dispatch.handle(Relieved, _log_relieved)
            core.dispatch.handle(RingChanged, partial(_log_ring, assembly))
            driver.subscribe(core.dispatch)
            if settings.networked and expect == 1 and settings.seeds:
                await joining.wait()
            else:
                await trio.lowlevel.checkpoint()
            if settings.networked and settings.voter and state is None:
                logger.warning(
                    "%s keeps no promises on disk: after a restart it votes once enough others have told it what it may have "
                    "promised, else after max_ttl",
                    settings.name,
                )
            try:
                yield peer
            finally:
                await stop(core)
    finally:
        if state is not None:
            await state.aclose()


class Joining:
    """Waits for the admission of a node that joins."""

    def __init__(self, core: Core) -> None:
        self._joined = core.joined
        self._reasons: dict[str, str] = {}
        core.dispatch.handle(Joined, self._on_joined)
        core.dispatch.handle(JoinAttempt, self._on_attempt)

    def _on_joined(self, event: Joined) -> None:
        self._joined.set()

    def _on_attempt(self, event: JoinAttempt) -> None:
        self._reasons.update(event.reasons)

    async def wait(self) -> None:
        with trio.move_on_after(JOIN_SECONDS):
            await self._joined.wait()
        if not self._joined.is_set():
            raise JoinFailed(tuple(sorted(self._reasons.items())), JOIN_SECONDS)


def _log_failing(event: StoreFailing) -> None:
    logger.error(
        "the state directory takes nothing more (%s): this node neither votes nor writes keys until it does", event.error
    )


def _log_restored(event: StoreRestored) -> None:
    logger.warning("the state directory takes what is promised again: this node votes and writes")


def _log_other_secret(event: OtherSecret) -> None:
    logger.warning(
        "%s seals with a secret that this node does not have, and is not heard: if the mesh's secret was changed while this "
        "node was away, start it with the new one",
        event.address,
    )


def _log_alarm(event: Alarm) -> None:
    if event.name:
        logger.error(
            "this node claims what %s claims and holds something else: a bug, or corruption on one side; it is repaired now, "
            "and counted in stats() as mending.cells_mended",
            event.name,
        )
    else:
        logger.error(
            "the memory of this node has changed without a write: what others hold is taken for right; check its memory"
        )


def _log_unforgotten(assembly: Assembly, event: Unforgotten) -> None:
    then = "deletes, and puts of new keys with a ttl or a lease, are refused" if event.full else "they cost memory"
    (logger.error if event.full else logger.warning)(
        "%d deleted or expired keys wait to be forgotten, of %d that may, and nothing has been forgotten for %d s: %s. Until "
        "then %s",
        event.keys,
        event.limit,
        event.seconds,
        assembly.rounds.stillness().why,
        then,
    )


def _log_relieved(event: Relieved) -> None:
    logger.warning("the mesh forgets again: every write is taken (%d had been refused)", event.refused)


def _log_ring(assembly: Assembly, event: RingChanged) -> None:
    if event.cut_off:
        logger.error("every secret of this node was removed from the mesh's ring: start it with the one in use now")
    elif assembly.rotation.outdated:
        logger.warning(
            "the mesh seals with the secret %s now, and not with the one that this node was started with: change it where that "
            "stands, or this node may not be able to join again",
            event.primary.hex(),
        )


def _log_member(event: MemberChanged) -> None:
    logger.info("%s at %s is %s", event.member.name, event.member.address or "no address", event.member.state.value)
