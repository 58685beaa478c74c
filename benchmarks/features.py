"""Feature building beside transformers' recipe: examples in memory -> labelled windows.

Ours is data.windows (tokenize_squad, make_windows), whose windows are slices; the batches cut the
ids out later, which the training and inference rows count. The peers are the algorithm of run_qa's
prepare_train_features, written anew, with transformers' fast tokenizer:

    function        called on the columns of 1,000 examples at a time
    datasets.map    the same function under Dataset.map (batched, batch_size 1000, one process, no
                    cache file read); the rows land in an Arrow file

each padded to 384 (the default of run_qa) and unpadded. Before anything is timed, ids, token types
and labels of all windows are compared. Reading the JSON file is on neither side.

Dataset.map first hashes the function by pickling it (dill) with all that it refers to, tokenizer
included; that is part of what a user waits for and is left in.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.timing import Row, alternate
from benchmarks.workload import (
    DEV_FILE,
    DOC_STRIDE,
    MAX_LENGTH,
    as_features,
    make_peer_tokenizer,
    read_examples,
    read_tokenizer,
)
from data.squad import SquadExample
from data.tokenization import Tokenizer
from data.tokenized_squad import tokenize_squad
from data.windows import Windows, make_windows

MAP_BATCH = 1000
Columns = dict[str, list[Any]]


def measure(folder: Path, quick: bool) -> list[Row]:
    """Four rows: function and datasets.map, padded and unpadded."""
    import datasets

    datasets.disable_progress_bars()
    examples = read_examples(folder, DEV_FILE, 500 if quick else 3000)
    tokenizer = read_tokenizer(folder)
    columns = as_columns(examples)
    peer_tokenizer = make_peer_tokenizer(folder)
    padded = prepare_function(peer_tokenizer, "max_length")
    unpadded = prepare_function(peer_tokenizer, False)
    check_equal(our_windows(examples, tokenizer), in_parts(unpadded, columns))
    table = datasets.Dataset.from_dict(columns)
    with tempfile.TemporaryDirectory() as scratch:

        def mapped(function: Callable[[Columns], Columns]) -> None:
            table.map(
                function, batched=True, batch_size=MAP_BATCH, remove_columns=table.column_names,
                load_from_cache_file=False, cache_file_name=f"{scratch}/rows.arrow",
            )  # fmt: skip

        seconds = alternate(
            {
                "ours": lambda number: our_windows(examples, tokenizer),
                "function": lambda number: in_parts(padded, columns),
                "datasets.map": lambda number: mapped(padded),
                "function, unpadded": lambda number: in_parts(unpadded, columns),
                "datasets.map, unpadded": lambda number: mapped(unpadded),
            },
            rounds=3 if quick else 9,
        )
    goals = {"function": 5.0, "datasets.map": 4.0}
    return [
        Row(
            f"features, {len(examples)} questions: {how}",
            seconds["ours"],
            values,
            goal=goals.get(how),
        )
        for how, values in seconds.items()
        if how != "ours"
    ]


def our_windows(examples: list[SquadExample], tokenizer: Tokenizer) -> Windows:
    """Our side."""
    tokens = tokenize_squad(examples, tokenizer, MAX_LENGTH)
    return make_windows(tokens, max_length=MAX_LENGTH, doc_stride=DOC_STRIDE)


def as_columns(examples: list[SquadExample]) -> Columns:
    """Examples in the layout of the `squad_v2` data set on the Hub."""
    return {
        "question": [example.question for example in examples],
        "context": [example.context for example in examples],
        "answers": [
            {"text": [a.text for a in e.answers], "answer_start": [a.start for a in e.answers]}
            for e in examples
        ],
    }


def in_parts(function: Callable[[Columns], Columns], columns: Columns) -> list[Columns]:
    """The function's results on 1,000 examples at a time."""
    return [
        function({name: values[begin : begin + MAP_BATCH] for name, values in columns.items()})
        for begin in range(0, len(columns["question"]), MAP_BATCH)
    ]


def prepare_function(tokenizer: Any, padding: str | bool) -> Callable[[Columns], Columns]:
    """The peer: columns of examples -> columns of windows.

    A window that lacks a part of the answer is labelled with the [CLS] token; in the others the
    context's tokens are walked from both sides to the first and last one of the answer.
    """

    def prepare(columns: Columns) -> Columns:
        encoded = tokenizer(
            [question.lstrip() for question in columns["question"]],
            columns["context"],
            truncation="only_second",
            max_length=MAX_LENGTH,
            stride=DOC_STRIDE,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding=padding,
        )
        sources = encoded.pop("overflow_to_sample_mapping")
        offset_rows = encoded.pop("offset_mapping")
        starts, ends = [], []
        for w, offsets in enumerate(offset_rows):
            cls_place = encoded["input_ids"][w].index(tokenizer.cls_token_id)
            segments = encoded.sequence_ids(w)
            answers = columns["answers"][sources[w]]
            if not answers["answer_start"]:
                starts.append(cls_place)
                ends.append(cls_place)
                continue
            begin = answers["answer_start"][0]
            end = begin + len(answers["text"][0])
            first = 0
            while segments[first] != 1:
                first += 1
            last = len(segments) - 1
            while segments[last] != 1:
                last -= 1
            if offsets[first][0] > begin or offsets[last][1] < end:
                starts.append(cls_place)
                ends.append(cls_place)
                continue
            while first < len(offsets) and offsets[first][0] <= begin:
                first += 1
            while offsets[last][1] >= end:
                last -= 1
            starts.append(first - 1)
            ends.append(last + 1)
        encoded["start_positions"] = starts
        encoded["end_positions"] = ends
        result: Columns = encoded.data
        return result

    return prepare


def check_equal(windows: Windows, parts: list[Columns]) -> None:
    """Both sides make the same windows.

    Raises:
        AssertionError: ids, token types or labels differ.
    """
    rows = [
        {name: values[w] for name, values in part.items()}
        for part in parts
        for w in range(len(part["input_ids"]))
    ]
    ours = as_features(windows, range(len(windows)))
    assert len(ours) == len(rows), f"{len(ours)} windows, the peer has {len(rows)}"
    for w, (mine, theirs) in enumerate(zip(ours, rows, strict=True)):
        assert mine == theirs, f"window {w} differs"
