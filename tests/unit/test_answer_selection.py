"""Which sentences make an answer, where they stand, and when there is none."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistiller.cells import Cells
from datadistiller.model import Passage
from datadistiller.query import citations, selection

PAGE = (
    "Preface to the report. The lighthouse of Kermorvan was built in 1849 by the engineer Léonce Reynaud. It stands on "
    "a rock 20 m above the sea.\nThe keeper lives in the village. He climbs\n   72 steps every evening. "
    "The lighthouse of Kermorvan was built in 1849 by engineer Léonce Reynaud."
)


def passage(text: str, *, start: int = 0, job: int = 1, page: int = 1, **fields: object) -> Passage:
    values: dict[str, object] = {
        "chunk_no": start + 1000 * page, "chunk_id": uuid.UUID(int=start), "job_id": uuid.UUID(int=job),
        "filename": f"{job}.txt", "collection": "c", "metadata": {}, "page": page, "page_label": "", "start": start,
        "end": start + len(text), "text": text, "context": "", "score": 0.8, "similarity": 0.6, **fields,
    }  # fmt: skip
    return Passage(**values)  # type: ignore[arg-type]


def texts(question: str, passages: Sequence[Passage]) -> list[str]:
    chosen = selection.select(question, passages)
    return [passages[c.passage].text[c.start : c.end] for c in chosen.choices]


def test_the_sentence_that_answers_comes_first_and_its_twin_is_left_out() -> None:
    found = texts("When was the lighthouse of Kermorvan built?", [passage(PAGE)])
    assert found[0].startswith("The lighthouse of Kermorvan was built in 1849")
    assert sum("1849" in sentence for sentence in found) == 1


def test_a_question_for_a_figure_prefers_sentences_with_figures() -> None:
    text = "The keeper climbs steps every evening. The keeper climbs 72 steps every morning."
    assert "72" in texts("How many steps does the keeper climb?", [passage(text)])[0]


@pytest.mark.parametrize(
    ("question", "text", "answer"),
    [
        ("Wann wurde der Leuchtturm gebaut?", "Der Turm ist rot. Der Leuchtturm wurde 1849 gebaut.", "1849"),
        ("¿Quién construyó el faro?", "El mar es frío. El faro lo construyó Reynaud.", "Reynaud"),
        ("Кто построил маяк?", "Море холодное сегодня. Маяк построил инженер Рейно.", "Рейно"),
        ("灯台を建てたのは誰ですか", "海は冷たい。灯台を建てたのはレイノーです。", "レイノー"),
    ],
)
def test_answers_are_found_in_any_language(question: str, text: str, answer: str) -> None:
    assert answer in texts(question, [passage(text)])[0]


def test_one_to_four_sentences() -> None:
    text = " ".join(f"The red fox number {n} jumps over a fence called {chr(97 + n) * 9}." for n in range(12))
    assert 1 <= len(texts("Which red fox jumps over the fence?", [passage(text)])) <= selection.SENTENCES


def test_unrelated_passages_give_no_answer() -> None:
    found = selection.select("Who won the chess tournament?", [passage(PAGE, similarity=0.1)])
    assert found.choices == ()
    assert found.support < selection.SUPPORT


def test_without_cosines_shared_words_decide() -> None:
    known = passage(PAGE, similarity=None)
    assert selection.select("Who built the lighthouse of Kermorvan?", [known]).choices
    assert not selection.select("Who won the chess tournament of Kermorvan in Monaco?", [known]).choices


@pytest.mark.parametrize("question", ["a", "😀", "?", "what is it?"])
def test_a_question_without_a_word_of_meaning_is_not_answered_however_near_a_passage_is(question: str) -> None:
    assert not selection.select(question, [passage(PAGE, similarity=0.9)]).choices


def test_nothing_found_gives_no_answer() -> None:
    assert selection.select("Anything?", []) == selection.Selection((), 0.0)


def test_sentences_are_cited_in_reading_order_at_their_exact_places() -> None:
    cut = PAGE.index("The keeper")
    pages = {(1, 1): PAGE, (2, 7): "A keeper of a lighthouse in Spain lives in a village."}
    passages = [
        passage(PAGE[cut:], start=cut),
        passage(pages[2, 7], job=2, page=7),
        passage(PAGE[:cut], start=0),
    ]
    chosen = selection.select("Where does the keeper of the lighthouse live?", passages)
    sentences = citations.cite(passages, chosen.choices)
    assert [s.citation for s in sentences if s.page == 7] == [2]
    places = [(passages[s.citation - 1].job_id.int, s.page, s.start) for s in sentences]
    assert places == sorted(places)
    for s in sentences:
        page = pages[passages[s.citation - 1].job_id.int, s.page]
        assert page[s.start : s.end] == s.text
        assert citations.is_true(s, page)


def test_the_text_is_on_one_line_with_markers() -> None:
    passages = [passage(PAGE)]
    chosen = [selection.Choice(0, PAGE.index("He climbs"), PAGE.index(" The lighthouse", 100), 1.0)]
    assert citations.render(citations.cite(passages, chosen)) == "He climbs 72 steps every evening. [1]"


def test_a_citation_that_moved_is_not_true() -> None:
    place = passage(PAGE[5:20], start=5)
    assert citations.is_true(place, PAGE)
    assert not citations.is_true(place, "x" + PAGE)
    assert not citations.is_true(place, "")
    assert not citations.is_true(passage("", start=0), PAGE)


ODD = [
    "?",
    "a",
    " ",
    "the of and",
    "'; DROP TABLE jobs; --",
    "(.*)+[^",
    'title:"x" AND *:*~2 ^9',
    "🙂🙃",
    "\ud800",
    "a " * 50_000,
]


@pytest.mark.parametrize("question", ODD)
@pytest.mark.parametrize("text", [PAGE, "🙂", "....", "\n\n", "word " * 3000, "x" * 20_000])
def test_no_question_and_no_text_is_an_error(question: str, text: str) -> None:
    selection.select(question, [passage(text)])


@given(st.text(max_size=60), st.lists(st.text(min_size=1, max_size=200), max_size=4), st.floats(-1, 1))
def test_choices_are_ranges_of_their_passages(question: str, pieces: list[str], cosine: float) -> None:
    passages = [passage(piece, start=7 * n, score=1 - n / 10, similarity=cosine) for n, piece in enumerate(pieces)]
    chosen = selection.select(question, passages).choices
    assert len(chosen) <= selection.SENTENCES
    for sentence in citations.cite(passages, chosen):
        of = passages[sentence.citation - 1]
        assert sentence.text.strip() == sentence.text != ""
        assert of.text[sentence.start - of.start : sentence.end - of.start] == sentence.text


def test_a_row_of_a_sheet_is_a_sentence() -> None:
    rows = ["Port: Husum; Tons: none at all", "Port: Kermorvan; Tons: some", "Port: Emden; Tons: hardly any"]
    page = "\n".join(["Port | Tons", *rows])
    sheet = replace(passage(page), cells=(Cells(0, len(page), 1, 4, 1, 2),))
    best = selection.select("How many tons did the port of Kermorvan have?", [sheet]).choices[0]
    assert page[best.start : best.end] == rows[1]
    chosen = selection.select("Which port had which tons?", [sheet]).choices
    assert {page[one.start : one.end] for one in chosen} <= set(rows), "names of columns answer nothing"
