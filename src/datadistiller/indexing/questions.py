"""Pure: what of a question is searched for as keywords. Shared by all adapters, so that they find the same.

A question never meets a query parser: its words become a plain OR.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Words of a question that are searched, and characters looked at to find them.
MAX_WORDS = 64
MAX_CHARS = 20_000
#: The longest word that is indexed, characters. Longer ones are data that nobody asks for by name.
MAX_WORD = 64

# Scripts written without spaces: each character is a word of its own.
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_WORD = re.compile(r"[^\W_]+")

#: English words left out of a question that has others: they cost time and, in a formal text where "how" is rare,
#: mislead BM25. Texts keep them, so a question of nothing else still finds what it should.
STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a about above after again all also am an and any are as at be been before being below between but by can
        could did do does doing don done during each for from had has have having he her here his how i if in into is
        it its just me might more most must my no nor not of on or other our out over same shall she should so some
        such t s than that the their them then there these they this those through to too under up very was we were
        what when where which who whom whose why will with would you your""",
    )
)


def spaced(text: str) -> str:
    """The text with characters of unspaced scripts set apart, and without what is not Unicode."""
    if text.isascii():
        return text
    return _UNSPACED.sub(r" \g<0> ", text.encode("utf-8", "ignore").decode())


def weighty(words: Iterable[str]) -> list[str]:
    """Those of the words (lower case) to search for, each once: without stop words if there is any other word."""
    distinct = list(dict.fromkeys(words))
    return ([word for word in distinct if word not in STOP_WORDS] or distinct)[:MAX_WORDS]


def words(question: str) -> list[str]:
    """The words to search for; stems and accents are left to whoever searches."""
    found = _WORD.findall(spaced(question[:MAX_CHARS]).lower())
    return weighty(word for word in found if len(word) <= MAX_WORD)
