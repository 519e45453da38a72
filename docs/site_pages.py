"""Bring into the site what is not a file of docs/, and turn links to it into links of the site. A hook of mkdocs.yml.

README.ko.md, CONTRIBUTING.md, CHANGELOG.md and the notebooks lie where people look for them, at the top. The list of
modules is written anew at each build, from the first line of each docstring.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "bunryu"
TOP = {"README.ko.md": "ko.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
NOTEBOOKS = {name: name for name in sorted(f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb"))}
_IN_SITE = {**TOP, **NOTEBOOKS, "README.md": "index.md"}
_LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages, the notebooks, and the list of modules."""
    for path, page in {**TOP, **NOTEBOOKS}.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    files.append(File.generated(config, "modules.md", content="\n".join(modules()) + "\n"))
    return files


def modules() -> Iterator[str]:
    """Yield the lines of the list of modules, a table a room."""
    yield "# What is in each module?\n\nEvery file of `src/bunryu/`, by its room, in its own words."
    room = None
    for path in sorted(SRC.rglob("*.py"), key=lambda path: (path.parent != SRC, path.relative_to(SRC).parts)):
        name = path.relative_to(SRC).as_posix()
        if (told := ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))) is None:
            continue
        if room != (room := name.rpartition("/")[0].partition("/")[0]):
            yield f"\n## {room or 'at the top'}\n\n| file | what |\n|---|---|"
        first = " ".join(told.split("\n\n")[0].split()).replace("|", "\\|")
        yield f"| `{name}` | {first} |"


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Say where in the site a link of the repository leads; a link that leads nowhere is left to --strict."""
    here = page.file.src_uri
    if here == TOP["CHANGELOG.md"]:
        page.meta["search"] = {"exclude": True}  # it has every word, and answers no question
    source = {page: path for path, page in TOP.items()}.get(here, f"docs/{here}")

    def moved(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
        target = _IN_SITE.get(target, target.removeprefix("docs/"))
        return f"{link[1]}{posixpath.relpath(target, posixpath.dirname(here) or '.')}{link[3] or ''}{link[4]}"

    return _LINK.sub(moved, markdown)
