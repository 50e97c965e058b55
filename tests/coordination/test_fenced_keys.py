"""`kv.put(fence=held)`: the token leads the order, whoever writes late, and wherever (L7)."""

from __future__ import annotations

import pytest
import trio

from coordination import Fenced, LeaseLost, Peer, connect, open_peer
from coordination.agreed.holding.holder import Holder
from crdt.cell import KEY, Cell
from tests.coordination.meshes import SECRET, mesh_of, until


async def test_a_fenced_key_is_written_by_the_holder_alone() -> None:
    async with mesh_of(3) as (a, b, _):
        async with a.lock("jobs", ttl=5) as held:
            stamp = await a.kv.put("report", 1, fence=held)
            entry = a.kv.entry("report")
            assert entry is not None and (entry.fence, entry.stamp) == (held.token, stamp)
            with pytest.raises(Fenced, match="of 'lock jobs': only the holder"):
                await a.kv.put("report", 2)
            with pytest.raises(Fenced):
                await a.kv.delete("report")
            await until(lambda: b.kv.get("report") == 1)
            with pytest.raises(Fenced):
                await b.kv.put("report", 2)
            await a.kv.put("report", 3, fence=held, ttl=60)
        async with b.lock("jobs", ttl=5) as held, b.lock("other", ttl=5) as other:
            with pytest.raises(Fenced, match="'lock other' is another lock's"):
                await b.kv.put("report", 4, fence=other)
            await until(lambda: b.kv.get("report") == 3)
            assert await b.kv.delete("report", fence=held)
            with pytest.raises(Fenced):
                await b.kv.put("report", 5)
            with pytest.raises(Fenced):
                await b.kv.put("report", 5, fence=other)
        await until(lambda: a.kv.get("report") is None)
        with pytest.raises(Fenced):
            await a.kv.put("report", 6)


async def test_a_fence_that_is_not_held_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_peer() as peer:
        held = await peer.lock("l", ttl=5).acquire()
        with monkeypatch.context() as patch:
            patch.setattr(Holder, "valid", lambda *_: False)
            with pytest.raises(LeaseLost):
                await peer.kv.put("k", 1, fence=held)
        await held.release()
        for call in (peer.kv.put("k", 1, fence=held), peer.kv.delete("k", fence=held)):
            with pytest.raises(LeaseLost, match="released"):
                await call
        assert peer._core.assembly.store.cell(0, "k") is None


async def test_a_write_that_did_not_know_the_fence_loses_and_its_writer_is_told() -> None:
    async with mesh_of(3) as (a, b, _):
        async with b.lock("jobs", ttl=5) as held:
            core = a._core
            replication = core.assembly.replication
            # A fenced write that was stamped earlier, and arrives after an unfenced one of this peer.
            early = core.assembly.clock.tick(core.now()) - (1000 << 16)
            async with a.watch(key="report") as changes:
                told = aiter(changes)
                stamp = await a.kv.put("report", "unfenced")
                events = [await anext(told)]
                order = (held.token, early, b._core.identity.boot.session, 0, 0, b"")
                cell = Cell(KEY, "report", order, b"\x66fenced", None, order[2], 1 << 40, b"", "lock/jobs")
                core.assembly.store.apply(cell, core.assembly.clock.read(core.now()))
                core.driver.command(replication, replication._written(core.now()))
                with trio.fail_after(5):
                    events += [await anext(told), await anext(told)]
            assert [(event.kind, event.value, event.old) for event in events] == [
                ("put", "unfenced", None),
                ("fenced", None, "unfenced"),
                ("put", "fenced", "unfenced"),
            ]
            assert (events[1].stamp, events[1].origin) == (stamp, b.name)
            with pytest.raises(Fenced):
                await a.kv.put("report", "again")


async def test_a_thin_client_fences_too() -> None:
    async with mesh_of(3) as (a, b, _), connect(a.address, secret=SECRET) as client:
        async with client.lock("jobs", ttl=5) as held:
            await client.kv.put("report", 1, fence=held)
            entry = await client.kv.entry("report")
            assert entry is not None and entry.fence == held.token
            with pytest.raises(Fenced) as caught:
                await client.kv.put("report", 2)
            assert caught.value.lock == "lock/jobs"
            with pytest.raises(Fenced):
                await client.kv.delete("report")
            assert await client.kv.delete("report", fence=held)
        with pytest.raises(LeaseLost):
            await client.kv.put("report", 3, fence=held)
        await until(lambda: refuses(b))


def refuses(peer: Peer) -> bool:
    cell = peer._core.assembly.store.cell(0, "report")
    return cell is not None and cell.body is None and cell.order[0] != 0
