"""The words by which people call train, val and test, in the names of folders, in columns and in cells."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

PREDICT = "predict"
"""What stands for the pictures of a competition that come without labels (seg_pred/)."""
_CALLED = {
    "train": ("train", "training", "trn", "trainval", "학습", "훈련"),
    "val": ("val", "valid", "validation", "validate", "validating", "dev", "vld", "publictest", "검증"),
    "test": ("test", "testing", "tst", "eval", "evaluation", "holdout", "privatetest", "시험", "평가", "테스트"),
    PREDICT: ("pred", "predict", "prediction", "predictions", "unlabeled", "unlabelled"),
}
"""As Hugging Face's datasets have them, and FER2013 (publictest, privatetest); trainval is all that may be learned."""
_WORDS = {word: split for split, words in _CALLED.items() for word in words}
_BESIDE = (
    r"(?:\d|sets?|data(?:sets?)?|images?|imgs?|pictures?|photos?|pics?|folder|dir|split|samples?|files?|list|new|"
    "데이터|셋|세트|이미지|사진|용)"
)
_NAMED = re.compile(f"{_BESIDE}*?({'|'.join(sorted(_WORDS, key=len, reverse=True))}){_BESIDE}*")
_LONGEST = 40
_BETWEEN = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")


def split_of(text: str) -> str | None:
    """Return train, val, test or `PREDICT` for a name or a cell such as Validation, training_set or 01.Test.

    None where another word stands in it, as in bullet_train.
    """
    word = re.sub(r"[\W_]+", "", unicodedata.normalize("NFC", text)).casefold()
    found = _NAMED.fullmatch(word) if len(word) <= _LONGEST else None
    return _WORDS[found[1]] if found else None


def splits_of(names: Sequence[str]) -> dict[str, str]:
    """Return {name: split} of those names beside each other that are splits; `PREDICT` among them.

    Beside those of `split_of` these are names with one more word in common: seg_train, seg_test and seg_pred.
    """
    found = {name: split for name in names if (split := split_of(name))}
    families: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for name in set(names) - set(found):
        words = [word for word in _BETWEEN.split(name) if word]
        splits = [split_of(word) for word in words]
        if len(told := [split for split in splits if split]) == 1:
            rest = tuple(word.casefold() for word, split in zip(words, splits, strict=True) if not split)
            families[rest][name] = told[0]
    for family in families.values():
        if len(set(family.values())) > 1 and "train" in family.values():
            found |= family
    return found
