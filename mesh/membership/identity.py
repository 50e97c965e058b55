"""Who this process is, and what a name and an advertised address may look like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from mesh.directives import Address, Boot

__all__ = [
    "MAX_STAMP",
    "MAX_TAGS",
    "MAX_TAGS_BYTES",
    "MAX_TAG_KEY",
    "MAX_TAG_VALUE",
    "Identity",
    "Tags",
    "is_reachable",
    "valid_name",
    "valid_tags",
]

Tags = tuple[tuple[str, str], ...]
"""Pairs of key and value, sorted by key, no key twice."""

MAX_TAGS_BYTES = 512
"""All keys and values together, in UTF-8: an entry must fit a datagram with room to spare."""

MAX_TAGS = 64
MAX_TAG_KEY = 64
MAX_TAG_VALUE = 256
"""Characters. Nobody reads an entry with more: a member that had such a tag would vanish from everyone's sight."""

BROADCAST = ip_address("255.255.255.255")

MAX_STAMP = 1 << 63
"""No boot is believed from here on (the year 6,429): there must be room above, or the name could never start again."""

MAX_PORT = 65_535
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True)
class Identity:
    """The one mutable record of this process, shared by the node and its parts.

    Only membership writes to it: it may raise the boot's stamp once, when it is admitted, and raises the incarnation."""

    name: str
    boot: Boot
    address: Address
    tags: Tags = ()
    incarnation: int = 0
    admitted: bool = False
    """The name is this process's, and the boot is final: it may be told of."""


def valid_name(name: str) -> bool:
    """1 to 64 of `A-Z a-z 0-9 . _ -`."""
    return _NAME.fullmatch(name) is not None


def valid_tags(tags: Tags) -> bool:
    keys = [key for key, _ in tags]
    size = sum(len(key.encode()) + len(value.encode()) for key, value in tags)
    return (
        len(tags) <= MAX_TAGS
        and size <= MAX_TAGS_BYTES
        and keys == sorted(set(keys))
        and all(0 < len(key) <= MAX_TAG_KEY and len(value) <= MAX_TAG_VALUE for key, value in tags)
    )


@lru_cache(maxsize=4_096)
def is_reachable(address: Address) -> bool:
    """Whether others could send to this address: a numeric host that is no wildcard, group or broadcast, and a port."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or not 0 < int(port) <= MAX_PORT:
        return False
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        ip = ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return False
    return bracketed == (ip.version == 6) and not ip.is_unspecified and not ip.is_multicast and ip != BROADCAST
