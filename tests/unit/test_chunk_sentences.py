"""Where sentences end, case by case."""

from __future__ import annotations

import pytest

from datadistiller.chunking import sentences


@pytest.mark.parametrize(
    "expected",
    [
        ["Dr. Smith paid $3.5 million.", "He left at 5 p.m. on Monday.", "He slept."],
        ["He left at 5 p.m.", "The J. P. Morgan building closed.", "It is in the U.S.", "The end."],
        ["Apple Inc. sells phones.", "Apple Inc.", "The firm grew."],
        ["See Fig. 3 and No. 7 (p. 5) for this.", "The answer is no.", "So be it."],
        ["Write to a.b@example.org or www.example.org/x.html now.", "Done!"],
        ["“What?” he said.", "“No!”", "She left.", "(It was late.)", "And so on...", "Then it rained."],
        ["Am 3. Oktober war es z. B. kalt.", "Es schneite."],
        ["El Sr. García llegó.", "¿Quién es?", "No lo sé."],
        ["هل أنت بخير؟", "نعم."],
        ["यह एक वाक्य है।", "यह दूसरा है।"],
        ["Version 2.0.1 is out.", "Rates rose 0.25 to 5.5 percent.", "Why?"],
    ],
)
def test_prose(expected: list[str]) -> None:
    text = " ".join(expected)
    assert [text[start:end] for start, end in sentences.split(text)] == expected


@pytest.mark.parametrize(
    "marked",
    [
        "今日は。¶元気ですか？¶はい！¶「そう。」¶と言った。",
        "The first line\nwraps here.¶ Next",
        "One paragraph\n\n¶Another one",
        "To do:\n¶- buy milk\n¶- sleep\n¶1. First.¶ Really\n¶2) Second",
        "Overview\n¶The company was founded in 1999 and has grown since\nthen.",
        "iPhone $ 39,669 $ 40,665\n¶Mac 6,840 7,382\n¶Total 81,797 82,959",
        "Page one\f¶Page two",
        "Wait.... what? \t",
    ],
)
def test_layout(marked: str) -> None:
    """¶ stands where a sentence begins."""
    text = marked.replace("¶", "")
    assert [text[start:end] for start, end in sentences.split(text)] == [part.strip() for part in marked.split("¶")]


def test_nothing_has_no_sentences() -> None:
    assert sentences.split("") == sentences.split(" \n\n\t ") == []
