"""The documents as data: their Python blocks and their links."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<code>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^#+\s+(.+?)\s*#*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of Python and the line it starts at."""

    code: str
    line: int


def python_blocks(document: str) -> list[Block]:
    """The blocks fenced as ```python, and no other."""
    return [
        Block(textwrap.dedent(match["code"]), document.count("\n", 0, match.start("code")) + 1)
        for match in FENCE.finditer(document)
        if match["language"].strip() == "python"
    ]


def run_blocks(document: str, *, filename: str) -> dict[str, object]:
    """Run a document's Python blocks in one namespace, as a reader would; errors point into the document."""
    namespace: dict[str, object] = {"__name__": "__guide__"}
    for block in python_blocks(document):
        # Blank lines before the code give a traceback the line numbers of the document.
        exec(compile("\n" * (block.line - 1) + block.code, filename, "exec"), namespace)
    return namespace


def broken_links(path: Path, root: Path) -> Iterator[str]:
    """Links of a document to files or headings that do not exist; addresses on the web are not looked at."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        file_part, _, anchor = link.partition("#")
        target = (path.parent / file_part).resolve() if file_part else path
        if not target.exists() or not target.is_relative_to(root.resolve()):
            yield f"{path.name}: {link} leads nowhere"
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text(encoding="utf-8")):
            yield f"{path.name}: {link} names no heading of {target.name}"


def anchors(document: str) -> set[str]:
    """The names that a document's headings answer to."""
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in HEADING.findall(FENCE.sub("", document)))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}
