"""WordNet's database (Princeton, version 3.0): the first synset of a word, as NLTK 3.8 looks it up.

A word is looked up in lower case, as a noun, a verb, an adjective, an adverb; as each, the exceptions of WordNet or
the rules of its morphology give its base forms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from align_data.common.errors import SignalError

LONGEST = 100
"""Characters of a word: of longer ones nothing is looked up. WordNet's own longest has 71."""
_ENDINGS: Mapping[str, Sequence[tuple[str, str]]] = {
    "noun": (
        ("s", ""),
        ("ses", "s"),
        ("ves", "f"),
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("men", "man"),
        ("ies", "y"),
    ),
    "verb": (
        ("s", ""),
        ("ies", "y"),
        ("es", "e"),
        ("es", ""),
        ("ed", "e"),
        ("ed", ""),
        ("ing", "e"),
        ("ing", ""),
    ),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}
"""What an inflected form ends in, and its base form instead, by part of speech in the order of looking up."""

_INFLECTED = {part: tuple(ending for ending, _ in endings) for part, endings in _ENDINGS.items()}


class WordNet:
    """The indexes and exceptions of a database."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Read index.noun, noun.exc and so on; SignalError for what is none of these."""
        try:
            self._first = {part: dict(_first_synsets(files[f"index.{part}"])) for part in _ENDINGS}
            self._exceptions = {part: _exceptions(files[f"{part}.exc"]) for part in _ENDINGS}
        except (KeyError, ValueError, IndexError) as error:
            raise SignalError(f"the model wordnet is not WordNet's database: {error}") from error

    def first_synset(self, word: str) -> int | None:
        """Return the offset of the first synset of a word; None where WordNet does not have it."""
        word = word.lower()
        if len(word) > LONGEST:
            return None
        for part, first in self._first.items():
            if (form := self._base_form(word, part)) is not None:
                return first[form]
        return None

    def _base_form(self, word: str, part: str) -> str | None:
        """Return the first of the base forms that a word has as this part of speech."""
        known = self._first[part]
        if word in known:
            return word
        irregular = self._exceptions[part].get(word)
        if irregular is not None:
            return next((form for form in irregular if form in known), None)
        forms = [word] if word.endswith(_INFLECTED[part]) else []  # as most words that WordNet does not have are not
        while forms:
            forms = list(dict.fromkeys(_without_endings(forms, part)))
            if (base := next((form for form in forms if form in known), None)) is not None:
                return base
        return None


def _without_endings(forms: Sequence[str], part: str) -> Iterator[str]:
    for form in forms:
        for ending, instead in _ENDINGS[part]:
            if form.endswith(ending):
                yield form[: -len(ending)] + instead


def _first_synsets(index: bytes) -> Iterator[tuple[str, int]]:
    """Yield each lemma with the offset of its first synset."""
    for line in index.decode().splitlines():
        if not line.startswith(" "):  # as the lines of the licence do
            lemma, _, synsets, pointers, *fields = line.split()
            # The kinds of pointers, the number of senses, and that of those in tagged texts.
            yield lemma, int(fields[int(pointers) + 2 : int(pointers) + 2 + int(synsets)][0])


def _exceptions(content: bytes) -> dict[str, list[str]]:
    lines = (line.split() for line in content.decode().splitlines())
    return {inflected: forms for inflected, *forms in lines}
