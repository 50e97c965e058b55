"""Fences of users' own resources (L5, L7): in memory, in a file, in SQLite; and the recipes of docs/fencing.md."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination import BadConfig, Fence, Fenced, SqliteFence

DOCS = (Path(__file__).parent.parent.parent / "docs" / "fencing.md").read_text()


class Grant(NamedTuple):
    token: int
    id: str


OLD, NEW, TWIN = Grant(5, "old"), Grant(7, "new"), Grant(7, "twin")


NO_GRANTS: list[tuple[Any, Any]] = [
    *[(0, "a"), (-1, "a"), (True, "a"), (1 << 63, "a"), (5, ""), (5, None)],
    *[(None, "a"), ("5", "a"), (5.0, "a"), (object(), "a"), (Grant(0, "a"), None), (Grant(5, ""), None)],
    *[(5, 7), (5, b"a"), (5, ["a"]), (5, "\ud800")],
]


class InSqlite:
    """A `SqliteFence` in the shape of a `Fence`: each admission is a transaction."""

    def __init__(self, path: Path) -> None:
        self.fence = SqliteFence("thing")
        self.database = sqlite3.connect(path, isolation_level=None)

    def admit(self, held: Any, holder: str | None = None) -> None:
        self.database.execute("BEGIN IMMEDIATE")
        try:
            self.fence.admit(self.database, held, holder)
        finally:
            self.database.execute("COMMIT")

    def admitted(self) -> tuple[int, str]:
        return self.fence.admitted(self.database)


KINDS: dict[str, Any] = {
    "memory": lambda path: Fence(),
    "file": lambda path: Fence(path / "fence"),
    "sqlite": lambda path: InSqlite(path / "db"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_lower_tokens_and_an_equal_one_of_another_are_refused(kind: str, tmp_path: Path) -> None:
    own = KINDS[kind](tmp_path)
    assert own.admitted() == (0, "")
    own.admit(OLD)
    own.admit(OLD)
    own.admit(NEW)
    with pytest.raises(Fenced, match="token 5 is an earlier holder's") as refused:
        own.admit(OLD)
    assert refused.value.fence == 7
    with pytest.raises(Fenced, match="'new''s, not 'twin''s"):
        own.admit(TWIN)
    own.admit(NEW)
    own.admit(9, "by number")
    assert own.admitted() == (9, "by number")


@given(st.lists(st.tuples(st.integers(1, 6), st.sampled_from("ab")), max_size=20))
def test_the_law(tried: list[tuple[int, str]]) -> None:
    own = Fence()
    admitted: list[tuple[int, str]] = []
    for token, holder in tried:
        allowed = all(token > other or (token, holder) == (other, whose) for other, whose in admitted)
        try:
            own.admit(token, holder)
        except Fenced:
            assert not allowed
        else:
            assert allowed
            admitted.append((token, holder))
    assert [token for token, _ in admitted] == sorted(token for token, _ in admitted)


@pytest.mark.parametrize("kind", ["file", "sqlite"])
def test_it_is_remembered(kind: str, tmp_path: Path) -> None:
    KINDS[kind](tmp_path).admit(NEW)
    with pytest.raises(Fenced):
        KINDS[kind](tmp_path).admit(OLD)
    KINDS[kind](tmp_path).admit(NEW)


def test_a_file_is_replaced_whole_and_synced_before_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(number: int) -> None:
        done.append("sync")
        sync(number)

    def replaced(old: str, new: str) -> None:
        done.append("replace")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    own = Fence(tmp_path / "fence")
    own.admit(NEW)
    assert done == ["sync", "replace", "sync"], "the contents, then the name, then the directory"
    own.admit(NEW)
    assert len(done) == 3, "nothing to write"
    assert sorted(os.listdir(tmp_path)) == ["fence", "fence.lock"]

    def full(old: str, new: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        own.admit(9, "later")
    assert own.admitted() == (7, "new")
    assert sorted(os.listdir(tmp_path)) == ["fence", "fence.lock"]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '["1", "a"]', "[true, 1]", "a story"])
def test_a_file_of_another_kind_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "fence").write_text(text)
    with pytest.raises(BadConfig, match="no fence's file"):
        Fence(tmp_path / "fence").admit(NEW)
    assert (tmp_path / "fence").read_text() == text


@pytest.mark.parametrize(("token", "holder"), NO_GRANTS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_token_is_refused(kind: str, token: Any, holder: Any, tmp_path: Path) -> None:
    """And leaves nothing behind: a holder that is no text could not be read back, and nobody was admitted again."""
    fence = KINDS[kind](tmp_path)
    with pytest.raises(BadConfig):
        fence.admit(token, holder)
    assert fence.admitted() == (0, "")
    fence.admit(NEW)


@pytest.mark.parametrize("resource", [None, 5, b"x", "", [], "\ud800"])
def test_what_is_no_resource_is_refused(resource: Any) -> None:
    """None equals nothing in SQL: that fence let everyone through."""
    with pytest.raises(BadConfig):
        SqliteFence(resource)


@pytest.mark.parametrize("table", [None, 5, "", "a b", "é"])
def test_what_is_no_table_is_refused(table: Any) -> None:
    with pytest.raises(BadConfig):
        SqliteFence("thing", table)


def test_a_table_may_be_called_like_a_word_of_sql() -> None:
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.execute("BEGIN")
    SqliteFence("thing", "select").admit(database, NEW)
    with pytest.raises(Fenced):
        SqliteFence("thing", "select").admit(database, OLD)
    with pytest.raises(BadConfig, match="no connection"):
        SqliteFence("thing").admit(None, NEW)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["", 5, b"fence"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(BadConfig):
        Fence(path)


def test_a_fence_in_sqlite_wants_a_transaction_and_goes_with_it(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "db", isolation_level=None)
    own, other = SqliteFence("thing"), SqliteFence("other thing")
    with pytest.raises(BadConfig, match="BEGIN IMMEDIATE"):
        own.admit(database, NEW)
    database.execute("BEGIN IMMEDIATE")
    own.admit(database, NEW)
    database.execute("ROLLBACK")
    assert own.admitted(database) == (0, "")
    database.execute("BEGIN IMMEDIATE")
    own.admit(database, NEW)
    other.admit(database, OLD)
    database.execute("COMMIT")
    assert [tuple(each.admitted(database)) for each in (own, other)] == [tuple(NEW), tuple(OLD)]
    with pytest.raises(BadConfig):
        SqliteFence("thing", "fences; DROP TABLE account")


# --- the recipes ----------------------------------------------------------------------------------------------------


def recipe(text: str, **names: Any) -> dict[str, Any]:
    (found,) = [each for each in re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL) if text in each]
    scope = dict(names)
    exec(compile(found, "fencing.md", "exec"), scope)
    return scope


def test_the_recipe_for_a_file(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    append = recipe("def append", path=path)["append"]
    append(OLD, "one")
    append(NEW, "two")
    with pytest.raises(Fenced):
        append(OLD, "late")
    assert Path(path).read_text() == "one\ntwo\n"
    assert json.loads(Path(path + ".fence").read_text()) == [7, "new"]


def test_the_recipe_for_sqlite(tmp_path: Path) -> None:
    scope = recipe("def deposit", path=str(tmp_path / "db"))
    deposit, database = scope["deposit"], scope["database"]
    deposit(OLD, "anna", 10)
    deposit(NEW, "anna", 5)
    with pytest.raises(Fenced):
        deposit(OLD, "anna", 100)
    assert not database.in_transaction
    assert database.execute("SELECT cents FROM account").fetchall() == [(15,)]
    with pytest.raises(sqlite3.IntegrityError):
        deposit(Grant(9, "third"), "anna", None)
    assert scope["fence"].admitted(database) == NEW, "it went back with the change"


def test_every_recipe_is_tested() -> None:
    assert DOCS.count("```python") == 2
