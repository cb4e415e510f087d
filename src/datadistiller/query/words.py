"""Pure: words of a text as they are compared, in any language, and which of a question's words carry its meaning.

No dictionary of any language is needed: a word is a run of letters and digits (a number keeps its separators),
case and accents are folded away, and words that share their first letters count as forms of one word. Scripts that
write no spaces are cut into pairs of characters. Only function words are listed, for the most frequent languages.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

#: Forms of one word agree in this many first letters: short enough for endings, long enough to tell words apart.
STEM_LETTERS = 5

# Vowel signs belong to the word they stand in, though Unicode counts them as marks rather than letters.
_SIGNS = "\u0591-\u05c7\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
_WORD = re.compile(rf"\d+(?:[.,:/-]\d+)+(?![^\W_])|[^\W_](?:[^\W_]|[{_SIGNS}])*")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")
_MARKS = re.compile("[\u0300-\u036f]")

_FUNCTION_WORDS = {
    "en": "a about after all also am an and any are as at be because been before being between but by can could did "
    "do does done during each for from had has have having he her here hers him his how i if in into is it "
    "its just may me might more most must my no nor not of on one only or other our out over own same shall "
    "she should so some s such t than that the their them then there these they this those through to too "
    "under until up upon us very was we were what when where which while who whom whose why will with within "
    "without would you your",
    "de": "aber alle als also am an auch auf aus bei bin bis da damit dann das dass dem den der des die dies diese "
    "diesem diesen dieser dieses doch dort du durch ein eine einem einen einer eines er es etwa euch für "
    "gegen hat hatte hatten haben ich ihr ihre ihrem ihren ihrer im in ist ja jede jeder jedes kann kein "
    "keine können man mehr mit nach nicht noch nur ob oder ohne sehr sein seine seinem seinen seiner seit "
    "sich sie sind so über um und uns unter vom von vor war waren warum was weil welche welchem welchen "
    "welcher welches wem wen wenn wer werden wessen wie wieviel viele wird wo wurde wurden zu zum zur "
    "zwischen",
    "es": "a al algo ante antes aquel con como cómo cual cuál cuales cuáles cuando cuándo cuanto cuánto cuanta "
    "cuánta cuantos cuántos cuantas cuántas de del desde donde dónde durante e el él ella ellas ellos en "
    "entre era eran es esa ese eso esta está están estas este esto estos fue fueron ha han hasta hay la las "
    "le les lo los más me mi muy no nos o otra otro otros para pero por porque qué que quien quién quienes "
    "quiénes se según ser si sí sin sobre son su sus también tanto te tiene tienen tu un una unas uno unos y "
    "ya",
    "fr": "a à au aux avec avant c ce ces cet cette ceux comme comment combien contre d dans de depuis des du elle "
    "elles en entre est et été était étaient être eu eux fut furent il ils j je l la le les leur leurs lors "
    "lui m ma mais me même mes moi mon n ne nos notre nous on ont ou où par pas pendant plus pour pourquoi qu "
    "quand que quel quelle quelles quels qui quoi s sa sans se selon ses si son sont sous sur t ta te tes toi "
    "ton tu un une vos votre vous y",
    "it": "a ad ai al alla alle allo anche c che chi ci come con contro cosa cui d da dai dal dalla dalle dei del "
    "della delle dello di dopo dove due e è ed era erano essere fu furono gli ha hanno i il in io l la le lo "
    "loro ma mi ne nei nel nella nelle non o per perché più prima qual quale quali quando quanta quante "
    "quanti quanto quello questa queste questi questo se si sia sono su sua sue sul sulla suo suoi tra un una "
    "uno",
    "pt": "a ao aos as às até com como da das de dela dele deles depois do dos e é ela elas ele eles em entre era "
    "eram essa esse esta está este eu foi foram há isso isto já mais mas me mesmo muito na nas não no nos o "
    "onde os ou para pela pelas pelo pelos por porque porquê qual quais quando quantas quantos quanto que quê "
    "quem são se sem ser seu seus sob sobre sua suas também tem têm um uma umas uns",
    "nl": "aan al alle als bij dan dat de der deze die dit door dus een eens en er geen had hadden heb hebben heeft "
    "het hij hoe hoeveel hun ik in is je kan maar me meer met mijn na naar niet nog nu of om omdat onder ons "
    "ook op over te tegen toen tot tussen uit van veel voor waar waarom wanneer waren was wat we welk welke "
    "werd werden wie wij wordt worden zal ze zich zij zijn zo zonder zou",
}


def fold(text: str) -> str:
    """The text without case, compatibility forms and accents."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", _MARKS.sub("", unicodedata.normalize("NFKD", text).casefold()))


def split(text: str) -> list[str]:
    """The folded words of a text, in order."""
    found: list[str] = []
    for word in _WORD.findall(fold(text)):
        if word.isascii() or not _UNSPACED.search(word):
            found.append(word)
        else:
            found += [word[i : i + 2] for i in range(max(1, len(word) - 1))]
    return found


def stem(word: str) -> str:
    """What forms of one word have in common. Numbers stay whole."""
    if word[0].isdigit():
        return word
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]  # the commonest ending of European plurals and genitives
    return word[:STEM_LETTERS]


_LISTS = {language: frozenset(split(listed)) for language, listed in _FUNCTION_WORDS.items()}


def function_words(question: Sequence[str]) -> frozenset[str]:
    """The function words of the language most of whose function words stand in the question (folded words)."""
    counts = {language: sum(word in listed for word in question) for language, listed in _LISTS.items()}
    best = max(counts, key=lambda language: counts[language])  # of equals the first: English
    return _LISTS[best] if counts[best] else frozenset()


def says_nothing(question: str) -> bool:
    """True if the question has no word, or function words of one language only ("a", "😀", "what is it?").

    A word alone does not show its language: it is a function word only if English or two others have it ("war").
    """
    found = set(split(question))
    if len(found) != 1:
        return found <= function_words(split(question))
    languages = {language for language, listed in _LISTS.items() if found <= listed}
    return "en" in languages or len(languages) > 1


def content(question: str) -> list[str]:
    """The words of a question without function words; all of its words if there are no others."""
    found = split(question)
    skipped = function_words(found)
    return [word for word in found if word not in skipped] or found


def keywords(question: str) -> str:
    """The question without its function words, otherwise as it was written; all of it if nothing else would be left."""
    skipped = function_words(split(question))
    left = _WORD.sub(lambda found: "" if fold(found[0]) in skipped else found[0], question)
    return left if _WORD.search(left) else question
