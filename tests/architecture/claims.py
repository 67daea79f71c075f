"""CLAIMS.tsv: each claim of the documents, where it stands, and the test or benchmark that proves it.

Evidence is a pytest node id (`tests/unit/test_x.py::test_y`) or a benchmark (`benchmark: python -m benchmarks storage`).
A cell of Markdown matches whatever its line breaks: white space is compared as one blank.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

HEADER = "claim\twhere stated\tevidence"
BENCHMARK = re.compile(r"benchmark: python -m benchmarks (\w+)\b")
# A measured figure: 12x, 3.5 ms, 2 GB/s, 10M rows. Versions, ports and settings are none.
FIGURE = re.compile(r"\b\d+(?:\.\d+)?\s?(?:x|×|ns|us|µs|ms|GB/s|MB/s|M rows/s|k rows/s)(?![\w])")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Claim:
    """One row: a sentence, the file that says it, and what proves it."""

    text: str
    stated_in: str
    evidence: str


def parse_claims(text: str) -> list[Claim]:
    lines = text.splitlines()
    if lines[:1] != [HEADER]:
        raise ValueError(f"CLAIMS.tsv:1: expected the header {HEADER!r}")
    rows = [(number, line.split("\t")) for number, line in enumerate(lines[1:], start=2) if line.strip()]
    for number, cells in rows:
        if len(cells) != 3 or not all(cell.strip() for cell in cells):
            raise ValueError(f"CLAIMS.tsv:{number}: expected three filled cells, got {len(cells)}")
    return [Claim(*(cell.strip() for cell in cells)) for _, cells in rows]


def unproven(claims: Iterable[Claim], root: Path) -> Iterator[str]:
    """Claims whose evidence does not exist."""
    for claim in claims:
        if match := BENCHMARK.fullmatch(claim.evidence.split(" --")[0].strip()):
            if not (root / "benchmarks" / "workloads" / f"{match[1]}.py").exists():
                yield f"{claim.text!r}: no benchmark workload {match[1]}"
        elif not _test_exists(claim.evidence, root):
            yield f"{claim.text!r}: no such test: {claim.evidence}"


def _test_exists(node_id: str, root: Path) -> bool:
    path, *names = node_id.split("[")[0].split("::")
    if not names or not (root / path).is_file():
        return False
    body: list[ast.stmt] = ast.parse((root / path).read_text(encoding="utf-8")).body
    for name in names:
        found = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name]
        # A stateful test is an assignment: TestStore = StoreMachine.TestCase
        assigned = [node for node in body if isinstance(node, ast.Assign) and any(ast.unparse(target) == name for target in node.targets)]
        if not found and not assigned:
            return False
        body = found[0].body if found else []
    return names[-1].lower().startswith("test")


def unstated(claims: Iterable[Claim], root: Path) -> Iterator[str]:
    """Claims that their document does not make."""
    for claim in claims:
        path = root / claim.stated_in
        if not path.is_file():
            yield f"{claim.text!r}: no file {claim.stated_in}"
        elif _one_line(claim.text) not in _one_line(path.read_text(encoding="utf-8")):
            yield f"{claim.text!r}: not a sentence of {claim.stated_in}"


def unclaimed_figures(document: str, claims: Iterable[Claim]) -> Iterator[str]:
    """Paragraphs, bullets and table rows of a document that state a measured figure of which no claim speaks."""
    texts = [_one_line(claim.text) for claim in claims]
    for block in re.split(r"\n\s*\n|\n(?=\s*[-*|] ?)", FENCED.sub("", document)):
        if FIGURE.search(block) and not any(text in _one_line(block) for text in texts):
            yield _one_line(block)


def _one_line(text: str) -> str:
    return " ".join(text.split())
