"""What `train.pretrain` reads before it trains: text, tokenizer, model; counted and told."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.blocks import BlockPlan, Blocks, split_held_out
from data.command import UsageError
from data.masking import Masking
from data.token_file import TokenFile, tokenize_corpus
from data.tokenization import Tokenizer
from data.tokenized_squad import Ints
from minibert.config import BertConfig
from minibert.files import cache_folder
from minibert.heads import BertForMaskedLM
from minibert.hub import ModelFiles
from train.model_inputs import describe_model, find_start, make_model, model_identity
from train.positions import add_positions, start_as_sinusoids
from train.pretrain_options import LEAST_LENGTH, PretrainOptions, default_jobs
from train.resuming import refuse_changed_inputs
from train.student import keep_every_second_layer, name_student, refuse_as_teacher


@dataclass
class Inputs:
    """Everything read before training.

    Attributes:
        corpus: the tokenized text.
        train: the stream that is trained on.
        held_out: the stream of the documents kept for evaluation.
        masking: of the training blocks.
        held_out_masking: of the evaluation's, the same at every evaluation.
        tokenizer: of the model.
        model: on the device.
        identity: sha256 of tokens and model, compared on resume.
    """

    corpus: TokenFile
    train: Blocks
    held_out: Blocks
    masking: Masking
    held_out_masking: Masking
    tokenizer: Tokenizer
    model: BertForMaskedLM
    identity: dict[str, Any]


def read_inputs(
    options: PretrainOptions, device: torch.device, saved: dict[str, Any] | None
) -> Inputs:
    """Text, tokenizer and model.

    Args:
        options: of the command.
        device: where the model goes.
        saved: `identity` of the run to resume, None for a new one.

    Raises:
        UsageError: text that is unreadable or too short, a model that does not fit, or a resumed
            run whose files have changed.
    """
    new = bool(options.config)
    files, config, tokenizer = find_start(
        options.config or options.model or "", options.revision, saved, new=new
    )
    if options.every_second_layer:
        refuse_as_teacher(config, files.source)
    if options.positions:
        refuse_fewer_positions(options.positions, config, files)
        config = replace(config, max_position_embeddings=options.positions)
        tokenizer.max_length = options.positions
    check_model(options, config, tokenizer, files)
    folder = Path(options.tokens_dir) if options.tokens_dir else cache_folder() / "tokens"
    started = time.monotonic()
    corpus = tokenize_corpus(options.texts, tokenizer, folder, options.jobs or default_jobs())
    describe_corpus(corpus, time.monotonic() - started)
    train_ids, held_ids = split_held_out(corpus.ids, corpus.document_ends(), options.held_out)
    train = Blocks(train_ids, tokenizer.cls_id, tokenizer.sep_id)
    refuse_too_little(options, config, corpus.counts["documents"], len(train_ids), len(held_ids))
    identity = {"tokens_sha256": corpus.sha256, **model_identity(files, new=new)}
    if saved:
        refuse_changed_inputs(identity, saved, options)

    def masking(seed: int) -> Masking:
        return Masking.of(
            tokenizer, rate=options.mask_rate, whole_word=options.whole_word, seed=seed
        )

    model = make_model(BertForMaskedLM, config, files, options, new=new)
    if options.positions:
        add_positions(model, options.positions)
    if options.every_second_layer:  # the new positions lack the first token type as well
        keep_every_second_layer(model)
    model.to(device)
    if new:
        start_as_sinusoids(model.encoder.embeddings.position.weight, config.initializer_range)
    return Inputs(
        corpus=corpus,
        train=train,
        held_out=Blocks(held_ids, tokenizer.cls_id, tokenizer.sep_id),
        masking=masking(options.seed),
        held_out_masking=masking(2**32 + options.seed),
        tokenizer=tokenizer,
        model=model,
        identity=identity,
    )


def refuse_fewer_positions(wanted: int, config: BertConfig, files: ModelFiles) -> None:
    """Refuse --positions that the model has.

    Raises:
        UsageError: with both numbers.
    """
    if wanted <= config.max_position_embeddings:
        raise UsageError(
            f"--positions is {wanted}, but {files.source} has {config.max_position_embeddings} "
            "already; give more, or leave it out"
        )


def check_model(
    options: PretrainOptions, config: BertConfig, tokenizer: Tokenizer, files: ModelFiles
) -> None:
    """Refuse a model that cannot take these blocks or this vocabulary.

    Raises:
        ValueError: with the numbers.
    """
    positions = config.max_position_embeddings
    longest = options.longest(positions)
    if longest > positions:
        then = options.length <= positions
        raise UsageError(
            f"{'--then-length' if then else '--length'} is {longest if then else options.length}, "
            f"but {files.source} has only {positions} positions; lower it"
            + (", or give --long-fraction 0" if then else "")
        )
    tokenizer.require_ids(config.vocab_size, files.source)
    if tokenizer.vocab_size < config.vocab_size:
        print(
            f"note: the vocabulary has {tokenizer.vocab_size} tokens, the model "
            f"{config.vocab_size}; the rest is never trained"
        )


def refuse_too_little(
    options: PretrainOptions, config: BertConfig, documents: int, train: int, held_out: int
) -> None:
    """Refuse a text without a whole block to train on, or without a token held out.

    Args:
        options: of the command.
        config: of the model.
        documents: of the text.
        train: tokens to train on.
        held_out: tokens of the last documents.

    Raises:
        UsageError: with the numbers, and flags that would do.
    """
    if documents == 1:
        raise UsageError(
            f"the text is one document of {held_out} tokens, and the last document is held out, so "
            "that nothing is left to train on; put blank lines between documents, or name more text"
        )
    if not held_out:
        raise UsageError(
            "the last documents, which are held out, have not a single token; raise --held-out, or "
            "leave them out of the text"
        )
    positions = config.max_position_embeddings
    longest = options.longest(positions)
    if train >= longest - 2:  # beside [CLS] and [SEP]
        return
    fits, hint = train + 2, ""  # tokens of the longest block that the text fills
    long = longest > options.length
    if long and fits >= options.length:
        hint = f", or give --then-length {fits} or --long-fraction 0"
    elif fits >= LEAST_LENGTH:
        hint = f", or give --length {fits}{' --long-fraction 0' if long else ''}"
    raise UsageError(
        f"the text has {train} tokens to train on and {held_out} held out in whole documents, but "
        f"a block of {longest} takes {longest - 2}; name more text{hint}"
    )


def make_plan(inputs: Inputs, options: PretrainOptions) -> BlockPlan:
    """The order of training."""
    positions = inputs.model.config.max_position_embeddings
    long_length, long_fraction = options.last_blocks(positions)
    return BlockPlan(
        size=inputs.train.count(options.length),
        batch_size=options.batch_size,
        accumulate=options.accumulate,
        epochs=options.epochs,
        seed=options.seed,
        length=options.length,
        long_length=long_length,
        long_size=inputs.train.count(long_length),
        long_fraction=long_fraction,
    ).ending_after(options.updates)


def held_out_items(inputs: Inputs, length: int) -> list[Ints]:
    """The held-out blocks of a length, as items for `collate_masked`, about 8,192 tokens each."""
    count = inputs.held_out.count(length)
    items = np.zeros((count, 3), np.int64)
    items[:, 0], items[:, 2] = length, np.arange(count)
    return np.array_split(items, -(-count * length // 8192))


def describe_corpus(corpus: TokenFile, seconds: float) -> None:
    """Print what the text is made of."""
    counts = corpus.counts
    names = ", ".join(corpus.names[:3]) + (", ..." if corpus.names[3:] else "")
    print(
        f"text: {names}: {counts['documents']:,} documents, {counts['characters'] / 1e6:,.1f} "
        f"million characters, {counts['tokens']:,} tokens ({counts['unknown']:,} unknown), "
        f"ready after {seconds:.1f} s in {corpus.path}"
    )


def describe(inputs: Inputs, options: PretrainOptions, plan: BlockPlan) -> None:
    """Print what will be trained."""
    describe_model(inputs.model, inputs.identity)
    if options.every_second_layer:
        print(f"  {name_student('it', inputs.model.config)}")
    print(f"held out: {len(inputs.held_out.ids):,} tokens, in the last documents")
    print(
        f"plan: {plan.total_updates:,} updates of {plan.batch_size} blocks of {plan.length} tokens"
        f" in {plan.accumulate} parts, epochs {plan.epochs:g}"
    )
    if plan.first_long < plan.total_updates:
        print(f"  from update {plan.first_long + 1:,} on, blocks of {plan.long_length} tokens")
