"""What users hand in, checked once, at the call: one clear sentence with the wrong value and what to do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from coordination.agreed.vocabulary.registers import register_of, split_register
from coordination.errors import BadConfig, BadKey, BadTTL, BadValue, TooLarge
from mesh.membership.identity import valid_name
from mesh.replication import MAJORITY, MAX_ACKS
from mesh.values import ValueTooLargeError, ValueTypeError, encode_value

__all__ = [
    "explained_key",
    "followed_key",
    "MAX_KEY_BYTES",
    "MIN_KEY_TTL",
    "MIN_LEASE_TTL",
    "check_acks",
    "check_amount",
    "check_delay",
    "check_handed",
    "check_hold",
    "check_key",
    "check_keys",
    "check_lease_ttl",
    "check_name",
    "check_names",
    "check_prefix",
    "gauge_prefix",
    "check_pairs",
    "check_permits",
    "check_spending",
    "encode_checked",
    "key_ttl_ms",
]

MAX_KEY_BYTES = 512
MIN_KEY_TTL = 1.0
"""Seconds: below it the spreading of a key would take a good part of its life."""
MAX_KEY_TTL = 10 * 365 * 86_400.0
MIN_LEASE_TTL = 0.5
"""Seconds: below it the renewals of a busy process would be late by chance."""
MAX_ADD_BITS = 4096
MAX_PERMITS = (1 << 31) - 1
MAX_BUDGET = (1 << 64) - 1


def check_key(key: str, what: str = "key") -> str:
    """A key, or the name of a lock or counter: text of 1 to 512 bytes in UTF-8."""
    if type(key) is str and 0 < len(key) <= MAX_KEY_BYTES // 4 and "\0" not in key and key.isascii():
        return key
    if not isinstance(key, str):
        raise BadKey(f"the {what} {key!r} is of type {type(key).__name__}: use text")
    if not key:
        raise BadKey(f"the {what} is empty: use 1 to {MAX_KEY_BYTES} bytes of text")
    if "\0" in key:
        raise BadKey(f"the {what} {key!r} holds a zero character: leave it out")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise BadKey(f"the {what} {key!r} holds lone surrogates, which is no UTF-8: clean it first") from None
    if size > MAX_KEY_BYTES:
        raise BadKey(f"the {what} {key[:40]!r}… is {size} bytes long, above {MAX_KEY_BYTES}: shorten it, or hash it")
    return key


def check_prefix(prefix: str) -> str:
    """What keys or names begin with: as a key, or "" for all of them."""
    return prefix if isinstance(prefix, str) and not prefix else check_key(prefix, "prefix")


def check_keys(keys: Iterable[str]) -> list[str]:
    """Several keys."""
    if isinstance(keys, str) or not isinstance(keys, Iterable):
        raise BadConfig(f"{keys!r} is {'one text' if isinstance(keys, str) else 'no list'}: give the keys as a list")
    return [check_key(key) for key in keys]


def check_pairs(values: Mapping[str, object]) -> list[tuple[str, bytes]]:
    """Several keys with their values, encoded."""
    if not isinstance(values, Mapping):
        raise BadConfig(f"{values!r} is of type {type(values).__name__}: give a dict of keys and their values")
    return [(check_key(key), encode_checked(value)) for key, value in values.items()]


def followed_key(lock: str) -> str:
    """The register that a user means who watches a lock: where what it names cannot be held, it is a lock's name."""
    register = explained_key(lock)
    return f"lock/{lock}" if split_register(register)[0] == "atomic" else register


def explained_key(key: str) -> str:
    """The register that a user means who asks about a key: a lock, unless it names another kind.

    The name alone is as long as a name may be: the kind before it does not count."""
    if not isinstance(key, str) or not key:
        check_key(key)
    register = register_of(key)
    check_key(split_register(register)[1])
    return register


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names of members, each once."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise BadConfig(f"{names!r} is {'one text' if isinstance(names, str) else 'no list'}: give the names as a list")
    return tuple(dict.fromkeys([check_name(name) for name in names]))


def check_name(name: str) -> str:
    """A member's."""
    if not isinstance(name, str) or not valid_name(name):
        raise BadConfig(f"{name!r} is no name of a member: 1 to 64 of A-Z a-z 0-9 . _ -")
    return name


def seconds(value: float, what: str) -> float:
    """A number of seconds; an int that is above every float is infinite."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
        if not math.isnan(number):
            return number
    raise BadTTL(f"the {what} {value!r} is no number of seconds")


def key_ttl_ms(ttl: float | None) -> int:
    """The ttl of a key in ms, 0 for none."""
    if ttl is None:
        return 0
    ttl = seconds(ttl, "ttl")
    if not MIN_KEY_TTL <= ttl <= MAX_KEY_TTL:
        raise BadTTL(f"the ttl of {ttl:g} s is out of range: at least {MIN_KEY_TTL:g} s, at most ten years")
    return round(ttl * 1000)


def check_lease_ttl(ttl: float, longest_ns: int) -> int:
    """The ttl of a lock or lease in ns."""
    ttl = seconds(ttl, "ttl")
    longest = longest_ns / 1e9
    if not MIN_LEASE_TTL <= ttl <= longest:
        raise BadTTL(
            f"the ttl of {ttl:g} s is out of range: {MIN_LEASE_TTL:g} s to {longest:g} s, the max_ttl that this mesh was "
            "founded with"
        )
    return round(ttl * 1e9)


def check_delay(delay: float, ttl_ns: int, longest_ns: int) -> int:
    """The delay behind a lock that was not released, in ns. The voters wait for both in one."""
    delay = seconds(delay, "lock_delay")
    if delay < 0:
        raise BadTTL(f"the lock_delay of {delay:g} s is out of range: 0 or more")
    if delay * 1e9 + ttl_ns > longest_ns:
        raise BadTTL(
            f"the ttl of {ttl_ns / 1e9:g} s and the lock_delay of {delay:g} s together are above {longest_ns / 1e9:g} s, the "
            "max_ttl that this mesh was founded with: shorten one of them"
        )
    return round(delay * 1e9)


def check_hold(longest: float | None) -> float | None:
    """For how long something may be held."""
    if longest is None:
        return None
    longest = seconds(longest, "max_hold")
    if not 0 < longest < math.inf:
        raise BadTTL(f"the max_hold of {longest:g} s is out of range: above 0 and finite, or None for no limit")
    return longest


def check_handed(lease: object, fence: object, user: object) -> None:
    """What a write is to end with, and what it is made under: what an `async with` gave, not what it was given for, and of the
    very peer that writes. (Whether it still holds is told by that peer's clock alone, and another mesh knows nothing of it.)"""
    if lease is not None and not callable(getattr(lease, "bind", None)):
        raise BadConfig(f"lease={lease!r} is no lease: give what `async with peer.lease()` or `async with peer.lock(…)` gave")
    if fence is not None and type(getattr(fence, "token", None)) is not int:
        raise BadConfig(f"fence={fence!r} is no lock that is held: give what `async with peer.lock(…)` gave")
    for what, handed in (("lease", lease), ("fence", fence)):
        if handed is not None and not handed.belongs(user):  # type: ignore[attr-defined]
            raise BadConfig(f"{what}={handed!r} is held by another peer than the one that writes: write with that one")


def check_permits(limit: int, permits: int, name: str) -> None:
    """What a semaphore has, and what is taken of it."""
    for what, value in (("limit", limit), ("permits", permits)):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_PERMITS:
            raise BadValue(f"the {what} {value!r} of {name!r} is refused: an integer from 1 to {MAX_PERMITS}")
    if permits > limit:
        raise BadValue(f"{permits} permits of {name!r} can never be had: there are {limit}")


def check_acks(acks: int | str | None) -> int | None:
    """How many other members must have a write, `MAJORITY` for those; None if nobody need."""
    if acks is None:
        return None
    if acks == "majority":
        return MAJORITY
    if not isinstance(acks, int) or isinstance(acks, bool) or not 1 <= acks <= MAX_ACKS:
        raise BadValue(f"acks={acks!r} is refused: 1 to {MAX_ACKS} other members, or 'majority' (of the voters)")
    return acks


def check_amount(n: int, counter: str) -> int:
    """What is added to a counter: an integer of at most 512 bytes."""
    if not isinstance(n, int) or isinstance(n, bool):
        raise BadValue(f"{n!r} cannot be added to counter {counter!r}: use an integer")
    if n.bit_length() > MAX_ADD_BITS:
        raise TooLarge(f"{n.bit_length()} bits are too many for counter {counter!r}: at most {MAX_ADD_BITS}")
    return n


def check_spending(n: int, name: str, what: str = "amount") -> int:
    """What is spent of a budget, or its limit."""
    if not isinstance(n, int) or isinstance(n, bool) or not 0 < n <= MAX_BUDGET:
        raise BadValue(f"the {what} {n!r} of the budget {name!r} is refused: an integer from 1 to {MAX_BUDGET}")
    return n


def encode_checked(value: object) -> bytes:
    """A value's CBOR."""
    try:
        return encode_value(value)
    except ValueTypeError as problem:
        raise BadValue(str(problem)) from None
    except ValueTooLargeError as problem:
        raise TooLarge(str(problem)) from None


def gauge_prefix(name: str) -> str:
    """Under which contributions stand. Raises `BadKey`."""
    check_key(name, "gauge name")
    return f"gauge/{name}/"
