"""Strategies that draw cells."""

from __future__ import annotations

from zlib import crc32

from hypothesis import strategies as st

from crdt.cell import COUNTER, KEY, LEASE_END, Cell, Order, drop

ACTORS = tuple(bytes((65 + n,)) * 16 for n in range(3))
UNKNOWN = 77

actors = st.sampled_from(ACTORS)
stamps = st.integers(1, 3)


def _dot(order: Order, actor: bytes, again: int) -> tuple[bytes, int]:
    """One dot a cell: of its order, and of how often it was put again as it is."""
    return actor, 1 + crc32(repr((order, again)).encode())


@st.composite
def key_cells(draw: st.DrawFn) -> Cell:
    """Of one place, as correct replicas would write them: the put decides on value, lease and whether there is a ttl."""
    fence, stamp, actor = draw(st.integers(0, 1)), draw(stamps), draw(actors)
    put = (fence, stamp, actor)
    variant = (fence + stamp + actor[0]) % 4
    touched = draw(st.integers(0, 2))
    expiry, touch = 0, (0, b"")
    if variant == 0:
        expiry = 10 + 10 * touched
        touch = (stamp + touched, draw(actors)) if touched else touch
    order = (*put, expiry, *touch)
    body = None if variant == 1 else repr(put).encode()
    dot = _dot(order, draw(actors), draw(st.integers(0, 1)))
    cell = Cell(KEY, "k", order, body, "lease" if variant == 2 else None, *dot, b"", "lock/l" * fence)
    return drop(cell) if expiry and draw(st.booleans()) else cell


@st.composite
def counter_cells(draw: st.DrawFn) -> Cell:
    epoch = draw(st.sampled_from(((0, b""), (5, ACTORS[0]), (5, ACTORS[1]))))
    order = (*epoch, draw(st.integers(0, 3)), draw(st.integers(0, 3)))
    return Cell(COUNTER, "c\0" + ACTORS[0].hex(), order, bytes((epoch[0],)), None, *_dot(order, ACTORS[0], 0))


@st.composite
def end_cells(draw: st.DrawFn) -> Cell:
    order = (draw(stamps), draw(actors))
    return Cell(LEASE_END, "lease", order, b"", None, *_dot(order, draw(actors), draw(st.integers(0, 1))))


@st.composite
def unknown_cells(draw: st.DrawFn) -> Cell:
    """Of a kind that only a newer version knows, with orders whose elements are not of one type."""
    order = tuple(draw(st.lists(st.integers(0, 2) | st.sampled_from((b"", b"a", b"b")), max_size=3)))
    return Cell(UNKNOWN, "u", order, repr(order).encode(), None, *_dot(order, draw(actors), draw(st.integers(0, 1))))


same_place = st.sampled_from((key_cells(), counter_cells(), end_cells(), unknown_cells())).flatmap(
    lambda cells: st.tuples(cells, cells, cells)
)

u64 = st.integers(0, 2**64 - 1)
numbers = u64 | st.integers(0, 2**8192 - 1)
names = st.text(max_size=40)
anyone = st.binary(min_size=16, max_size=16)
bodies = st.binary(max_size=300)
dots = st.integers(1, 2**64 - 1)


@st.composite
def any_cells(
    draw: st.DrawFn,
    names: st.SearchStrategy[str] = names,
    anyone: st.SearchStrategy[bytes] = anyone,
    dots: st.SearchStrategy[int] = dots,
    u64: st.SearchStrategy[int] = u64,
) -> Cell:
    """Whatever `cell_of` lets pass: also what no correct replica writes."""
    kind = draw(st.sampled_from((KEY, COUNTER, LEASE_END, UNKNOWN)))
    short = st.binary(max_size=20)
    order: Order
    body, bound, hash_ = draw(st.none() | bodies), draw(st.none() | names), b""
    if kind == KEY:
        order = (draw(u64), draw(u64), draw(anyone), draw(st.just(0) | u64), draw(u64), draw(short))
        if order[3]:
            bound = None
            hash_ = draw(st.just(b"") | st.binary(min_size=8, max_size=8)) if body is None else b""
    elif kind == COUNTER:
        order = (draw(u64), draw(short), draw(numbers), draw(numbers))
        body = bytes((draw(st.integers(0, 23)),))
    elif kind == LEASE_END:
        order, body = (draw(u64), draw(anyone)), b""
    else:
        order = tuple(draw(st.lists(numbers | short, max_size=16)))
    return Cell(kind, draw(names), order, body, bound, draw(anyone), draw(dots), hash_)
