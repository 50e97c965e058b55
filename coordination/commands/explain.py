"""`mesh explain KEY`: who keeps a register, who holds it and waits for it, and why nothing goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coordination.agreed.vocabulary.roster import RESET_SHIFT
from coordination.commands.common import client_options, read_secret, run
from coordination.output import as_json, in_line, say

if TYPE_CHECKING:
    from coordination.agreed.vocabulary.events import Explanation

__all__ = ["command", "described", "fields", "how"]


@click.command("explain")
@client_options
@click.argument("key")
def command(key: str, nodes: tuple[str, ...], secret_file: Path | None, json_output: bool) -> None:
    """Explain a lock, or another register: rwlock/NAME, semaphore/NAME, election/NAME, barrier/NAME, atomic/NAME, budget/NAME,
    limiter/NAME, lease/...

    Each of its voters is asked what it keeps. Who is silent or does not vote yet is named, and why a change is refused.

    \b
    Example:
      mesh explain jobs/nightly
      mesh explain semaphore/seats --json
    """
    secret = read_secret(secret_file)

    async def work() -> None:
        from coordination import connect

        async with connect(*nodes, secret=secret) as client:
            found = await client.explain(key)
        if json_output:
            say(as_json(fields(found)))
        else:
            for line in described(found):
                say(line)

    run(work)


def fields(found: Explanation) -> dict[str, Any]:
    """The same as JSON."""
    ballots = {voter: (promised, accepted) for voter, promised, accepted in found.ballots}
    abstaining = dict(found.abstaining)
    standings = {voter: rest for voter, *rest in found.standings}
    voters = []
    for name in found.group:
        promised, accepted = ballots.get(name, (None, None))
        left = abstaining.get(name, 0.0)
        row = {"name": name, "silent": name in found.missing, "promised": promised, "accepted": accepted, "votes_in": left}
        if name in standings:
            row["epoch"], row["closed"], row["started"] = standings[name]
        voters.append(row)
    return {
        "key": found.key,
        "kind": found.kind,
        "state": state_of(found),
        "decided": found.decided,
        "limit": found.limit,
        "shut": found.shut,
        "owner": found.owner,
        "holders": [
            {"name": name, "token": token, "remaining": round(left, 3), "permits": permits}
            for name, token, left, permits in found.holders
        ],
        "waiting": [{"name": name, "seconds": round(waited, 3), "permits": permits} for name, waited, permits in found.waiting],
        "voters": voters,
        "epoch": found.epoch,
        "moved": found.moved,
        "rosters": [{"epoch": epoch, "voters": list(names), "age": round(age, 3)} for epoch, names, age in found.rosters],
        "note": found.note,
    }


def described(found: Explanation) -> list[str]:
    """The lines of it."""
    lines = [f"{in_line(found.key)}: {state_of(found)}"]
    if len(found.rosters) > 1 or found.standings:
        for epoch, members, age in reversed(found.rosters):
            word = "roster" if epoch == found.epoch else "earlier"
            lines.append(f"  {word:<10} {roster_name(epoch):<24} {', '.join(members)}; decided {age:.0f} s ago")
    for name, token, left, permits in found.holders:
        lines.append(f"  {'holder':<10} {name:<24} {how(found.kind, permits):<10} token {token}, {left:.1f} s left")
    for name, waited, permits in found.waiting:
        lines.append(f"  {'waiting':<10} {name:<24} {how(found.kind, permits):<10} for {waited:.1f} s")
    for name in found.queue if not found.waiting else ():
        lines.append(f"  {'waiting':<10} {name}")
    if found.owner is not None:
        lines.append(f"  {'owner':<10} {found.owner:<24} serialises what is asked")
    ballots = {voter: (promised, accepted) for voter, promised, accepted in found.ballots}
    abstaining = dict(found.abstaining)
    standings = {voter: stands(found, epoch, closed, started) for voter, epoch, closed, started in found.standings}
    for voter in found.group:
        if voter in found.missing:
            said = "silent"
        else:
            promised, accepted = ballots[voter]
            said = f"accepted {accepted}, promised {promised}"
            if voter in abstaining:
                said += f"; does not vote for {abstaining[voter]:.1f} s more"
            if voter in standings:
                said += standings[voter]
        lines.append(f"  {'voter':<10} {voter:<24} {said}")
    for note in found.note.split("; ") if found.note else ():
        lines.append(f"  {'note':<10} {note}")
    return lines


def roster_name(epoch: int) -> str:
    """An operator's reset draws its epoch from the clock."""
    return f"epoch {epoch}" if epoch < 1 << RESET_SHIFT else f"epoch {epoch} (reset)"


def stands(found: Explanation, epoch: int, closed: str, started: int) -> str:
    """What of the roster keeps a voter from serving, and whether it has the register in it."""
    said = f"; serves nothing: {closed}" if closed else ""
    if epoch != found.epoch:
        said += f"; goes by the roster of epoch {epoch}"
    if started and started < found.epoch:
        said += f"; holds it as of epoch {started}, not moved yet"
    return said


def state_of(found: Explanation) -> str:
    """What is the matter, in one clause."""
    if not found.group:
        return "nobody keeps it yet"
    quorum = len(found.group) // 2 + 1
    closed = [voter for voter, _, why, _ in found.standings if why]
    if len(found.group) - len(closed) - len([name for name in found.missing if name not in closed]) < quorum and closed:
        return f"closed: {', '.join(closed)} serve{'s' * (len(closed) == 1)} nothing now"
    voting = len(found.group) - len(found.missing) - len(found.abstaining)
    if voting < quorum:
        return f"no quorum: {voting} of its {len(found.group)} voters vote, {quorum} are needed"
    if not found.decided:
        return "a change is under way"
    if found.kind == "atomic":
        return f"an atomic register, {len(found.state)} bytes" if found.state else "an atomic register that nobody has set"
    if found.shut:
        return f"a round of {found.limit} is complete, {len(found.holders)} have not left"
    if found.limit:
        taken = sum(permits for _, _, _, permits in found.holders)
        return f"{taken} of {found.limit} {'parties are here' if found.kind == 'barrier' else 'permits are taken'}"
    return "held" if found.holders else "free"


def how(kind: str, permits: int) -> str:
    """How a lease of a register is held."""
    if kind not in ("rwlock", "semaphore", "barrier"):
        return ""
    if not permits:
        return "alone"
    return {"rwlock": "shared", "barrier": "party"}.get(kind, f"{permits} permit{'s' * (permits > 1)}")
