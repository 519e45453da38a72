"""The commands beside training and using a model: probe, bench, ensemble, split, augment, score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bunryu.commands import (
    ANSWERS,
    TRUTH,
    LinkName,
    MeanName,
    Quiet,
    WeightsName,
    data_and_pairs,
    nothing_written,
    of_source,
    runs_folder,
    settings_and_data,
    table_of,
)
from bunryu.core import console
from bunryu.core.errors import ConfigError, typed


def probe(
    args: Annotated[
        list[str] | None,
        typer.Argument(metavar="DATA [KEY=VALUE]", help="As for train. [DATA: $SM_CHANNEL_TRAIN]", show_default=False),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=WEIGHTS]", help="A backbone to try; give it several times to compare. [model.name]"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where results go. [runs/NAME-probe-N, or $SM_MODEL_DIR/...]")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Tell in a minute what frozen weights reach.

    Cross-validates linear heads on the features of one or several backbones, and writes the recipe to train next.
    """
    console.set_quiet(quiet)
    data, pairs = data_and_pairs(args or [])
    _, values = settings_and_data(pairs, of_source(data))
    from bunryu.runs.folder import require_new

    require_new(out)
    root = runs_folder(out)
    from bunryu.workflows import probe as probing
    from bunryu.workflows import probe_report

    found = probing.probe(pairs, backbone or [], values, out=out, root=root)
    console.result(repr(found))
    for line in (*probe_report.advice(found), *found.look):
        console.say(line)
    files = "report.txt, probe.json, predictions_oof.csv" + (", review.csv, review.png" if found.look else "")
    console.say(f"probe: {found.path} ({files})")
    given = [arg for arg in args or [] if not arg.startswith(("model.name=", "model.weights=", "loss."))]
    console.say(f"next: bunryu train {' '.join(map(typed, [*given, '--recipe', found.path / 'recipe.yaml']))}")


def bench(
    args: Annotated[
        list[str] | None,
        typer.Argument(metavar="DATA [KEY=VALUE]", help="As for train. [DATA: $SM_CHANNEL_TRAIN]", show_default=False),
    ] = None,
    tune: Annotated[bool, typer.Option("--tune", help="Time other precisions and thread counts too.")] = False,
    out: Annotated[Path, typer.Option(help="With --tune: where the fastest settings go.")] = Path("tuned.yaml"),
    quiet: Quiet = False,
) -> None:
    """Time a few steps of a run on this machine.

    The pure step on a batch in memory, training from files, and prediction; with --tune, other ways to compute.
    """
    console.set_quiet(quiet)
    data, pairs = data_and_pairs(args or [])
    settings, _ = settings_and_data(pairs, of_source(data))
    if tune and out.exists():
        raise ConfigError(f"--out: {out} is there already, and is not overwritten. Name another file.")
    from bunryu.workflows import bench as benching

    found, plan = benching.bench(settings, tune=tune)
    console.result("\n".join([benching.HEADER, *(way.line() for way in found)]))
    if tune:
        best = benching.fastest(found)
        benching.write_tuned(out, best, plan)
        console.say(f"fastest: {best.precision}, {best.threads} threads: {out}")
        console.say(f"next: bunryu train {typed(data) if data else 'DATA'} --recipe {typed(out)}")


def ensemble(
    runs: Annotated[list[Path], typer.Argument(help="Two or more runs.", show_default=False)],
    out: Annotated[Path, typer.Option(help="A new folder.", show_default=False)],
    weights: Annotated[
        WeightsName, typer.Option(help="Equal, or fitted on the rows that all were validated on.")
    ] = WeightsName.equal,
    mean: Annotated[MeanName, typer.Option(help="What is averaged.")] = MeanName.probabilities,
    quiet: Quiet = False,
) -> None:
    """Let several runs predict together.

    Copies their models into a folder that predict and evaluate take.
    """
    console.set_quiet(quiet)
    from bunryu.runs.folder import model_file, require_new

    require_new(out)
    for run in runs:
        model_file(run)
    from bunryu.workflows import ensemble as uniting

    with nothing_written():
        uniting.unite(runs, out=out, weights=weights.value, mean=mean.value)
    console.say(f"next: bunryu predict {typed(out)} NEW_IMAGES/ --out predictions.csv")


def split(
    out: Annotated[Path, typer.Option(help="A new folder.", show_default=False)],
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA [KEY=VALUE]",
            help="As for train, of the settings data.*, split.* and decode.*. [DATA: $SM_CHANNEL_TRAIN]",
            show_default=False,
        ),
    ] = None,
    link: Annotated[LinkName, typer.Option(help="Copy the files, or link to them.")] = LinkName.copy,
    quiet: Quiet = False,
) -> None:
    """Lay the split out as folders: OUT/train/CLASS/FILE, and so on."""
    console.set_quiet(quiet)
    data, pairs = data_and_pairs(args or [])
    from bunryu.settings.load import require_of_splits

    require_of_splits(pairs)
    settings, _ = settings_and_data(pairs, of_source(data))
    from bunryu.workflows import split as splitting

    with nothing_written():
        table = splitting.split(settings, out, link=link.value)
    console.say(f"next: bunryu train {typed(out)}")
    if lost := splitting.only_in_the_table(table):
        again = [settings.data.source, *(pair for pair in pairs if pair.startswith("data."))]
        command = " ".join(typed(part) for part in [*again, f"split.file={out / 'split.csv'}"] if part)
        console.say(f"folders do not hold {' and '.join(lost)}; the same split with them: bunryu train {command}")


def augment(
    out: Annotated[Path, typer.Option(help="A new folder.", show_default=False)],
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA [KEY=VALUE]",
            help="As for train: data.*, decode.* and augment.* count. [DATA: $SM_CHANNEL_TRAIN]",
            show_default=False,
        ),
    ] = None,
    square: Annotated[bool, typer.Option("--square", help="Pad every picture to a square.")] = False,
    colour: Annotated[str, typer.Option(metavar="COLOUR", help="Of the padding: white, black or R,G,B.")] = "white",
    flip: Annotated[
        str, typer.Option(metavar="WAYS", help="A mirror image of each: horizontal, vertical, or both with a comma.")
    ] = "",
    balance_to: Annotated[
        int | None, typer.Option(metavar="N", help="Random copies until each class has N images to train on.")
    ] = None,
    ops: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="The augment.* of random copies; alone, one copy of each image."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write copies of training images to disk, with a table that train takes: OUT/labels.csv.

    The data stay as they are. A copy has the group of its original, so that no split can tear them apart.
    """
    console.set_quiet(quiet)
    data, pairs = data_and_pairs(args or [])
    from bunryu.settings.load import augment_settings

    file = None if ops is None else str(ops)
    balances = balance_to is not None
    settings, _ = settings_and_data(pairs, of_source(data), augment_settings, file=file, balances=balances)
    from bunryu.workflows import augment as augmenting

    wish = augmenting.read_wish(square, colour, flip, balance_to, ops is not None)
    augmenting.make(settings, out, wish)
    console.say(f"next: bunryu train {typed(out / augmenting.TABLE)}")


def score(
    predictions: Annotated[
        Path | None,
        typer.Argument(help="A table of images and answers. [$SM_OUTPUT_DATA_DIR/predictions.csv]", show_default=False),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Argument(
            help="A table of the same images and the truth. [$SM_GROUND_TRUTH_DIR/gt.csv]", show_default=False
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the figures there, as JSON.")] = None,
    quiet: Quiet = False,
) -> None:
    """Score a table of answers against the truth; rows are joined by file name."""
    console.set_quiet(quiet)
    answers = table_of(predictions, ANSWERS, "predictions", "predictions.csv")
    true = table_of(truth, TRUTH, "truth", "gt.csv")
    from bunryu.workflows import score as scoring

    found = scoring.score(answers, true, out=out)
    console.say(found.report.rstrip())
    console.result(repr(found))
