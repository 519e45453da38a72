"""Bring the pages at the top of the repository into the site, and turn links to them into links within it.

README.ko.md, CONTRIBUTING.md and CHANGELOG.md lie where people look for them, outside of docs/, where MkDocs takes its
pages from. A hook of mkdocs.yml.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
TOP = {"README.ko.md": "ko.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
NOTEBOOKS = sorted(f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb"))
_IN_SITE = {**TOP, "README.md": "index.md", **{path: path for path in NOTEBOOKS}}
_LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and the notebooks."""
    for path, page in {**TOP, **{path: path for path in NOTEBOOKS}}.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Say where in the site a link of the repository leads; a link that leads nowhere is left to --strict."""
    here = page.file.src_uri
    source = {page: path for path, page in TOP.items()}.get(here, f"docs/{here}")

    def moved(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
        target = _IN_SITE.get(target, target.removeprefix("docs/"))
        return f"{link[1]}{posixpath.relpath(target, posixpath.dirname(here) or '.')}{link[3] or ''}{link[4]}"

    return _LINK.sub(moved, markdown)
