"""A baseline to train: its words, its vectors, its network, new weights; all of it told."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.word_vectors import read_vectors
from data.words import Words, inverse_document_frequencies, split_texts
from eval.classifier import ClassifierSettings
from minibert.baseline_model import PREFIX, Baseline, BaselineConfig
from minibert.baselines import KINDS, SoftmaxRegression
from minibert.files import file_sha256, refuse_pipe
from train.classify_options import MAX_LENGTH, ClassifyOptions
from train.classify_start import LabelledFile, Start


@dataclass(frozen=True)
class _Vectors:
    """Word vectors to start from.

    Attributes:
        values: (V, E) float32.
        found: (V,) bool, whether the file has the word.
        told: a line about them.
    """

    values: Tensor
    found: Tensor
    told: str


def start_baseline(options: ClassifyOptions, train: LabelledFile, dev: LabelledFile) -> Start:
    """A baseline with new weights; its vocabulary is that of the training file alone.

    Args:
        options: of the command, whose --model is the name of a baseline.
        train: the training file.
        dev: the dev file, with the training file's classes.

    Raises:
        ValueError: no words are left, or vectors that cannot be read.
    """
    max_length = options.max_length or MAX_LENGTH
    split = [split_texts(file.cleaned, max_length) for file in (train, dev)]
    words, texts_with = Words.of_texts(
        split[0][0], ngrams=options.ngrams or 1, min_texts=options.min_texts or 1,
        most=options.max_words or 0,
    )  # fmt: skip
    encoded = [
        words.encode_labelled(texts, file.data.labels, cut)
        for (texts, cut), file in zip(split, (train, dev), strict=True)
    ]
    vectors = _read_vectors(options, words)
    model = _make_model(options, train, words, texts_with, vectors)
    listed = words.to_bytes()
    identity = {
        "model_source": options.model,
        "words_sha256": hashlib.sha256(listed).hexdigest(),
    }
    if options.vectors:
        identity["vectors_sha256"] = file_sha256(Path(options.vectors))
    return Start(
        model=model,
        vocabulary=words,
        settings=ClassifierSettings(max_length, options.cleaning()),
        train=encoded[0],
        dev=encoded[1],
        told=([words.describe_unknown(split[0][0])], [words.describe_unknown(split[1][0])]),
        unit="words",
        identity=identity,
        origin=_origin(options),
        describe=partial(_describe, model, words, vectors),
        vocabulary_bytes=len(listed),
    )


def _read_vectors(options: ClassifyOptions, words: Words) -> _Vectors | None:
    if not options.vectors:
        return None
    refuse_pipe("--vectors", Path(options.vectors))
    values, found, lines = read_vectors(Path(options.vectors), words.ids, len(words))
    told = (
        f"vectors: {lines} of {values.shape[1]} numbers in {options.vectors}, with "
        f"{found.sum()} of the {len(words.ids)} words ({found.sum() / len(words.ids):.1%})"
    )
    return _Vectors(torch.from_numpy(values), torch.from_numpy(found), told)


def _make_model(
    options: ClassifyOptions,
    train: LabelledFile,
    words: Words,
    texts_with: NDArray[np.int64],
    vectors: _Vectors | None,
) -> Baseline:
    """New weights from the seed; rows of the embeddings are the vectors that there are."""
    torch.manual_seed(options.seed)
    kind = KINDS[PREFIX + options.model]
    size = options.embedding_size if vectors is None else vectors.values.shape[1]
    config = BaselineConfig(
        labels=train.data.label_names,
        vocab_size=len(words),
        embedding_size=size or 0,
        hidden_size=options.hidden_size or 0,
        num_hidden_layers=options.layers or 0,
        cell=options.cell or "lstm",
        skip_connections=bool(options.skip),
        dropout=options.dropout or 0.0,
    )
    if kind is SoftmaxRegression:
        idf = inverse_document_frequencies(texts_with, len(train.cleaned))
        return SoftmaxRegression(config, torch.from_numpy(idf))
    model = kind(config)
    if vectors is not None:
        rows = model.get_parameter("embedding.weight")
        rows.data[vectors.found] = vectors.values[vectors.found]
    return model


def _describe(model: Baseline, words: Words, vectors: _Vectors | None) -> None:
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"model: {model.model_type.removeprefix(PREFIX)}, random weights, {size:,} parameters")
    runs = f", runs of up to {words.ngrams} included" if words.ngrams > 1 else ""
    print(f"  vocabulary: {len(words.ids)} words of the training file{runs}")
    if vectors is not None:
        print(f"  {vectors.told}")


def _origin(options: ClassifyOptions) -> str:
    vectors = f"the word vectors of {Path(options.vectors).name}" if options.vectors else ""
    return f"A {options.model} baseline, started from {vectors or 'random weights'}."
