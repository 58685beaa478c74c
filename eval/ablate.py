"""What the heads are worth: the drop in F1 of a data set, or in one answer's score, without them.

python -m eval.ablate --model runs/squad --data-file dev-v2.0.json --questions 200
python -m eval.ablate --model runs/squad --data-file dev-v2.0.json --id 56ddde6b9a695914005b9628
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.command import UsageError, option, parse, run_command
from data.options import check_range
from eval.options import AnswerOptions
from minibert.strict_json import named

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from data.squad import SquadExample
    from eval.answerer import Answerer


@dataclass(frozen=True, kw_only=True)
class AblateOptions(AnswerOptions):
    """Options of `python -m eval.ablate`, beside those of the model."""

    data_file: str = option(help="SQuAD v1.1 or v2.0 .json file with answers")
    questions: int | None = option(
        None, help="score only so many questions, evenly spread over the file (default: all)"
    )
    id: str | None = option(
        None, help="the drop in the score of this question's best span, in place of F1"
    )
    amp: bool = option(False, help="mixed precision (autocast)", group="machine")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("questions", self.questions, 1)
        if self.questions is not None and self.id is not None:
            raise UsageError("--questions and --id contradict each other; give one of them")


def main(argv: list[str]) -> int:
    """Print a layers x heads table."""
    options = parse(
        AblateOptions, argv, prog="eval.ablate",
        description="Take each attention head out in turn: by how much do the answers get worse?",
        epilog="example:\n  python -m eval.ablate --model runs/squad --data-file dev-v2.0.json "
        "--questions 200\n\nThe data set is answered once for every head.",
    )  # fmt: skip
    from data.squad import read_squad

    data = read_squad(options.data_file)
    examples = data.examples
    if options.id is not None:
        examples = [data.question(options.id)]
    elif not data.has_answers:
        raise UsageError(f"{options.data_file} has no answers to score with; give one that has")
    elif not options.null_answer:  # then no other question can be right, as in eval.predict
        examples = [example for example in examples if example.answers]
    if options.questions is not None and options.questions < len(examples):
        step = len(examples) / options.questions
        examples = [examples[int(i * step)] for i in range(options.questions)]
    answerer = options.load(options.amp)
    threshold = options.threshold(answerer, data)
    if options.id is not None:
        show_span_drops(answerer, examples[0], threshold, is_known=data.has_answers)
        return 0
    whole, drops = f1_drops(answerer, examples, threshold)
    print(f"F1 {whole:.2f} over {len(examples)} questions")
    show_table(drops.tolist())
    return 0


def f1_drops(
    answerer: "Answerer", examples: "Sequence[SquadExample]", threshold: float
) -> "tuple[float, NDArray[np.float64]]":
    """By how much F1 over a data set drops when one head is taken out, for every head in turn.

    A model that answers "" to every question is warned of: its drops say nothing about its heads.

    Args:
        answerer: model, windows, device and precision.
        examples: with gold answers.
        threshold: of null score - best score, above which "" is answered.

    Returns:
        F1 of the whole model in percent, and its drops (L, H); negative where F1 rises.
    """
    import numpy as np
    from tqdm import tqdm

    from data.qa_settings import make_example_windows
    from eval.answerer import decode_windows, predict_logits
    from eval.attribution import without_heads
    from eval.squad import score

    windows = make_example_windows(examples, answerer.tokenizer, answerer.settings)
    longest = answerer.settings.max_answer_length

    def answer() -> dict[str, str]:
        logits = predict_logits(answerer.model, windows, answerer.device, answerer.amp_dtype)
        decoded = decode_windows(logits, windows, n_best=1, max_answer_length=longest)
        return {e.id: d.answer(threshold) for e, d in zip(examples, decoded, strict=True)}

    answers = answer()
    if not any(answers.values()):
        warnings.warn(
            f'the model answers "" to all {len(examples)} questions, so that F1 does not tell what '
            "its heads are worth; --no-null-answer scores the best spans",
            stacklevel=2,
        )
    whole = score(examples, answers)["f1"]
    config = answerer.model.config
    drops = np.zeros((config.num_hidden_layers, config.num_attention_heads))
    for layer, head in tqdm(list(np.ndindex(*drops.shape)), unit="head", leave=False, disable=None):
        with without_heads(answerer.model, [(layer, head)]):
            drops[layer, head] = whole - score(examples, answer())["f1"]
    return whole, drops


def show_span_drops(
    answerer: "Answerer", example: "SquadExample", threshold: float, is_known: bool
) -> None:
    """Print what a question's answer is, its best span's score and the drop of that without a head.

    Args:
        answerer: model, windows, device and precision.
        example: the question.
        threshold: of null score - best score, above which "" is answered.
        is_known: whether the example's answers, or that it has none, are the right ones.
    """
    import numpy as np
    import torch

    from data.batches import collate
    from data.qa_settings import make_example_windows
    from eval.answerer import decode_windows, predict_logits
    from eval.attribution import best_span, head_ablation

    windows = make_example_windows([example], answerer.tokenizer, answerer.settings)
    logits = predict_logits(answerer.model, windows, answerer.device, answerer.amp_dtype)
    longest = answerer.settings.max_answer_length
    window, start, end = best_span(logits, windows, longest)
    (decoded,) = decode_windows(logits, windows, n_best=1, max_answer_length=longest)
    batch = collate(windows, np.array([window])).packed.to(answerer.device)
    dtype = answerer.amp_dtype
    with torch.autocast(answerer.device.type, dtype, enabled=dtype is not None):
        drops = head_ablation(answerer.model, batch, start, end)
    pieces = windows.tokens.context_tokens
    begin = windows.token_begin[window] - windows.first[window]
    text = example.context[pieces.char_starts[begin + start] : pieces.char_ends[begin + end]]
    begin = logits.bounds[window]
    score = logits.start_logits[begin + start] + logits.end_logits[begin + end]
    gold = " | ".join(dict.fromkeys(named(answer.text) for answer in example.answers))
    print(f"question {named(example.id)}: {named(example.question)}")
    print(f"the data says: {(gold or '(no answer)') if is_known else 'nothing'}")
    print(f"the model answers: {named(decoded.answer(threshold)) or '(no answer)'}")
    print(
        f"its best span, {named(text)}, has the score {score:.2f}; no answer has "
        f"{decoded.null_score:.2f}"
    )
    show_table(drops.tolist())


def show_table(drops: Sequence[Sequence[float]]) -> None:
    """Print layers x heads numbers; a positive one is what the head is worth."""
    print("drop without one head (layers down, heads across):")
    print("layer" + "".join(f"{head:>8}" for head in range(len(drops[0]))))
    for layer, row in enumerate(drops):
        # "+ 0.0" so that a rounded -0.00 has no sign
        print(f"{layer:>5}" + "".join(f"{round(drop, 2) + 0.0:>8.2f}" for drop in row))


if __name__ == "__main__":
    run_command(main)
