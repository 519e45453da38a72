"""data.label_pattern: how the name of a file, or its path, says the label."""

from __future__ import annotations

import re
from dataclasses import dataclass

PARTS = ("label", "split", "group")
"""What a pattern can find."""
_TOKEN = re.compile(r"\{([^{}]*)\}|\*\*/|\*\*|\*|#|[^{}*#]+|.")
_WILD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "#": "(?<![0-9])[0-9]+"}


@dataclass(frozen=True)
class LabelPattern:
    """A compiled pattern."""

    text: str
    regex: re.Pattern[str]
    template: bool
    """It has {label}; else it is a regular expression."""

    def find(self, path: str) -> dict[str, str] | None:
        """Return label, and split and group where the pattern has them; None where it does not fit.

        Args:
            path: relative to the data's folder, with forward slashes.
        """
        if not self.template:
            found = self.regex.search(path)
        else:
            whole = path if "/" in self.text else path.rsplit("/", 1)[-1]
            found = self.regex.fullmatch(re.sub(r"(?<=[^/])\.[^./]*$", "", whole))
        if found is None:
            return None
        named = {name: found[name] or "" for name in PARTS if name in self.regex.groupindex}
        return named if "label" in named else {**named, "label": found[1] or ""}


def label_pattern(text: str) -> LabelPattern:
    """Compile a pattern: with {label} a template, else a regular expression with a group.

    Raises:
        ValueError: saying what is wrong with it.
    """
    if "{label}" in text:
        return LabelPattern(text, re.compile(_of_template(text), re.DOTALL), template=True)
    try:
        regex = re.compile(text)
    except re.error as error:
        raise ValueError(
            f"data.label_pattern={text!r} has no {{label}} and is no regular expression: {error}"
        ) from None
    if "label" not in regex.groupindex and regex.groups != 1:
        raise ValueError(
            f"data.label_pattern={text!r} does not say where the label is. Expected {{label}} in it, as in "
            "'{label}.*' or '{label}/{group}/**'; or a regular expression with one group, or one called label: "
            r"'(.+)_\d+'"
        )
    return LabelPattern(text, regex, template=False)


def _of_template(text: str) -> str:
    parts, seen = [], set()
    for token in _TOKEN.finditer(text):
        name = token[1]
        if name is None:
            parts.append(_WILD.get(token[0], re.escape(token[0])))
            continue
        if name not in PARTS or name in seen:
            told = f"{{{name}}} twice" if name in seen else f"{{{name}}}"
            raise ValueError(
                f"data.label_pattern={text!r} has {told}; it may have {{label}}, {{split}}, {{group}} once"
            )
        seen.add(name)
        parts.append(f"(?P<{name}>[^/]+{'' if name == 'label' else '?'})")
    return "".join(parts)
