"""The command that fetches rows from a growing file or a topic: consume."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any

import typer

import mlstore as ml
from mlstore.cli.console import count_rows, print_json, print_line, print_note
from mlstore.cli.opening import open_store
from mlstore.cli.options import AsJson, OnBranch, StorePath, TableName
from mlstore.cli.writing import Mode
from mlstore.integrations.json_lines import JsonLines

_ENDS = (signal.SIGINT, signal.SIGTERM)


def consume(
    store: StorePath,
    name: TableName,
    file: Annotated[str | None, typer.Option("--file", help="A file of JSON lines.", show_default=False)] = None,
    kafka: Annotated[
        str | None, typer.Option("--kafka", metavar="BROKERS", help="Kafka brokers, host:port,...", show_default=False)
    ] = None,
    topic: Annotated[str | None, typer.Option("--topic", help="The Kafka topic; its values are JSON.", show_default=False)] = None,
    config: Annotated[
        list[str] | None, typer.Option("--config", metavar="NAME=VALUE", help="A setting of the Kafka client.", show_default=False)
    ] = None,
    consumer: Annotated[str, typer.Option("--consumer", help="The name it goes on under.")] = "cli",
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more, until interrupted.")] = False,
    mode: Annotated[Mode, typer.Option("--mode", help="append adds rows; upsert replaces rows of the same key.")] = Mode.APPEND,
    refused: Annotated[
        str | None, typer.Option("--refused", help="Add what is no row to this file, and go on.", show_default=False)
    ] = None,
    on: OnBranch = "main",
    as_json: AsJson = False,
) -> None:
    """Fetch rows from a file or a topic, each exactly once: run again, it goes on where its rows end."""
    source = _source(file, kafka, topic, config or [], follow=follow)
    with ExitStack() as stack:
        opened = stack.enter_context(open_store(store, is_writing=True, branch=on))
        refuse = None if refused is None else stack.enter_context(_kept(refused))
        should_stop = stack.enter_context(_until_interrupted())
        if follow and not as_json:
            print_note("following; interrupt to stop")
        state = opened.consume(consumer, source, into=name, mode=mode.value, refuse=refuse, should_stop=should_stop)
    if as_json:
        told = {"consumer": state.name, "name": state.table, "position": state.position}
        print_json({**told, "rows": state.rows, "refused": state.refused})
    else:
        print_line(f"{count_rows(state.rows)} in {state.table} from {state.name} so far, {state.refused:,} refused")


def _source(file: str | None, kafka: str | None, topic: str | None, config: list[str], *, follow: bool) -> ml.Source:
    if file is not None and kafka is None and topic is None and not config:
        return JsonLines(file, follow=follow)
    if file is not None or kafka is None or topic is None:
        raise ml.UsageError("one source is needed", hint="give --file FILE, or --kafka BROKERS with --topic TOPIC")
    settings = dict(_setting(text) for text in config)
    try:
        from mlstore.integrations.kafka import KafkaTopic
    except ImportError as cause:
        raise ml.StoreError("Kafka needs the package confluent-kafka", hint="pip install 'mlstore[kafka]'") from cause
    return KafkaTopic(topic, {"bootstrap.servers": kafka, **settings}, follow=follow)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ml.UsageError(f"--config {text}", hint="write NAME=VALUE")
    return name, value


@contextmanager
def _kept(path: str) -> Iterator[Callable[[ml.Refused], None]]:
    """Adds each refused row and its reason to a file, as JSON lines."""
    with open(path, "a", encoding="utf-8") as file:

        def keep(refused: ml.Refused) -> None:
            row: Any = refused.row.decode("utf-8", "backslashreplace") if isinstance(refused.row, bytes) else refused.row
            file.write(json.dumps({"row": row, "error": str(refused.error)}, default=str) + "\n")
            file.flush()

        yield keep


@contextmanager
def _until_interrupted() -> Iterator[Callable[[], bool]]:
    """Whether somebody has interrupted: the batch under way is written first."""
    caught: list[int] = []
    before = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in _ENDS}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
