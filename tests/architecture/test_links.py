"""No link of the documents leads nowhere."""

from __future__ import annotations

import pytest

from tests.architecture.documents import broken_links
from tests.architecture.house import ROOT

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "benchmarks").glob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_links_of_the_document_lead_somewhere(path):
    assert list(broken_links(path, ROOT)) == []


def test_a_link_that_leads_nowhere_is_seen(tmp_path):
    (tmp_path / "other.md").write_text("# One `two`, three\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[good](other.md) [good](other.md#one-two-three) [good](https://example.org/x) [good](#here)\n# Here\n"
        "[gone](nowhere.md) [gone](other.md#four) [outside](../..)\n```\n[in code](nowhere.md)\n```\n"
    )

    violations = list(broken_links(page, tmp_path))

    assert violations == [
        "page.md: nowhere.md leads nowhere",
        "page.md: other.md#four names no heading of other.md",
        "page.md: ../.. leads nowhere",
    ]
