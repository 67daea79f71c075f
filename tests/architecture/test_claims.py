"""Every claim is stated where it says, proved by a test or a benchmark that exists, and no figure of the README stands alone."""

from __future__ import annotations

import pytest

from tests.architecture.claims import HEADER, Claim, parse_claims, unclaimed_figures, unproven, unstated
from tests.architecture.house import ROOT

CLAIMS = parse_claims((ROOT / "CLAIMS.tsv").read_text(encoding="utf-8"))
HERE = "tests/architecture/test_claims.py"


def test_every_claim_has_its_evidence():
    assert CLAIMS
    assert list(unproven(CLAIMS, ROOT)) == []


def test_every_claim_is_stated_where_it_says():
    assert list(unstated(CLAIMS, ROOT)) == []


def test_no_claim_is_listed_twice():
    texts = [(claim.text, claim.stated_in) for claim in CLAIMS]

    assert len(texts) == len(set(texts))


def test_every_figure_of_the_readme_is_a_claim():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert list(unclaimed_figures(readme, CLAIMS)) == []


@pytest.mark.parametrize(
    "evidence",
    [
        f"{HERE}::test_that_nobody_wrote",
        "tests/unit/test_nowhere.py::test_x",
        HERE,
        f"{HERE}::HERE",
        "benchmark: python -m benchmarks nonesuch",
        "it is obvious",
    ],
)
def test_evidence_that_does_not_exist_is_seen(evidence):
    violations = list(unproven([Claim("it is fast", "README.md", evidence)], ROOT))

    assert len(violations) == 1
    assert "it is fast" in violations[0]


@pytest.mark.parametrize(
    "evidence",
    [
        f"{HERE}::test_every_claim_has_its_evidence",
        f"{HERE}::test_every_claim_has_its_evidence[some case]",
        "benchmark: python -m benchmarks storage",
        "benchmark: python -m benchmarks storage --rows 10000000",
    ],
)
def test_evidence_that_exists_is_accepted(evidence):
    assert list(unproven([Claim("it is fast", "README.md", evidence)], ROOT)) == []


def test_a_claim_that_its_document_does_not_make_is_seen(tmp_path):
    (tmp_path / "README.md").write_text("It is\n  small and slow.")
    claims = [Claim("It is small", "README.md", "x"), Claim("It is fast", "README.md", "x"), Claim("It is small", "GUIDE.md", "x")]

    violations = list(unstated(claims, tmp_path))

    assert violations == ["'It is fast': not a sentence of README.md", "'It is small': no file GUIDE.md"]


def test_a_figure_without_a_claim_is_seen():
    document = "Opens in 5 ms.\n\n- scans 12x faster\n- Python 3.11\n\n```\nslept 5 ms\n```\n| read | 3 GB/s |\n"

    violations = list(unclaimed_figures(document, [Claim("Opens in 5 ms", "README.md", "x")]))

    assert violations == ["- scans 12x faster", "| read | 3 GB/s |"]


@pytest.mark.parametrize("text", ["claim\tevidence\n", f"{HEADER}\none\ttwo\n", f"{HEADER}\none\t\tthree\n"])
def test_a_malformed_list_is_refused(text):
    with pytest.raises(ValueError, match=r"CLAIMS\.tsv:\d: expected"):
        parse_claims(text)
