"""What a person who reads Korean sees at the terminal; files and Python stay English."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from bunryu.core import console
from conftest import Command, MakeImages, Tiny


@pytest.fixture(autouse=True)
def _in_korean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUNRYU_LANG", "ko")


@pytest.fixture
def folders(here: Path, make_images: MakeImages) -> Path:
    """Folders and tables as people have them, right and wrong."""
    make_images(here / "사진", {"개": 3, "고양이": 3})
    make_images(here / "한 클래스", {"개": 3})
    make_images(here / "외톨이", {"개": 3, "고양이": 1})
    make_images(here / "빈 클래스", {"개": 3, "고양이": 3})
    (here / "빈 클래스/새").mkdir()
    (here / "빈 폴더").mkdir()
    (here / "글/메모").mkdir(parents=True)
    (here / "글/메모/a.txt").write_text("x")
    (here / "손상").mkdir()
    for name in ("개", "고양이"):
        (here / "손상" / name).mkdir()
        (here / "손상" / name / "1.jpg").write_bytes(b"no image")
    (here / "사진.7z").write_bytes(b"7z")
    (here / "빈.csv").write_text("")
    (here / "줄.csv").write_text("path,label\n")
    (here / "열.csv").write_text("path,하나,둘\n1.png,a,b\n2.png,a,c\n3.png,b,b\n4.png,b,c\n")
    (here / "없는.csv").write_text("path,label\n1.png,a\n2.png,b\n")
    return here


MISTAKES = {
    "train": "오류: 데이터를 지정하지 않았습니다. 폴더나 CSV를 주십시오: bunryu train photos/",
    "train 사지": "오류: 그런 파일이나 폴더가 없습니다: 사지. 혹시 '사진'입니까?",
    "train 없음.csv": "오류: 그런 파일이나 폴더가 없습니다: 없음.csv. 혹시 '없는.csv'입니까?",
    "train '빈 폴더'": "빈 폴더에 클래스 폴더도 이미지도 없습니다.",
    "train 글": "폴더에 이미지가 없습니다(메모).",
    "train '한 클래스'": "한 클래스에 클래스가 '개' 하나뿐입니다. 분류하려면 둘 이상 있어야 합니다.",
    "train '빈 클래스'": "이미지가 없는 클래스 폴더가 있습니다: 새. 이미지를 넣거나 빈 폴더를 지우십시오.",
    "train 사진/개": "라벨을 알 수 없습니다. 클래스마다 폴더가 하나씩 있거나",
    "train 외톨이 model.name=scratch_cnn": "클래스 '고양이'에 이미지가 1장뿐이어서 train, val로",
    "train 손상 model.name=scratch_cnn": "오류: 이미지 2장을 모두 읽을 수 없습니다:",
    "train 사진.7z": "압축을 푼 뒤 그 폴더를 주십시오: 7z x",
    "train 빈.csv": "빈.csv 표가 비어 있습니다.",
    "train 줄.csv": "줄.csv 표에 첫 줄(열 이름)만 있고 행이 없습니다.",
    "train 열.csv": "열.csv에서 어느 열이 라벨인지 알 수 없습니다.",
    "train 열.csv data.label_column=셋": "열.csv에 '셋' 열이 없습니다.",
    "train 없는.csv": "없는.csv에 적힌 이미지가 하나도 그 자리에 없습니다.",
    "train 사진 data.label_column=x": "data.label_column은 CSV에만 씁니다.",
    "train 사진 train.epoch=3": "오류: 'train.epoch'라는 설정은 없습니다 (명령줄에서). 혹시 'train.epochs'입니까?",
    "train 사진 lr=1": "오류: 'lr'이라는 설정은 없습니다 (명령줄에서). 혹시 'optim.lr'입니까?",
    "train 사진 train.epochs=많이": "오류: train.epochs: 정수여야 합니다. 받은 값: '많이' (명령줄에서).",
    "train 사진 train.epochs=0": "오류: train.epochs: 1 이상인 정수여야 합니다. 받은 값: '0' (명령줄에서).",
    "train 사진 train.device=gpu": "auto, cuda, mps 또는 cpu여야 합니다. 받은 값: 'gpu' (명령줄에서). 혹시",
    "train 사진 split.test=0.9": "오류: split.val + split.test는 1보다 작아야 합니다. 받은 값: 0.2 + 0.9 (명령줄에서).",
    "train 사진 --recipe emotoin": "오류: 'emotoin'이라는 레시피는 없습니다. 혹시 'emotion'입니까? 레시피: default,",
    "train 사진 model.name=resnte18": "오류: model.name: 'resnte18'이라는 모델은 없습니다.",
    "train 사진 model.weights=x.pth": "오류: model.weights: 그런 파일이나 실행 폴더가 없습니다:",
    "train 사진 --foo": "오류: --foo는 없는 옵션입니다. 비슷한 옵션: --folds, --out. 도움말: bunryu train --help",
    "train 사진 --lr 3": "오류: --lr은 없는 옵션입니다. 설정은 KEY=VALUE 꼴로 줍니다: optim.lr=3",
    "train 사진 --folds 1": "오류: 옵션 '--folds'의 값이 잘못되었습니다: 2 이상이어야 합니다.",
    "train 사진 --folds": "오류: 옵션 '--folds'에는 값이 있어야 합니다.",
    "train 사진 글": "DATA 하나와 key=value 설정을 주십시오. '=' 없이 받은 것이 2개입니다: 사진, 글.",
    "train --resume 없음": "오류: 없음 실행 폴더가 없습니다.",
    "train --resume 사진": "오류: 사진은 실행 폴더가 아닙니다. config.yaml도 model.safetensors도 없습니다.",
    "train 사진 --more-epochs 3": "--more-epochs는 --resume RUN과 함께 씁니다.",
    "train 사진 --out 사진": "--out: 사진은 비어 있지 않습니다. 실행은 덮어쓰지 않습니다.",
    "trian 사진": "오류: 'trian'은 없는 명령입니다. 혹시 'train'입니까? 도움말: bunryu --help",
    "fit 사진": "오류: 'fit'은 없는 명령입니다. 혹시 'train'입니까?",
    "split 사진": "오류: 옵션 '--out'이 빠졌습니다. 도움말: bunryu split --help",
    "ensemble": "오류: 인자 'runs'가 빠졌습니다. 도움말: bunryu ensemble --help",
    "predict": "오류: 어느 실행으로, 어떤 이미지를 예측합니까? bunryu predict RUN IMAGES",
    "evaluate": "오류: 어느 실행을 평가합니까? bunryu evaluate RUN",
    "score": "오류: 예측 파일이 어느 것입니까? bunryu score PREDICTIONS.csv TRUTH.csv",
    "score a.csv b.csv": "오류: a.csv 표를 열 수 없습니다: 그런 파일이나 폴더가 없습니다.",
    "augment 사진 --out 더": "오류: 할 일이 없습니다.",
    "recipes 없음": "오류: '없음'이라는 레시피는 없습니다.",
    "settings zzzz": "오류: 이름이나 설명에 'zzzz'가 들어간 설정이 없습니다.",
}


@pytest.mark.parametrize("line", MISTAKES, ids=map(str, range(len(MISTAKES))))
def test_mistakes_are_told_in_korean(line: str, folders: Path, bunryu: Command) -> None:
    ended = bunryu(*shlex.split(line))
    assert ended.code == 2
    assert ended.out == ""
    *before, last = ended.err.splitlines()
    assert last.startswith("오류: ")
    assert MISTAKES[line] in last.replace("python -m pytest.", "")
    assert not [word for word in re.findall("[a-z]+", "".join(before)) if word in ("read", "checked", "error")]


def test_a_run_is_told_in_korean(
    here: Path, bunryu: Command, make_images: MakeImages, tiny_settings: list[str]
) -> None:
    make_images(here / "photos", {"개": 12, "고양이": 12})
    ended = bunryu("train", "photos", *tiny_settings, "--out", "r")
    assert ended.code == 0
    lines = ended.err.splitlines()
    for told in (
        "데이터: 클래스 폴더로 읽었습니다.",
        "데이터: 이미지 24장을 검사했습니다. 걸린 시간",
        "* 지금까지 가장 좋음. train loss: 원래 이미지, val loss: 원래 이미지",
        "2에폭 (모든 에폭을 마침). macro_f1 기준으로 가장 좋은 것은",
        "다음: bunryu predict r NEW_IMAGES/ --out predictions.csv",
        "      bunryu evaluate r --data LABELLED_IMAGES/",
    ):
        assert [line for line in lines if line.startswith(told)], (told, ended.err)
    assert ended.out.splitlines()[-1] == "run: r (report.txt, metrics.json, mistakes_*.csv, plots/)"
    assert "검증" not in (here / "r/report.txt").read_text(encoding="utf-8")
    ended = bunryu("predict", "r", "photos/개", "--out", "p.csv")
    assert ended.err.splitlines()[-1] == "예측 12개: p.csv"
    assert (here / "p.csv").read_text(encoding="utf-8").startswith("path,pred,conf,")


def test_results_are_spoken_where_a_person_sees_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal; a pipe gets what it always gets."""
    console.result("results: r (report.txt, metrics.json, mistakes_*.csv, plots/)")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    console.result("results: r (report.txt, metrics.json, mistakes_*.csv, plots/)")
    piped, seen = capsys.readouterr().out.splitlines()
    assert (piped.split()[0], seen.split()[0]) == ("results:", "결과:")


def test_python_and_json_stay_english(tiny_run: Tiny, here: Path, bunryu: Command) -> None:
    import bunryu as package

    with pytest.raises(package.DataError, match="There is no file or folder nothing"):
        package.train("nothing")
    ended = bunryu("predict", tiny_run.run, tiny_run.data / "cat/000.png", "--format", "jsonl")
    assert ended.out.startswith('{"path": ')


PAGE = Path(__file__).parents[2] / "docs/ko/quickstart.md"
SHOWN = re.findall(r"^\$ bunryu (.*)\n(오류: .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def shown_folders(here: Path, make_images: MakeImages) -> Path:
    """What the page of the quick start has in its folder."""
    make_images(here / "photos", {"개미": 3, "벌": 3})
    make_images(here / "하나", {"개미": 3})
    make_images(here / "빈것", {"개미": 3, "벌": 3})
    (here / "빈것/나비").mkdir()
    (here / "빈것/나비/나비.docx").write_bytes(b"x")
    make_images(here / "외톨이", {"개미": 3, "벌": 1})
    make_images(here / "쓰던폴더", {"개미": 1})
    (here / "photos.7z").write_bytes(b"7z")
    rows = "".join(f"photos/벌/{n:03}.png,{'봄여'[n % 2]},{'풀꽃'[n % 2]}\n" for n in range(3))
    (here / "표.csv").write_text(f"path,철,곳\n{rows}")
    (here / "다른곳.csv").write_text("path,label\n벌/1.jpg,벌\n개미/1.jpg,개미\n")
    return here


@pytest.mark.parametrize(("line", "told"), SHOWN, ids=map(str, range(len(SHOWN))))
def test_the_quick_start_shows_what_is_said(line: str, told: str, shown_folders: Path, bunryu: Command) -> None:
    ended = bunryu(*shlex.split(line))
    assert ended.code == 2
    assert ended.err.splitlines()[-1].replace(str(shown_folders), "~") == told


def test_the_quick_start_shows_the_commonest_mistakes() -> None:
    assert len(SHOWN) >= 12
    assert PAGE.read_text(encoding="utf-8").count("$ bunryu") == len(SHOWN)
