"""What is wrong with a command's options, where its parser says too little."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

from bunryu.core.errors import ConfigError, nearest
from bunryu.settings.messages import ALSO

_TAKING: dict[str, str | tuple[str, ...]] = {
    "train": "",
    "probe": "",
    "bench": "",
    "evaluate": ("data.", "evaluate."),
}
"""Commands that take KEY=VALUE, and how the keys must begin."""

ELSEWHERE = {
    "infer": "predict",
    "inference": "predict",
    "test": "evaluate",
    "val": "evaluate",
    "validate": "evaluate",
    "fit": "train",
    "finetune": "train",
    "separate": "split",
}
"""What commands are called elsewhere, where the spelling does not tell the right one."""


def told_plainly(error: Exception, command: str, arguments: Sequence[str]) -> str | None:
    """Return a better message for an error of the parser; None where its own will do.

    Args:
        error: click's.
        command: the name of the command.
        arguments: the whole command line.
    """
    kind, message = type(error).__name__, str(getattr(error, "message", ""))
    if kind == "NoSuchOption":
        return _as_setting(str(getattr(error, "option_name", "")), command, arguments)
    option = getattr(getattr(error, "param", None), "opts", [])
    if kind != "BadParameter" or not option or "is not one of" not in message:
        return None
    # what was received, and of what it is none, stand in the message alone
    received, *known = re.findall(r"'([^']*)'", message)
    near = nearest(ALSO.get(received, received), known)
    return f"{option[0]}: expected one of {', '.join(known)}, received {received!r}.{near}"


def raise_plainly(error: Any) -> None:
    """Raise what the parser says as an error of ours; do nothing where `error` is none of the parser's.

    Raises:
        ConfigError: what is wrong, and whose --help says more.
        SystemExit: nothing was asked, and the help was shown instead.
    """
    if not hasattr(error, "format_message"):
        return
    context = getattr(error, "ctx", None)
    if "NoArgsIsHelp" in type(error).__name__:
        error.show()
        sys.exit(error.exit_code)
    command = context.command_path if context else "bunryu"
    message = str(error.format_message()).strip()
    raise ConfigError(f"{message.rstrip('.')}{'' if message.endswith('?') else '.'} See: {command} --help") from None


def _as_setting(option: str, command: str, arguments: Sequence[str]) -> str | None:
    """Return what to type for an option that is the last part of a setting's key."""
    from bunryu.settings.fields import keys
    from bunryu.settings.run import RunSettings

    word = option.lstrip("-").replace("-", "_").lower()
    every = [key.name for key in keys(RunSettings) if command in _TAKING and key.name.startswith(_TAKING[command])]
    found = [name for name in every if word in (name, name.rpartition(".")[2])]
    if not found:
        return None
    value = _value(option, arguments)
    return (
        f"There is no option {option}. Settings are given as KEY=VALUE: "
        f"{', or '.join(f'{name}={value}' for name in found)}"
    )


def _value(option: str, arguments: Sequence[str]) -> str:
    """Return what stands behind an option, or VALUE."""
    for at, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == option:
            rest = value if equals else next(iter(arguments[at + 1 : at + 2]), "")
            return rest if rest and not rest.startswith("--") else "VALUE"
    return "VALUE"
