"""Files made to upset their reader, each with who reads it: run as a program, it tells what each costs.

python tests/models/crafted.py FOLDER: a line a case, its name, megabytes above the memory before, seconds of processor
time, and the message.
"""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from families import record
from safetensors.torch import save

from bunryu.core.errors import BunryuError
from bunryu.core.storage import read_json, read_jsonl
from bunryu.data.images.decode import decode
from bunryu.data.splits.split_csv import read_digests
from bunryu.evaluate.figures import read_metrics
from bunryu.inference.ensemble_record import read_ensemble
from bunryu.models.build import build
from bunryu.models.digest import BLANK, with_digest
from bunryu.models.record import Architecture
from bunryu.models.sealed_file import open_sealed
from bunryu.models.weights_file import read_state
from bunryu.runs.folder import RunFolder
from bunryu.settings.data import DecodeSpec
from bunryu.train.checkpoint import load_checkpoint

NET = Architecture(name="scratch_cnn")
VALUES: dict[str, Any] = record(NET).model_dump(mode="json")
TENSORS = build(NET, 3).state_dict()
MANY = 250_000
"""Values that a text of JSON may just have."""
Case = tuple[str, Callable[[Path], Any], bytes]


def sealed(tensors: dict[str, torch.Tensor] = TENSORS, **texts: str) -> bytes:
    values = {name: json.dumps(value) for name, value in VALUES.items()} | texts
    return b"".join(with_digest(save(tensors, {"format": "pt", "schema": "2", "digest": BLANK, **values})))


def network(name: str, **arguments: Any) -> bytes:
    return sealed(architecture=json.dumps(VALUES["architecture"] | {"name": name, "arguments": arguments}))


def head(**changes: str) -> str:
    """Return the heads with texts of JSON in place of values."""
    values = {name: json.dumps(value) for name, value in VALUES["heads"][0].items()} | changes
    return f"[{{{', '.join(f'{json.dumps(name)}: {text}' for name, text in values.items())}}}]"


def many(one: str, times: int = MANY) -> str:
    return f"[{','.join([one] * times)}]"


def keys(value: str, times: int = MANY) -> str:
    return f"{{{','.join(f'{json.dumps(str(i))}:{value}' for i in range(times))}}}"


def models() -> Iterator[Case]:
    for name, content in {
        "as it should be": sealed(),
        "a long list": sealed(provenance=f'{{"a": {many("{}", 2_000_000)}}}'),
        "a list": sealed(provenance=f'{{"a": {many("{}")}}}'),
        "classes of another type": sealed(heads=head(classes=many("{}"))),
        "one class many times": sealed(heads=head(classes=many('"a"'))),
        "heads of nothing": sealed(heads=many("{}")),
        "thresholds": sealed(decision=f'{{"thresholds": {keys("2")}}}'),
        "keys unheard of": sealed(decision=keys("2")),
        "offsets": sealed(decision=f'{{"logit_offsets": {many("1e99")}}}'),
        "quotes": sealed(provenance='"' + '\\"' * 1_000_000),
        "brackets": sealed(provenance="[" * 3_000_000),
        "a giant": network("timm/vit_giant_patch14_224"),
        "tables of a large picture": network("timm/swin_tiny_patch4_window7_224", img_size=[4096, 4096]),
        "positions of a large picture": network("torchvision/vit_b_16", image_size=4096),
        "many tensors": sealed({str(i): torch.zeros(0) for i in range(50_000)}),
    }.items():
        yield f"model: {name}", open_sealed, content
    whole = sealed()
    length = struct.unpack("<Q", whole[:8])[0]
    header, data = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    for name, changed in {
        "overlapping": {**header, "head.1.bias": header["head.1.weight"]},
        "absurd shape": {**header, "head.1.bias": header["head.1.bias"] | {"shape": [2**62, 4]}},
        "beyond the end": {**header, "head.1.bias": header["head.1.bias"] | {"data_offsets": [0, 2**60]}},
        "negative": {**header, "head.1.bias": header["head.1.bias"] | {"shape": [-3]}},
    }.items():
        text = json.dumps(changed).encode()
        yield f"header: {name}", open_sealed, struct.pack("<Q", len(text)) + text + data
    twice = whole[8 : 8 + length].rstrip()[:-1] + b',"head.1.bias":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    yield "header: a key twice", open_sealed, struct.pack("<Q", len(twice)) + twice + data
    for length in (2**63, 90_000_000, 7_999_999):
        yield f"header: of {length} bytes", open_sealed, struct.pack("<Q", length) + b'{"a":' + b"[" * 8_000_000


def texts() -> Iterator[Case]:
    list_, deep = many("{}").encode(), b"[" * 7_000_000
    for name, read in (
        ("ensemble.json", read_ensemble),
        ("environment.json", lambda path: RunFolder(path.parent).read_environment()),
        ("metrics.json", lambda path: read_metrics(RunFolder(path.parent))),
        ("history.jsonl", read_jsonl),
        ("other.json", read_json),
    ):
        for kind, content in (
            ("a list", list_),
            ("deep", deep),
            ("large", b"1" * 100_000_000),
            ("values", f'{{"members": {many("{}")}, "per_class": {keys("1", 40_000)}}}'.encode()),
            ("figures", f'{{"val": {{"per_class": {keys("{}")}}}}}'.encode()),
            ("lines", b"{}\n" * 100_000),
            ("no text", os.urandom(1000)),
        ):
            yield f"{name}: {kind}", read, content
    for kind, text in (("list", "a: [" + "1," * 400_000 + "]"), ("keys", "".join(f"k{i}: 1\n" for i in range(90_000)))):
        yield f"config.yaml: {kind}", lambda path: RunFolder(path.parent).settings(), text.encode()
    yield (
        "config.yaml: wrong keys",
        lambda path: RunFolder(path.parent).settings(),
        b"k: 1\n" + b"".join(f"k{i}: 1\n".encode() for i in range(20_000)),
    )
    yield "split.csv: columns", read_digests, b"," * 5_000_000
    yield "split.csv: quotes", read_digests, b'"' * 5_000_001


def weights() -> Iterator[Case]:
    plain = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, plain)
    yield "weights: as they should be", read_state, plain.getvalue()
    bomb = io.BytesIO()
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        for entry in source.infolist():
            content = bytes(800_000_000) if entry.filename.endswith("/0") else source.read(entry)
            target.writestr(entry.filename, content)
    yield "weights: a zip bomb", read_state, bomb.getvalue()
    wide = io.BytesIO()
    torch.save({"a": torch.zeros(1).expand(100_000, 100_000)}, wide)
    yield "weights: one number a thousand million times", read_state, wide.getvalue()
    yield "weights: a pickle of a giant", read_state, b"\x80\x02" + b"]" * 5_000_000 + b"."


def pictures() -> Iterator[Case]:
    def shown(path: Path) -> Any:
        return decode(path, DecodeSpec())

    for kind, shape in (
        ("more than there is", "(9000, 9000, 4)"),
        ("absurd", f"({2**40}, {2**40})"),
        ("none", "(-1, 5)"),
    ):
        text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".encode()
        yield f"npy: {kind}", shown, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(100)
    yield "npy: a giant head", shown, b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"(" * 1_000_000
    yield (
        "npy: a pickle",
        shown,
        b"\x93NUMPY\x01\x00"
        + struct.pack("<H", 56)
        + (b"{'descr': '|O', 'fortran_order': False, 'shape': (2, 2)}")
        + b"cos\nsystem\n.",
    )
    packed = io.BytesIO()
    np.savez_compressed(packed, a=np.zeros(100_000_000, np.uint8))
    yield "npz: zeros", shown, packed.getvalue()


def checkpoints() -> Iterator[Case]:
    for name, texts in {
        "progress": {"progress": f'{{"group_logs": {many("1")}}}'},
        "keys": {"progress": keys("1")},
        "groups": {"optimizer": f'{{"param_groups": {many("{}")}, "scalars": {{}}}}'},
        "scalars": {"optimizer": f'{{"param_groups": [{{}}], "scalars": {keys("{}")}}}'},
        "scaler": {"scaler": keys("-1")},
        "deep": {"sealed": "[" * 5_000_000},
    }.items():
        metadata = {"checkpoint_schema": "2", "digest": BLANK, "progress": "{}", "optimizer": "null", "scaler": "{}"}
        whole = {**metadata, "sealed": json.dumps(VALUES), **texts}
        yield f"checkpoint: {name}", load_checkpoint, b"".join(with_digest(save({"net.a": torch.zeros(1)}, whole)))


def memory() -> tuple[int, int]:
    """Return the megabytes that this process has, and the most that it has had since it was last asked to count."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) // 1024, int(lines["VmHWM"].split()[0]) // 1024


def main(folder: Path) -> None:
    import timm  # noqa: F401 - so that its own modules are not counted

    for number, (name, read, content) in enumerate(
        case for kind in (models, texts, weights, pictures, checkpoints) for case in kind()
    ):
        place = folder / str(number)
        place.mkdir()
        file = place / (name.split(":")[0] if name.split(":")[0].count(".") else "file")
        file.write_bytes(content)
        Path("/proc/self/clear_refs").write_text("5")
        before, start = memory()[0], time.process_time()
        try:
            read(file)
            told = "read"
        except BunryuError as error:
            told = str(error)
        seconds = time.process_time() - start
        print(json.dumps([name, memory()[1] - before, seconds, told[:300]]), flush=True)
        file.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
