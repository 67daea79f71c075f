"""Makes the file of the present format version for the corpus: `python -m tests.compat.generate`, once for each released version.

A file that is there is never made anew: it is what a released mlstore wrote.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import zstandard

import mlstore as ml
from mlstore.format.header import FORMAT_VERSION
from tests.support import golden
from tests.support.crash_limits import shrink_limits

FILES = Path(__file__).parent / "files"


def main() -> None:
    shrink_limits()
    name = f"format-{FORMAT_VERSION}-mlstore-{ml.__version__}"
    target = FILES / f"{name}.mls.zst"
    if target.exists():
        raise SystemExit(f"{target} is there already")
    with tempfile.TemporaryDirectory() as folder:
        path, copy = Path(folder) / "golden.mls", Path(folder) / "copy.mls"
        golden.create(path)
        with ml.open(path) as store:
            answers = golden.answers(store)
            head = store.history(limit=1)[0].id
            store.backup(copy)
        target.write_bytes(zstandard.ZstdCompressor(level=19).compress(copy.read_bytes()))
    told = {"head": head, "answers": answers}
    target.with_name(f"{name}.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
