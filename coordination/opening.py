"""Opening a peer: what was asked for is checked, the node is built and driven, and admitted or founded.

One exception leaves it bare, never in a group, whichever task it came from; a peer that must not go on (its name is taken)
cancels the body and raises the reason."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from random import Random

import trio

from coordination.assembly import Assembly, Settings, build
from coordination.config import MeshConfig
from coordination.core import Core
from coordination.driver_seam import DRIVER
from coordination.errors import BadConfig, JoinFailed
from coordination.locks import let_go
from coordination.peer import Peer
from coordination.state_dir import StateDir
from crdt.clock import Instant
from mesh.keyring import Keyring
from mesh.membership import LOCAL, PROFILES, Joined, MemberChanged
from mesh.membership import JoinFailed as JoinAttempt
from mesh.membership.identity import valid_name, valid_tags

__all__ = ["JOIN_SECONDS", "open_peer"]

JOIN_SECONDS = 10.0
MAX_EXPECT = 99

logger = logging.getLogger("mesh")


@asynccontextmanager
async def open_peer(
    *,
    name: str | None = None,
    bind: str | None = None,
    advertise: str | None = None,
    seeds: Sequence[str] = (),
    secret: str | bytes | Sequence[str | bytes] | None = None,
    expect: int = 1,
    voter: bool = True,
    state_dir: str | Path | None = None,
    fresh: bool = False,
    profile: str = "lan",
    tags: Mapping[str, str] | None = None,
    config: MeshConfig | None = None,
) -> AsyncIterator[Peer]:
    """Join a mesh, found one, or be one alone; leave it on exit.

    With `bind`, `seeds` and `secret` all absent it is a mesh of one in this process, without a network: the same code then
    runs on many nodes. Entering and leaving are checkpoints. Leaving is a *stop*: grants are released and the others are
    told; it takes about a second at the most.

    Parameters
    ----------
    name: 1 to 64 of `A-Z a-z 0-9 . _ -`, unique in the mesh. Without one it is invented, or kept in `state_dir`.
    bind: `host:port` to listen on, UDP and TCP; port 0 chooses one. With seeds and no `bind`: any port, on the address that
        reaches the first of them.
    advertise: `host:port` that others are told, where it is not what is bound.
    seeds: addresses of members, or of all founders; the own one may be among them.
    secret: of at least 32 bytes, the same on every node; several are a keyring, the first one seals.
    expect: how many voters found the mesh together; with 1 and seeds this node joins one that exists.
    voter: whether this peer votes on locks and leases.
    state_dir: a directory that keeps the name. (Promises are not durable yet: a voter that restarts abstains for max_ttl.)
    fresh: the operator's word that no lock of this mesh is alive: the founders vote at once.
    profile: `local`, `lan` or `wan`: how fast silence is noticed.
    tags: short texts that the members see.
    config: what the founders agree on.

    Raises
    ------
    BadConfig: arguments that cannot work together. BindFailed: the address is taken, or not of this machine.
    JoinFailed: no seed admitted this node within 10 s (`expect=1` with seeds). NameTaken: now or later, another process
    runs under this name.
    """
    store = StateDir(Path(state_dir)) if state_dir is not None else None
    try:
        settings, bind = _settings(name, bind, seeds, secret, expect, voter, store, fresh, profile, tags, config)

        def make(address: str, *, session: bytes, entropy: Callable[[int], bytes], random: Random, now: Instant) -> Assembly:
            placed = replace(settings, address=address or "local")
            return build(placed, session=session, entropy=entropy, random=random, now=now)

        async with DRIVER.get()(make, bind=bind, advertise=advertise) as (driver, assembly):
            core = Core(assembly, driver)
            joining = Joining(core)
            peer = Peer(core)
            assembly.gateway.operations.stats = peer.stats
            core.dispatch.handle(MemberChanged, _log_member)
            driver.subscribe(core.dispatch)
            if settings.networked and expect == 1 and settings.seeds:
                await joining.wait()
            else:
                await trio.lowlevel.checkpoint()
            if settings.networked and settings.voter:
                logger.warning("%s keeps no promises on disk: after a restart it does not vote for max_ttl", settings.name)
            try:
                yield peer
            finally:
                await let_go(core)
    finally:
        if store is not None:
            store.close()


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


def _log_member(event: MemberChanged) -> None:
    logger.info("%s at %s is %s", event.member.name, event.member.address or "no address", event.member.state.value)


def _settings(
    name: str | None,
    bind: str | None,
    seeds: Sequence[str],
    secret: str | bytes | Sequence[str | bytes] | None,
    expect: int,
    voter: bool,
    store: StateDir | None,
    fresh: bool,
    profile: str,
    tags: Mapping[str, str] | None,
    config: MeshConfig | None,
) -> tuple[Settings, str | None]:
    """The checked settings, and where to bind."""
    if isinstance(seeds, str):
        raise BadConfig(f"seeds={seeds!r} is one text: give a list of addresses")
    networked = bind is not None or bool(seeds) or secret is not None
    secrets = _secrets(secret)
    for address in (*seeds, *([bind] if bind is not None else [])):
        check_address(address)
    if not isinstance(expect, int) or not 1 <= expect <= MAX_EXPECT:
        raise BadConfig(f"expect={expect!r} is out of range: 1 to {MAX_EXPECT} founders")
    if profile not in PROFILES:
        raise BadConfig(f"profile={profile!r} is unknown: one of {', '.join(sorted(PROFILES))}")
    if name is not None and not valid_name(name):
        raise BadConfig(f"the name {name!r} is refused: use 1 to 64 of A-Z a-z 0-9 . _ -")
    pairs = tuple(sorted((tags or {}).items()))
    if not valid_tags(pairs):
        raise BadConfig("the tags are too large: at most 512 bytes of keys and values together, no empty key")
    named = name if name is not None else store.name() if store is not None else None
    founder = expect > 1 or not seeds
    if networked and founder:
        if named is None:
            raise BadConfig("a founder needs a name that it keeps: give name=…, or state_dir=…")
        if not voter:
            raise BadConfig("voter=False cannot found: let others found (expect=…), and join them by seeds")
        if expect > 1 and not seeds:
            raise BadConfig(f"expect={expect} needs the seeds of all founders; the same list may be given to each")
    if networked and bind is None:
        bind = own_address(seeds) if seeds else "127.0.0.1:0"
    if bind is not None and not secrets and not is_loopback(bind):
        raise BadConfig(f"bind={bind!r} is no loopback address: give a secret (`mesh keygen` makes one)")
    if store is not None and named is not None:
        store.keep(named)
    settings = Settings(
        name=named or invented_name(),
        address="",
        seeds=tuple(seeds),
        secrets=secrets,
        expect=expect,
        voter=voter and named is not None if networked else voter,
        fresh=fresh,
        networked=networked,
        profile=PROFILES[profile] if networked else LOCAL,
        tags=pairs,
        parameters=(config or MeshConfig()).parameters(),
    )
    return settings, bind


def _secrets(secret: str | bytes | Sequence[str | bytes] | None) -> tuple[str | bytes, ...]:
    if secret is None:
        return ()
    secrets = (secret,) if isinstance(secret, str | bytes) else tuple(secret)
    try:
        Keyring(secrets)
    except ValueError as problem:
        raise BadConfig(str(problem)) from None
    return secrets


def check_address(address: str) -> None:
    """Refuse what is no `host:port`."""
    host, mark, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    bad = not mark or not host or not port.isascii() or not port.isdigit() or int(port) > 65535
    if bad or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        raise BadConfig(f"the address {address!r} is none: write host:port, an IPv6 host in brackets")


def is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def own_address(seeds: Sequence[str]) -> str:
    """Any port, on the address of this machine from which the first seed is reached."""
    host, _, port = seeds[0].rpartition(":")
    host = host.strip("[]")
    try:
        family, kind, proto, _, target = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.connect(target)
            own = probe.getsockname()[0]
    except OSError as problem:
        raise BadConfig(f"no way to the seed {seeds[0]!r} ({problem.strerror or problem}): give bind=…") from None
    return f"[{own}]:0" if ":" in own else f"{own}:0"


def invented_name() -> str:
    import secrets

    return f"peer-{secrets.token_hex(6)}"
