"""Budgets: so much of something, of which nobody ever spends more than there is, in any partition, crash or restart.

Rights to spend are granted in chunks by an atomic register and spent locally (`coordination.counting.purse` says why that is
safe, and what a crash costs). They are asked for before they end, in the background; given back when the peer leaves, and when
another member has none left."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

import trio

from coordination.agreed.vocabulary.events import Called, CallFailed, Failure
from coordination.arguments.calling import cas_op, encode_atomic, error_of, register_key
from coordination.arguments.checks import check_key, check_spending
from coordination.core import Core
from coordination.counting.purse import CompareAndSet, Ledger, Outcome, Purse, Read, Request, Want
from coordination.errors import BadValue, Exhausted, LimitDiffers, MeshError, NoQuorum, OutcomeUnknown
from coordination.rights import RightsAsked
from mesh.directives import Event
from mesh.values import decode_value

__all__ = ["Budget", "Budgets"]

GIVE_BACK_SECONDS = 1.0
"""For which leaving waits for rights to be given back. What was not is counted as spent."""
ASK_SECONDS = 0.25
"""For which who has none left waits for others to give back theirs."""
LOOK_SECONDS = 0.02
FRUITLESS_SECONDS = 1.0
"""For which others are not asked again when they gave nothing."""
NS = 1_000_000_000


class Budget:
    """One budget: `peer.budget(name, limit=100)`. All handles of one name share what this peer holds.

    `limit - value`, so to speak, never falls below zero and never rises above the limit, whatever happens to whom. What a
    process that crashes held and had not spent counts as spent (at most one chunk): see `peer.budget` for its size."""

    __slots__ = ("_account", "_core", "_purse", "name")

    def __init__(self, account: Account) -> None:
        self._account = account
        self._core = account.core
        self._purse = account.purse
        self.name = account.name

    async def spend(self, n: int = 1) -> None:
        """Spend `n`, or raise and spend nothing. A checkpoint, before anything is spent.

        Of rights that are here it is local; else the register grants more, or the others give back theirs (a quarter of a
        second at the most). Cancelled, nothing was spent. While there is no roster yet it waits for one.

        Raises
        ------
        Exhausted: there is not so much left, or what is left is held by members that do not answer.
        LimitDiffers: the budget has another limit. NoQuorum, MemoryLost: rights are wanted, and the register does not answer.
        BadValue: `n` is no integer from 1 to 2**64 - 1, the register holds something else, or there is no budget and no limit.
        """
        check_spending(n, self.name)
        await self._core.turn()
        self._core.driver.check()
        purse = self._purse
        if not purse.waiting and purse.spend(n):
            if purse.low:
                self._account.kick(prefetch=True)
            return
        await self._account.insist(Want.SPEND, n)

    def try_spend(self, n: int = 1) -> bool:
        """Spend `n` of the rights that are here; False if there are not so many, though there may be elsewhere. Local and
        synchronous, no checkpoint; more are asked for in the background. Raises `BadValue`."""
        check_spending(n, self.name)
        self._core.driver.check()
        purse = self._purse
        done = not purse.waiting and purse.spend(n)
        if not done or purse.low:
            self._account.kick(prefetch=True)
        return done

    async def refund(self, n: int = 1) -> None:
        """Take back what was spent: by this peer, or by anyone. A checkpoint.

        It is also the operator's word that what a crashed process held was not spent.

        Raises
        ------
        BadValue: more than was spent, as far as the register knows: members that do not answer may not have settled theirs.
        OutcomeUnknown: it was sent, and may or may not have happened. The rest as for `spend`.
        """
        check_spending(n, self.name)
        await self._core.turn()
        self._core.driver.check()
        if self._purse.refund(n):
            return
        await self._account.insist(Want.REFUND, n)

    async def resize(self, limit: int) -> None:
        """Change the limit, for everyone: who names the old one is refused from then on. A checkpoint.

        Raises
        ------
        BadValue: below what is spent or handed out. The rest as for `refund`.
        """
        check_spending(limit, self.name, "limit")
        await self._core.turn()
        await self._account.ask(Want.RESIZE, limit)

    async def remaining(self) -> int:
        """What can surely be spent here: rights at hand, and what the register can grant at a moment of the call. What others
        hold and have not spent comes on top. A checkpoint. Raises as `spend`, but `Exhausted`."""
        await self._core.turn()
        ledger = await self._account.ask(Want.LOOK, 0)
        return ledger.free + self._purse.rights if ledger is not None else 0

    @property
    def rights(self) -> int:
        """What can be spent here without asking anyone. Local."""
        return self._purse.rights


class Account:
    """What this peer holds of one budget, and its way to the register."""

    def __init__(self, core: Core, name: str, limit: int | None, chunk: int | None) -> None:
        self.core = core
        self.name = name
        self._key = register_key(f"budget/{name}")
        identity = core.identity
        self.purse = Purse(limit, identity.name, identity.boot.session.hex(), chunk, self._sharers)
        self._fruitless_until = 0

    def _sharers(self) -> int:
        return len(self.core.assembly.membership.names_alive())

    # --- the register ------------------------------------------------------------------------------------------------

    def kick(self, *, prefetch: bool = False) -> None:
        """Go on with what is wanted of the register. Not a checkpoint. Raises if the peer has ended."""
        step = self.purse.next(prefetch=prefetch)
        if step is None:
            return
        core, caller = self.core, self.core.assembly.agreed.caller
        op = cas_op(encode_atomic(step.old), encode_atomic(step.new)) if isinstance(step, CompareAndSet) else None
        number = caller.next_call()
        core.dispatch.call(number).on_event = partial(self._told, number, step, prefetch)
        try:
            core.driver.command(caller, caller.call(number, self._key, op, core.now()))
        except MeshError as error:  # the peer has ended
            core.dispatch.called(number)
            self.purse.failed(error, unknown=False)
            raise

    def _told(self, number: int, step: Read | CompareAndSet, prefetch: bool, event: Event) -> None:
        self.core.dispatch.called(number)
        if isinstance(event, CallFailed):
            self.purse.failed(error_of(event, f"budget/{self.name}"), unknown=event.why is Failure.UNKNOWN)
            return
        assert isinstance(event, Called)
        if isinstance(step, Read):
            assert isinstance(event.outcome, bytes)
            self.purse.was_read(decode_value(event.outcome))
        else:
            self.purse.was_set(bool(event.outcome))
        with suppress(MeshError):
            self.kick(prefetch=prefetch and isinstance(step, Read))

    async def ask(self, want: Want, n: int) -> Ledger | None:
        """Have something done with the register. Raises as `Budget` says."""
        arrived = trio.Event()
        request = Request(want, n, lambda _: arrived.set())
        self.purse.ask(request)
        try:
            self.kick()
            await arrived.wait()
        except BaseException:
            if request.outcome is Outcome.DONE and want is Want.SPEND and not self.purse.refund(n):
                self.purse.ask(Request(Want.REFUND, n))
            self.purse.withdraw(request)
            with suppress(MeshError):
                self.kick()
            raise
        if request.outcome is not Outcome.DONE:
            raise self._error(request)
        return request.ledger

    async def insist(self, want: Want, n: int) -> None:
        """Have something done, with the help of the others if the register alone does not allow it: they give back rights that
        they do not need, and settle what they have spent."""
        try:
            await self.ask(want, n)
        except (Exhausted, BadValue):
            if not self._helped(n if want is Want.SPEND else 0) or not await self._again(want, n):
                raise

    def _helped(self, n: int) -> bool:
        """Ask those for help who are there and hold anything; False if they cannot have enough, or gave nothing just now."""
        core, ledger = self.core, self.purse.known
        if ledger is None or core.now().mono < self._fruitless_until:
            return False
        own, alive = core.identity.name, core.assembly.membership.is_alive
        holders = [name for name, entry in ledger.holders.items() if entry.rights and name != own and alive(name)]
        there = ledger.free + self.purse.rights + sum([ledger.holders[name].rights for name in holders])
        if not holders or there < n:
            return False
        rights = core.assembly.rights
        core.driver.command(rights, rights.ask(self.name, tuple(holders)))
        return True

    async def _again(self, want: Want, n: int) -> bool:
        """Try until the others have answered, or it takes too long."""
        with trio.move_on_after(ASK_SECONDS):
            while True:
                await trio.sleep(LOOK_SECONDS)
                with suppress(Exhausted, BadValue):
                    await self.ask(want, n)
                    return True
        self._fruitless_until = self.core.now().mono + int(FRUITLESS_SECONDS * NS)
        return False

    def _error(self, request: Request) -> MeshError:
        name, ledger = self.name, request.ledger
        match request.outcome:
            case Outcome.EXHAUSTED:
                assert ledger is not None
                return Exhausted(name, request.n, ledger.free + self.purse.rights)
            case Outcome.OTHER_LIMIT:
                assert ledger is not None and self.purse.limit is not None
                how = "name the same one everywhere, or change it with `resize`"
                return LimitDiffers(f"the budget {name!r}", self.purse.limit, ledger.limit, how)
            case Outcome.NO_BUDGET:
                return BadValue(f"there is no budget {name!r} yet: name its limit")
            case Outcome.REFUSED if request.want is Want.RESIZE:
                assert ledger is not None
                spent = ledger.limit - ledger.free
                return BadValue(f"the limit of {name!r} cannot be {request.n}: {spent} are spent or handed out")
            case Outcome.REFUSED:
                return BadValue(f"{request.n} of {name!r} cannot be refunded: less than that is known to be spent")
            case Outcome.FOREIGN:
                return BadValue(f"the register 'budget/{name}' holds something else than a budget: use another name")
            case Outcome.UNKNOWN:
                return OutcomeUnknown(f"the change of the budget {name!r} may or may not have happened: {request.error}")
        assert isinstance(request.error, MeshError)
        if isinstance(request.error, OutcomeUnknown):  # rights may have been granted; nothing was done with them
            what = f"the budget {name!r} could not be asked, and nothing was spent"
            return NoQuorum(what, (), "its register does not answer")
        return request.error

    # --- giving back -------------------------------------------------------------------------------------------------

    def asked(self) -> None:
        """Another member has no rights left."""
        if self.purse.holds and not self.purse.waiting:
            self.purse.ask(Request(Want.GIVE_BACK))
            with suppress(MeshError):
                self.kick()

    async def give_back(self) -> None:
        if self.purse.holds:
            await self.ask(Want.GIVE_BACK, 0)


class Budgets:
    """What one peer holds of all its budgets."""

    __slots__ = ("_accounts", "_core")

    def __init__(self, core: Core) -> None:
        self._core = core
        self._accounts: dict[str, Account] = {}
        core.dispatch.handle(RightsAsked, self._asked)
        core.farewells.append(self.give_back)

    def get(self, name: str, limit: int | None, chunk: int | None) -> Budget:
        """As `Peer.budget` says."""
        check_key(name, "budget name")
        if limit is not None:
            check_spending(limit, name, "limit")
        if chunk is not None and chunk != 0:
            check_spending(chunk, name, "chunk")
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = Account(self._core, name, limit, chunk)
        elif limit is not None:
            account.purse.name_limit(limit)
            if account.purse.limit != limit:
                how = "name the same one everywhere, or change it with `resize`"
                raise LimitDiffers(f"the budget {name!r}", limit, account.purse.limit or 0, how)
        if chunk is not None:
            account.purse.chunk = chunk
        return Budget(account)

    def _asked(self, event: Any) -> None:
        account = self._accounts.get(event.budget)
        if account is not None:
            account.asked()

    async def give_back(self) -> None:
        """Give back what is held, because the peer leaves. Waits `GIVE_BACK_SECONDS` at the most, shielded."""
        holding = [account for account in self._accounts.values() if account.purse.holds]
        if not holding:
            return
        with trio.move_on_after(GIVE_BACK_SECONDS, shield=True):
            async with trio.open_nursery() as nursery:
                for account in holding:
                    nursery.start_soon(_quietly, account)


async def _quietly(account: Account) -> None:
    with suppress(MeshError):  # what cannot be given back is counted as spent
        await account.give_back()
