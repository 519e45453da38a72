"""Korean particles behind a word: which of two forms, by the last sound of what stands before."""

from __future__ import annotations

import re

_SILENT = re.compile(r"[^0-9A-Za-z%\u3131-\u3163\uac00-\ud7a3]+\Z")
"""What is not pronounced, behind a word: quotes, brackets, full stops."""
_WORD = re.compile(r"[A-Za-z]+\Z")
_SPOKEN = re.compile(r"(?P<l>l|[^aeiou]le)\Z|(?:m|n|ng|[aeiou][mn]e|ck|out|(?<![aeiou])[aeiou][bckpt])\Z")
"""English words whose last sound stays a final consonant in Korean: model 모델, train 트레인, net 넷; but dog 도그."""


def particle(before: str, pair: str) -> str:
    """Return the form of a particle that fits behind `before`.

    Digits are read as numbers, Latin words as they are said in Korean (by their spelling, so not each is met), and
    what has no vowel letter by letter.

    Args:
        before: all that stands before the particle; quotes and brackets at its end are passed over.
        pair: the form after a final consonant, a slash, and the one after a vowel, such as ``을/를``.
    """
    after_final, after_vowel = pair.split("/")
    final = _final(_SILENT.sub("", before))
    if pair == "으로/로" and final == "ㄹ":
        return after_vowel
    return after_final if final else after_vowel


def _final(text: str) -> str:
    """Return ``"ㄹ"`` or ``"*"`` (another) for the final consonant of a text's last sound, "" for a vowel."""
    last = text[-1:]
    if "가" <= last <= "힣":
        place = (ord(last) - ord("가")) % 28
        return "ㄹ" if place == 8 else "*" * bool(place)
    if "ㄱ" <= last <= "ㅎ":  # a letter by its name: 기역, 리을
        return "ㄹ" if last == "ㄹ" else "*"
    if last.isdigit():
        return {"1": "ㄹ", "7": "ㄹ", "8": "ㄹ", "0": "*", "3": "*", "6": "*"}.get(last, "")
    word = _WORD.search(text)
    return _final_of_latin(word[0]) if word else ""


def _final_of_latin(word: str) -> str:
    lower = word.lower()
    if len(word) == 1 or word.isupper() or not re.search("[aeiouy]", lower):  # by its letters: 엘, 엠, 엔, 알
        return {"l": "ㄹ", "r": "ㄹ", "m": "*", "n": "*"}.get(lower[-1], "")
    found = _SPOKEN.search(lower)
    return "" if found is None else "ㄹ" if found["l"] else "*"
