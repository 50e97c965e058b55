"""The arguments of `open_peer`, checked before anything is bound: one clear sentence with the wrong value and what to do."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path

from coordination.arguments.tags import check_tags
from coordination.assembly import Settings
from coordination.config import MeshConfig
from coordination.errors import BadConfig
from coordination.opening.driver_seam import State
from mesh.keyring import Keyring
from mesh.membership import LOCAL, PROFILES
from mesh.membership.identity import valid_name

__all__ = ["Secrets", "check_address", "checked_directory", "checked_secrets", "checked_settings"]

MAX_EXPECT = 99
LEAST_FADING, MOST_FADING = 1_000, 100_000_000

Secrets = str | bytes | Sequence[str | bytes] | None
"""One secret, or several of which the first one seals."""


def checked_settings(
    name: str | None,
    bind: str | None,
    advertise: str | None,
    seeds: Sequence[str],
    secret: Secrets,
    expect: int,
    voter: bool,
    state: State | None,
    fresh: bool,
    profile: str,
    tags: Mapping[str, str] | None,
    config: MeshConfig | None,
    max_fading: int,
) -> Settings:
    """The settings of a node whose address is not known yet.

    Raises `BadConfig`. The name is kept in the state directory, if there is one."""
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise BadConfig(f"seeds={seeds!r} is {'one text' if isinstance(seeds, str) else 'no list'}: give a list of addresses")
    networked = bind is not None or bool(seeds) or secret is not None
    keys = checked_secrets(secret)
    for address in (*seeds, *[each for each in (bind, advertise) if each is not None]):
        check_address(address)
    for what, word in (("voter", voter), ("fresh", fresh)):
        if not isinstance(word, bool):  # "no" would be taken for a yes
            raise BadConfig(f"{what}={word!r} is refused: True or False")
    if not isinstance(expect, int) or isinstance(expect, bool) or not 1 <= expect <= MAX_EXPECT:
        raise BadConfig(f"expect={expect!r} is out of range: 1 to {MAX_EXPECT} founders")
    if not isinstance(profile, str) or profile not in PROFILES:
        raise BadConfig(f"profile={profile!r} is unknown: one of {', '.join(sorted(PROFILES))}")
    if config is not None and not isinstance(config, MeshConfig):
        raise BadConfig(f"config={config!r} is refused: give MeshConfig(…)")
    if name is not None and (not isinstance(name, str) or not valid_name(name)):
        raise BadConfig(f"the name {name!r} is refused: use 1 to 64 of A-Z a-z 0-9 . _ -")
    if type(max_fading) is not int or not LEAST_FADING <= max_fading <= MOST_FADING:
        raise BadConfig(f"max_fading={max_fading!r} is out of range: {LEAST_FADING:,} to {MOST_FADING:,} keys")
    pairs = check_tags(tags or {})
    named = name if name is not None else state.name() if state is not None else None
    founder = expect > 1 or not seeds
    if networked and founder:
        if named is None:
            raise BadConfig("a founder needs a name that it keeps: give name=…, or state_dir=…")
        if not voter:
            raise BadConfig("voter=False cannot found: let others found (expect=…), and join them by seeds")
        if expect > 1 and not seeds:
            raise BadConfig(f"expect={expect} needs the seeds of all founders; the same list may be given to each")
    if bind is not None and not keys and not is_loopback(bind):
        raise BadConfig(f"bind={bind!r} is no loopback address: give a secret (`mesh keygen` makes one)")
    if state is not None:
        if named is not None:
            state.keep(named)
        if fresh and state.store.tables.get("roster"):
            raise BadConfig(
                f"fresh=True says that no lock of this mesh is alive, and {str(state.path)!r} remembers a mesh: leave it out, "
                "or empty that directory"
            )
    return Settings(
        name=named or invented_name(),
        address="",
        seeds=tuple(seeds),
        secrets=keys,
        expect=expect,
        voter=voter and named is not None if networked else voter,
        fresh=fresh,
        networked=networked,
        profile=PROFILES[profile] if networked else LOCAL,
        tags=pairs,
        parameters=(config or MeshConfig()).parameters(),
        max_fading=max_fading,
    )


def checked_secrets(secret: Secrets) -> tuple[str | bytes, ...]:
    if secret is None:
        return ()
    keys = tuple(secret) if isinstance(secret, Sequence) and not isinstance(secret, str | bytes) else (secret,)
    try:
        Keyring(keys)
    except ValueError as problem:
        raise BadConfig(str(problem)) from None
    return keys


def checked_directory(state_dir: str | os.PathLike[str]) -> Path:
    if not isinstance(state_dir, str | os.PathLike) or not str(state_dir):  # an empty text is where the program happens to run
        raise BadConfig(f"state_dir={state_dir!r} is refused: give the path of a directory of this node's own")
    return Path(state_dir)


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


def invented_name() -> str:
    return f"peer-{secrets.token_hex(6)}"
