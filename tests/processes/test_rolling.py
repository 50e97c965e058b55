"""Real processes: every voter is restarted while others lock, and no acquire fails or takes longer than the ttl and 2 s."""

from __future__ import annotations

import pytest

from tests.processes.rolling import VOTERS, Load, rolling_restart


def tell(what: str, load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nrolling restart, {what}: {load}")


async def test_a_rolling_restart(capsys: pytest.CaptureFixture[str]) -> None:
    """Three voters with state directories, one at once after the other, and two without."""
    load = await rolling_restart(VOTERS, durable=VOTERS[:3])
    tell("two without memory", load, capsys)
    assert len(load.took) > 100
    assert max(load.restarts) < 12.0, "who comes back without memory votes once the others have told it what they keep"


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_rolling_restarts_with_state_directories(capsys: pytest.CaptureFixture[str]) -> None:
    load = await rolling_restart(VOTERS * 8, durable=VOTERS)
    tell("state directories", load, capsys)
    assert len(load.took) > 1000


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_rolling_restarts_without_memory(capsys: pytest.CaptureFixture[str]) -> None:
    load = await rolling_restart(VOTERS * 2, durable=())
    tell("without memory", load, capsys)
    assert len(load.took) > 1000
    assert max(load.restarts) < 12.0, "who comes back without memory votes once the others have told it what they keep"
