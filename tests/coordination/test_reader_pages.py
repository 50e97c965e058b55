"""Tables that voters without memory read back: page by page, from one process, and by the one that asked."""

from __future__ import annotations

import pytest

from coordination.agreed.recalling.reader import Reader
from coordination.agreed.vocabulary.messages import Reason
from coordination.agreed.vocabulary.reader_messages import ROWS_A_PAGE, TableAsk, TableIs
from mesh.directives import Message, Send
from tests.coordination.agreed_world import Changes
from tests.coordination.reader_hall import SOURCE, Hall, at
from tests.coordination.returning_faults import FirstPageOnly


def many(changes: Changes = ()) -> tuple[Hall, int]:
    hall = Hall(changes=changes)
    hall.fill("a", 3 * ROWS_A_PAGE)
    hall.voters["b"].start(at(1))
    pages = hall.read("b", "a", "c")
    return hall, pages


def test_a_table_of_many_registers_is_read_page_by_page() -> None:
    hall, pages = many()
    assert pages == 3 + 1
    assert len(hall.voters["b"].acceptor.keys()) == 3 * ROWS_A_PAGE
    assert len(many(((Reader, FirstPageOnly),))[0].voters["b"].acceptor.keys()) == ROWS_A_PAGE


def test_a_table_whose_process_was_replaced_meanwhile_is_read_anew() -> None:
    hall = Hall()
    hall.fill("a", 2 * ROWS_A_PAGE)
    b = hall.voters["b"]
    b.start(at(1))
    (ask,) = [each for each in hall.asks("b", at(1)) if each.to == "a"]
    (page,) = [each for each in hall.voters["a"].reader.on_message(ask.message, SOURCE, at(1)) if isinstance(each, Send)]
    (following,) = [each for each in b.reader.on_message(page.message, SOURCE, at(1)) if isinstance(each, Send)]
    assert isinstance(following.message, TableAsk)
    assert following.message.after == f"lock/{ROWS_A_PAGE - 1:03}"
    hall.voters["a"].start(at(1), whole=0)
    (answer,) = [
        each for each in hall.voters["a"].reader.on_message(following.message, SOURCE, at(1)) if isinstance(each, Send)
    ]
    assert isinstance(answer.message, TableIs)
    assert (answer.message.after, answer.message.boot.stamp) == ("", 2)
    list(b.reader.on_message(answer.message, SOURCE, at(1)))
    hall.read("b", "c")
    assert hall.votes("b")


def told(hall: Hall, name: str, ask: Message) -> TableIs:
    (answer,) = [each.message for each in hall.voters[name].reader.on_message(ask, SOURCE, at(1)) if isinstance(each, Send)]
    assert isinstance(answer, TableIs)
    return answer


def asked(hall: Hall, page: Message) -> Message:
    """What is asked for next."""
    (send,) = [each for each in hall.voters["b"].reader.on_message(page, SOURCE, at(1)) if isinstance(each, Send)]
    return send.message


@pytest.mark.parametrize("forgets", [20, 64, 100])
def test_no_register_falls_between_two_pages(forgets: int) -> None:
    """The first question comes twice, or the list that it was answered from is pushed out, and registers that nobody uses are
    forgotten meanwhile. (The next page was cut from a list in which all places had moved.)"""
    hall = Hall()
    hall.fill("a", 3 * ROWS_A_PAGE)
    a, b = hall.voters["a"], hall.voters["b"]
    b.start(at(1))
    (ask,) = [each.message for each in hall.asks("b", at(1)) if each.to == "a"]
    page = told(hall, "a", ask)
    for number in range(forgets):
        del a.acceptor._registers[f"lock/{number:03}"]
    told(hall, "a", ask)  # and is lost
    if forgets == 100:
        a.reader._tables.clear()
    while page.following:
        page = told(hall, "a", asked(hall, page))
    list(b.reader.on_message(page, SOURCE, at(1)))
    assert set(b.acceptor.keys()) >= set(a.acceptor.keys())
    hall.read("b", "c")
    assert hall.votes("b")


def test_what_was_written_for_an_earlier_process_is_nothing_to_the_next() -> None:
    """It waited for a disk, and went to whoever had the name by then. (Of five, a, b1, c held a lease and b2, d, e another.)"""
    hall = Hall(5)
    b = hall.voters["b"]
    b.start(at(1))
    (ask,) = [each.message for each in hall.asks("b", at(1)) if each.to == "a"]
    hall.read("b", "c", "d", "e")
    late = told(hall, "a", ask)
    first = hall.round(5)
    assert hall.accept(first, "a", "b", "c") == {"a": 0, "b": 0, "c": 0}
    assert first.reached()
    b.start(at(1))
    hall.asks("b", at(1))
    list(b.reader.on_message(late, SOURCE, at(1)))
    hall.read("b", "d", "e")
    assert not hall.votes("b")
    hall.read("b", "a")
    assert hall.accept(hall.round(6, "d", hall.boots()), "b") == {"b": Reason.LIVE}


def test_who_is_replaced_after_it_has_told_is_asked_again() -> None:
    """(It counted no more, and the next process of its name was not asked: the voter waited for M.)"""
    hall = Hall()
    hall.voters["b"].start(at(1))
    hall.read("b", "a")
    hall.voters["a"].start(at(1), whole=0)
    hall.voters["c"].record.learn(("a",), (hall.voters["a"].boot,))
    hall.read("b", "c")
    assert not hall.votes("b")
    hall.read("b", "a")
    assert hall.votes("b")
