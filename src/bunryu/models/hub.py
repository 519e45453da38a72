"""A library's own weights from its hub: told quickly where it cannot be reached, and never loaded in part unseen."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import torch
from torch import nn

from bunryu.core import console
from bunryu.core.errors import ModelError, some, typed
from bunryu.models.lazy_imports import import_timm, import_torchvision_models

N = TypeVar("N", bound=nn.Module)
_SECONDS = 5.0
_NETWORK = ("httpx", "httpcore", "requests", "urllib3", "huggingface_hub")


def weights_name(library: str, bare: str) -> str:
    """Return which weights the library means by `bare`: with timm's tag, or torchvision's enum."""
    if library == "timm":
        timm = import_timm()

        cfg = timm.get_pretrained_cfg(bare)
        return f"timm/{bare.split('.')[0]}" + (f".{cfg.tag}" if cfg is not None and cfg.tag else "")
    models = import_torchvision_models()

    return f"torchvision/{models.get_model_weights(bare).DEFAULT}"


def fetched(library: str, bare: str, make: Callable[[], N]) -> N:
    """Return the net that `make` builds while its library fetches the weights.

    Raises:
        ModelError: the hub has none, or cannot be reached and the local cache does not have them, or they did
            not load in full.
    """
    import huggingface_hub.constants as hub

    place, on_hf_hub = _place(library, bare)
    name, offline = weights_name(library, bare), hub.HF_HUB_OFFLINE
    if not place:
        raise ModelError(f"{name} has no weights on its hub. Give model.weights=FILE or model.weights=none.")
    silent = False
    try:
        if on_hf_hub:
            silent = offline or not reachable(hub.ENDPOINT)
            hub.HF_HUB_OFFLINE = silent  # then timm looks into its cache only
        elif not _cached(place) and not reachable(place):
            silent = True
            raise ConnectionError
        with _listening() as heard:
            net = make()
    except Exception as error:
        host = "HF_HUB_OFFLINE is set" if offline and on_hf_hub else f"{urlsplit(place).hostname} does not answer"
        raise _refusal(name, place, error, host if silent else "") from error
    finally:
        hub.HF_HUB_OFFLINE = offline
    _require_whole(name, net, heard)
    return net


def reachable(url: str, seconds: float = _SECONDS) -> bool:
    """Return whether the host of `url` answers (whatever it says) within `seconds`, through a proxy if one is set."""
    answered = threading.Event()

    def ask() -> None:
        try:
            urlopen(Request(url, method="HEAD"), timeout=seconds).close()
        except HTTPError:
            pass
        except (OSError, ValueError):
            return
        answered.set()

    asking = threading.Thread(target=ask, daemon=True)  # looking up a name has no timeout of its own
    asking.start()
    asking.join(seconds + 1)
    return answered.is_set()


def _place(library: str, bare: str) -> tuple[str, bool]:
    """Return the address of the weights ("" where nowhere), and whether that is the Hugging Face hub."""
    if library == "timm":
        import huggingface_hub.constants as hub

        timm = import_timm()

        cfg = timm.get_pretrained_cfg(bare)
        if cfg is None or not (cfg.hf_hub_id or cfg.url):
            return "", False
        if not cfg.hf_hub_id:
            return cfg.url, False
        file = (
            "/resolve/main/model.safetensors" if cfg.hf_hub_id.startswith("timm/") else ""
        )  # others call it otherwise
        return f"{hub.ENDPOINT}/{cfg.hf_hub_id}{file}", True
    models = import_torchvision_models()

    return str(models.get_model_weights(bare).DEFAULT.url), False


def _cached(url: str) -> bool:
    return (Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name).exists()


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Collect what timm logs while it loads weights; it tells of missing tensors nowhere else."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    logger, ear = logging.getLogger("timm.models._builder"), Ear()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(ear)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield heard
    finally:
        logger.removeHandler(ear)
        logger.setLevel(level)
        logger.propagate = propagate


def _require_whole(name: str, net: nn.Module, heard: list[str]) -> None:
    """Refuse a net of which weight matrices stayed random; say which norms and biases did.

    A few of timm's weights have no last norm, which starts as it would anywhere.
    """
    message = next((text for text in heard if text.startswith("Missing keys (")), None)
    if message is None:
        return
    missing = message.removeprefix("Missing keys (").partition(")")[0].split(", ")
    target = net.state_dict()
    if random := [key for key in missing if key in target and target[key].ndim > 1]:
        raise ModelError(
            f"The weights of {name} on its hub do not fill its backbone: {len(random)} of {len(target)} tensors are "
            f"missing ({some(random, 3)}). Nothing was trained. Choose another model.name or model.weights=FILE."
        )
    console.say(f"weights: not on the hub, so they start anew: {some(missing, 4)}", style="yellow")


def _refusal(name: str, place: str, error: Exception, silent: str) -> ModelError:
    """Say why there are no weights; `silent` is why nothing could be asked, or empty where something answered."""
    if isinstance(error, OSError) or type(error).__module__.startswith(_NETWORK):
        why = f"{silent}, and they are not in the local cache" if silent else first_line(error)
        return ModelError(
            f"The weights of {name} could not be fetched: {why}. Nothing was trained.", *_ways(place).split("\n")
        )
    return ModelError(f"{name} cannot be made with its weights: {first_line(error)}")


def _ways(place: str) -> str:
    """Say how to go on without the hub: with files that lie at hand, with one fetched elsewhere, or from scratch."""
    here = [f"the weights at hand: {pairs}" for pairs in at_hand(Path())]
    return "\n".join(
        [
            "Add one of these to the command:",
            *(f"  - {way}" for way in here),
            f"  - a file: download {place} where there is a network, then model.weights=FILE",
            "  - an earlier run of yours: model.weights=runs/NAME-1",
            "  - no weights: model.name=scratch_cnn (or model.weights=none). With fewer than 200 pictures a class that "
            "stays far below pretrained ones, with 10 near chance: docs/training/few.md",
        ]
    )


def at_hand(folder: Path) -> list[str]:
    """Return the settings that start from each file of weights in a folder (or its weights/), where its name says of
    which network; a few at most.
    """
    found = []
    files = (file for place in (folder, folder / "weights") for file in sorted(place.glob("*")))
    for file in files:
        if file.suffix not in (".safetensors", ".pth", ".pt", ".bin") or not file.is_file():
            continue
        libraries = [name for name in _libraries(file.stem.split(".")[0]) if name]
        if libraries:
            found.append(f"model.name={libraries[0]} model.weights={typed(file)}")
    return found[:4]


def _libraries(bare: str) -> list[str]:
    """Return the full names of a network, where timm or torchvision has it: that library first whose files are so."""
    timm, models = import_timm(), import_torchvision_models()
    own = [f"timm/{bare}"] if bare in timm.list_models() else []
    return [*own, *([f"torchvision/{bare}"] if bare in models.list_models(module=models) else [])]


def first_line(error: Exception) -> str:
    """Return the kind of an error and the first line of what it says."""
    first = (str(error).strip().splitlines() or [""])[0].split(". ")[0]
    return f"{type(error).__name__}: {first[:160]}"
