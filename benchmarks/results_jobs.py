"""What `results.py` measures: a job a row of docs/results.md, with its command."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CIFAR = "../shared/data/cifar10"
ANTS = "../shared/data/ants_bees"
MOBILENET = ("model.name=torchvision/mobilenet_v2", "model.weights=../shared/weights/mobilenet_v2.pth")
EFFICIENTNET = "model.weights=../shared/weights/tf_efficientnetv2_b0.safetensors"
EMOTION = ("../shared/data/emotion/labels.csv", "--recipe", "emotion", EFFICIENTNET)
FROZEN = ("train.stages=[{name: head, freeze: backbone, views: 0}]", "train.epochs=30", "optim.head_lr=3e-3")
"""A head on cached features: a fold takes seconds."""
PLAIN = ("loss.name=cross_entropy", "loss.class_weights=null")
LOSSES = {
    "cross-entropy": PLAIN,
    "focal": ("loss.name=focal", "loss.class_weights=null"),
    "class-balanced focal": ("loss.name=focal", "loss.class_weights=effective"),
    "logit-adjusted, tau 1": ("loss.name=logit_adjusted", "loss.class_weights=null"),
    "logit-adjusted, tau 0.5": ("loss.name=logit_adjusted", "loss.class_weights=null", "loss.tau=0.5"),
    "class-aware sampler": (*PLAIN, "train.sampler=class_aware"),
    "ReMix": (*PLAIN, "mix.name=mixup", "mix.remix=true"),
    "cross-entropy, adjusted afterwards": (*PLAIN, "decision.tau=auto"),
}
PROBE = "train.stages=[{name: probe, freeze: backbone, views: 0, solve: true}]"
FINE = ("train.epochs=3", "input.size=128", "train.precision=bf16")
FINE_STAGES = "train.stages=[{name: head, freeze: backbone, views: 0, solve: true}, "
FINE_TUNED = ("cross-entropy", "class-balanced focal", "logit-adjusted, tau 0.5")
"""Plain, and the two losses that did best on frozen features."""
SKETCH = ("../shared/data/sketch/train.csv", "data.image_root=../shared/data/sketch/train", "--recipe", "sketch")
SKETCH_TEST = "../shared/data/sketch/test.csv"
MASKS = "../shared/data/masks"


@dataclass(frozen=True)
class Job:
    name: str
    title: str
    arguments: tuple[str, ...]
    split: str
    every_seed: bool = False
    variant: str = ""
    """Jobs of one title that differ in this share a table; each is compared with the first one."""
    then: tuple[tuple[str, ...], ...] = ()
    """Commands on the finished run, {out} being its folder."""
    rival: str = ""
    """The job whose answers on the same pictures those of all seeds are compared with."""


def jobs(folder: Path) -> list[Job]:
    table = folder / "ants_bees.csv"
    return [
        Job("ants_bees", "Photos of ants and bees, MobileNetV2, all defaults", (ANTS, *MOBILENET), "val", True),
        Job("ants_bees_csv", "The same files from a CSV", (str(table), f"data.image_root={ANTS}", *MOBILENET), "val"),
        Job("ants_bees_frame", "The same files from a DataFrame", (str(table), ANTS, *MOBILENET), "val"),
        Job("cifar10", "A tenth of CIFAR-10, scratch CNN, all defaults", (CIFAR, "model.name=scratch_cnn"), "test"),
        *(
            Job(
                f"emotion {name}",
                "Emotion: heads on frozen features, five folds by person",
                (*EMOTION, *FROZEN, *pairs, "--folds", "5", "--final", "none"),
                "oof",
                variant=name,
            )
            for name, pairs in LOSSES.items()
        ),
        *(
            Job(
                f"emotion-fine {name}",
                "Emotion: fine-tuned, five folds by person",
                (*EMOTION, *FINE, FINE_STAGES, *LOSSES[name], "--folds", "5", "--final", "none"),
                "oof",
                variant=name,
            )
            for name in FINE_TUNED
        ),
        *recipes(),
        *template(),
    ]


def recipes() -> list[Job]:
    """Return the jobs of the recipes, and what they are compared with."""
    return [
        Job("recipe emotion", "Emotion by the recipe as written", (*EMOTION, "train.precision=bf16"), "val"),
        Job("probe", "Ants and bees: a linear probe, for comparison", (ANTS, EFFICIENTNET, PROBE), "val"),
        Job(
            "two-stage",
            "Ants and bees by the recipe two-stage",
            (ANTS, "--recipe", "two-stage", EFFICIENTNET, "train.precision=bf16"),
            "val",
            True,
            rival="probe",
        ),
        Job(
            "sketch",
            "Sketch: five folds and a submission",
            (*SKETCH, EFFICIENTNET, "train.precision=bf16"),
            "oof",
            then=(("predict", "{out}", SKETCH_TEST, "--submission", SKETCH_TEST, "--out", "{out}/submission.csv"),),
        ),
        Job(
            "mask",
            "Mask: three attributes of person folders, by person",
            (f"{MASKS}/train/images", "--recipe", "mask", EFFICIENTNET, "train.precision=bf16"),
            "val",
            then=(
                (
                    "predict",
                    "{out}",
                    f"{MASKS}/eval/images",
                    "--submission",
                    f"{MASKS}/eval/info.csv",
                    "--out",
                    "{out}/s.csv",
                ),
                ("score", "{out}/s.csv", f"{MASKS}/eval/gt.csv", "--out", "{out}/score.json"),
            ),
        ),
    ]


def template() -> list[Job]:
    """Return the jobs of the template system: from scratch and by transfer, on small pictures and on photos."""
    transfer = ("--recipe", "resnet18", *MOBILENET, "train.precision=bf16")
    frozen = ("train.stages=[{name: head, freeze: backbone, views: 4}]",)
    scratch = ("--recipe", "resnet18", "model.weights=none")
    large = ("train.batch_size=128", "optim.lr=1e-3", "train.epochs=4")
    return [
        Job(
            "template resnet18", "CIFAR-10: ResNet-18 from scratch", (CIFAR, *scratch, *large, "input.size=32"), "test"
        ),
        Job(
            "template transfer",
            "CIFAR-10: transfer, MobileNetV2",
            (CIFAR, *transfer, *large, "input.size=96"),
            "test",
        ),
        Job(
            "template scratch photos",
            "Ants and bees: scratch CNN",
            (ANTS, "model.name=scratch_cnn", "input.size=96"),
            "val",
        ),
        Job(
            "template resnet18 photos",
            "Ants and bees: ResNet-18 from scratch",
            (ANTS, *scratch, "input.size=96"),
            "val",
        ),
        Job("template transfer photos", "Ants and bees: transfer, MobileNetV2", (ANTS, *transfer), "val"),
        Job("template frozen photos", "Ants and bees: transfer, backbone frozen", (ANTS, *transfer, *frozen), "val"),
    ]


def then_told(job: Job) -> list[str]:
    """Return the commands on the finished run, as a page shows them."""
    return ["bunryu " + shlex.join(part.replace("{out}", "RUN") for part in line) for line in job.then]
