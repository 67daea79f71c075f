"""Old files: one of each released format version, which every later mlstore opens, verifies, answers from, and writes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zstandard

import mlstore as ml
from mlstore.format.header import FORMAT_VERSION
from tests.support import golden

FILES = Path(__file__).parent / "files"
CORPUS = sorted(FILES.glob("*.mls.zst"))


def unpacked(packed: Path, folder: Path) -> Path:
    path = folder / packed.name.removesuffix(".zst")
    path.write_bytes(zstandard.ZstdDecompressor().decompress(packed.read_bytes()))
    return path


def told(packed: Path) -> dict[str, object]:
    answers: dict[str, object] = json.loads(packed.with_name(packed.name.replace(".mls.zst", ".json")).read_text(encoding="utf-8"))
    return answers


def test_the_corpus_has_a_file_of_every_format_version():
    assert {int(packed.name.split("-")[1]) for packed in CORPUS} == set(range(1, FORMAT_VERSION + 1))


@pytest.mark.parametrize("packed", CORPUS, ids=lambda packed: packed.name)
def test_an_old_file_is_whole_and_answers_as_it_did(packed: Path, tmp_path: Path):
    path = unpacked(packed, tmp_path)

    with ml.open(path, read_only=True, untrusted=True) as store:
        store.verify(trusted_head=str(told(packed)["head"]))
        found = golden.answers(store)

    wrong = {name for name, answer in dict(told(packed)["answers"]).items() if found[name] != answer}  # type: ignore[call-overload]
    # How a definition or a difference is shown may change; what it says may not, and is asked by the others.
    assert wrong <= {"catalog", "branches", "explain", "diff", "diff of branches"}


@pytest.mark.parametrize("packed", CORPUS, ids=lambda packed: packed.name)
def test_an_old_file_can_be_written_on(packed: Path, tmp_path: Path):
    path = unpacked(packed, tmp_path)

    with ml.open(path) as store:
        before = store.read("sales").num_rows
        store.write("sales", golden.sales([1, 2], [90]))
        store.write("delays", golden.delays(range(900, 1300)))
        store.merge("try")
        store.optimize(tier="cold")
        store.forget("shop", {"shop_id": [3]})
        store.compact()

        assert store.read("sales").num_rows > before - 100
        assert store.online_features(["sales"], {"shop_id": 1}, now=golden.LATE)["amount"] is None
        store.verify()
