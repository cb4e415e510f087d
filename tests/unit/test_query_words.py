"""Words as they are compared: any script, any language, no input is an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistiller.query import words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Net sales rose 12.5% to $82,959 million.", ["net", "sales", "rose", "12.5", "to", "82,959", "million"]),
        ("p53 and IL-2 on 2024-03-01", ["p53", "and", "il", "2", "on", "2024-03-01"]),
        ("Müller’s Straße, ÉCOLE", ["muller", "s", "strasse", "ecole"]),
        ("Где Москва?", ["где", "москва"]),
        ("東京はどこ", ["東京", "京は", "はど", "どこ"]),
        ("猫", ["猫"]),
        ("हिन्दी भाषा। दो", ["हिन्दी", "भाषा", "दो"]),
        ("한국어", ["한국", "국어"]),
        ("🙂 ... _ --", []),
    ],
)
def test_split(text: str, found: list[str]) -> None:
    assert words.split(text) == found


@pytest.mark.parametrize(
    ("one", "other"),
    [("revenues", "revenue"), ("increased", "increasing"), ("normandy", "normandie"), ("häuser", "hauser")],
)
def test_forms_of_a_word_share_their_stem(one: str, other: str) -> None:
    assert words.stem(words.fold(one)) == words.stem(words.fold(other))


def test_numbers_are_not_shortened() -> None:
    assert words.stem("82,959,000") != words.stem("82,959,001")


@pytest.mark.parametrize(
    ("question", "content"),
    [
        ("What is the capital of France?", ["capital", "france"]),
        ("Was ist die Hauptstadt von Frankreich?", ["hauptstadt", "frankreich"]),
        ("War and peace", ["war", "peace"]),
        ("¿Cuál es la capital de Francia?", ["capital", "francia"]),
        ("Quelle est la capitale de la France ?", ["capitale", "france"]),
        ("to be or not to be", ["to", "be", "or", "not", "to", "be"]),
        ("", []),
    ],
)
def test_function_words_of_the_questions_own_language_are_left_out(question: str, content: list[str]) -> None:
    assert words.content(question) == content


@pytest.mark.parametrize(
    "question", ["", "a", "😀", "?!", "the", "what is it?", "de la", "Was ist das?", "¿Qué es?", "to be or not to be"]
)
def test_what_says_nothing(question: str) -> None:
    assert words.says_nothing(question)


@pytest.mark.parametrize("question", ["war", "What is R?", "42", "猫", "Que dit Ada ?", "the end"])
def test_what_says_something(question: str) -> None:
    assert not words.says_nothing(question)


def test_keywords_leave_the_rest_as_it_was_written() -> None:
    assert words.keywords("What is IL-2 (p53)?").split() == ["IL-2", "(p53)?"]
    assert words.keywords("who are you") == "who are you"


@given(st.text())
def test_any_text_can_be_split(text: str) -> None:
    found = words.split(text)
    assert all(found)
    assert all(words.stem(word) for word in found)
    words.content(text)
    words.keywords(text)
