"""A backbone as a row of blocks from its input to its output: what layer-wise rates and partial freezing go by."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from bunryu.core.errors import ConfigError, count

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


def blocks(backbone: nn.Module) -> list[list[str]]:
    """Return the names of the backbone's parameters, block by block, the stem first.

    timm's nets say themselves how they are built (``group_matcher``); of any other net a block is a child, where
    sequences and lists of layers are opened into theirs, in the order of their making, which is that of use.
    """
    matcher = getattr(backbone, "group_matcher", None)
    if callable(matcher):
        from timm.models import group_parameters

        grouped: dict[int, list[str]] = {}
        layer_of = group_parameters(backbone, matcher(coarse=False), reverse=True)
        for name, _ in backbone.named_parameters():
            grouped.setdefault(layer_of.get(name, max(layer_of.values())), []).append(name)
        return [grouped[layer] for layer in sorted(grouped)]
    total = sum(p.numel() for p in backbone.parameters())
    found: list[list[str]] = []
    for starts, names in _blocks(backbone, "", total):
        if starts or not found:
            found.append([])
        found[-1] += names
    return found


def freeze_before(backbone: nn.Module, last: int) -> None:
    """Take the gradients from all but the last so many blocks.

    Raises:
        ConfigError: the backbone has no more blocks than that.
    """
    rows = whole_blocks(backbone)
    if last >= len(rows):
        raise ConfigError(
            f"train_blocks: {last}: this backbone has {count(len(rows), 'block')}, so nothing would be frozen. "
            f"Give {len(rows) - 1} or fewer, or leave train_blocks out to train all of it."
        )
    frozen = {name for row in rows[:-last] for name in row}
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name not in frozen)


def train_what_learns(module: nn.Module, before: bool = False) -> bool:
    """Switch to training what learns, and wholly to eval mode what is frozen: BatchNorm, dropout, drop path.

    What has no parameters goes with what stands before it. Returns whether the last part of `module` learns.

    Args:
        module: with parameters of which some require no gradient.
        before: whether what stands before it learns.
    """
    learns = {parameter.requires_grad for parameter in module.parameters()} or {before}
    if len(learns) == 1:
        module.train(learns.pop())
        return module.training
    module.train()
    for child in module.children():
        before = train_what_learns(child, before)
    return before


def whole_blocks(backbone: nn.Module) -> list[list[str]]:
    """Return `blocks`, but what is nothing but a norm (timm counts the last one of some nets) with the block before."""
    norms = {f"{name}.{key}" for name, m in backbone.named_modules() if isinstance(m, _NORMS) for key in m._parameters}
    found: list[list[str]] = []
    for row in blocks(backbone):
        if found and norms.issuperset(row):
            found[-1] = found[-1] + row
        else:
            found.append(row)
    return found


def _blocks(module: nn.Module, prefix: str, total: int) -> Iterator[tuple[bool, list[str]]]:
    """Yield whether a new block starts, and its parameters' names.

    A norm, or a parameter of the whole such as an embedding of positions, belongs to what stands before it.
    """
    own = [prefix + name for name, _ in module.named_parameters(recurse=False)]
    if own:
        yield False, own
    for name, child in module.named_children():
        inner = [f"{prefix}{name}.{key}" for key, _ in child.named_parameters()]
        if not inner:
            continue
        if _is_row(child) or (sum(p.numel() for p in child.parameters()) > total / 2 and any(child.children())):
            yield from _blocks(child, f"{prefix}{name}.", total)
        else:
            yield not _only_norms(child), inner


def _is_row(module: nn.Module) -> bool:
    """Return whether this is a row of blocks, and not one block such as convolution, norm, activation."""
    if not isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return False
    return sum(not _only_norms(child) for child in module.children()) > 1


def _only_norms(module: nn.Module) -> bool:
    """Return whether no parameter is of anything but a norm."""
    return all(isinstance(m, _NORMS) for m in module.modules() if next(m.parameters(recurse=False), None) is not None)
