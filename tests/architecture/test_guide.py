"""Every Python block of the README and the guide runs, in order, as a reader would type it."""

from __future__ import annotations

import traceback

import pytest

from tests.architecture.documents import python_blocks, run_blocks
from tests.architecture.house import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_blocks_of_the_document_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as where a reader types it

    run_blocks(path.read_text(encoding="utf-8"), filename=str(path))


def test_the_readme_has_an_example():
    assert python_blocks((ROOT / "README.md").read_text(encoding="utf-8"))


def test_blocks_share_one_namespace_and_other_languages_are_left_alone():
    document = "# Title\n```python\nx = 1\n```\ntext\n```bash\nexit 1\n```\n```\nx = 9\n```\n  ```python\n  x += 1\n  ```\n"

    namespace = run_blocks(document, filename="guide.md")

    assert namespace["x"] == 2


def test_a_block_that_fails_is_reported_at_its_line_of_the_document():
    document = "# Title\n\n```python\nx = 1\nraise LookupError(x)\n```\n"

    with pytest.raises(LookupError) as failure:
        run_blocks(document, filename="guide.md")

    last = traceback.extract_tb(failure.value.__traceback__)[-1]
    assert (last.filename, last.lineno) == ("guide.md", 5)
