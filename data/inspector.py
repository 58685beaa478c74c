"""The window inspector, `python -m data.windows`: what a data set or a question becomes.

The windows are those that eval.predict would make with the same model: by the settings saved with
it, or else by its number of positions. With --id every window of one question: which tokens and
characters of the context it holds, what its labelled tokens say, and whether the answer was lost or
the question cut. Without it the totals of the file, among them everything that was cut, repaired or
cannot be learnt.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.command import UsageError, option, parse
from data.ledger import ledger
from data.options import WindowOptions
from minibert.hub import EMBEDDED
from minibert.strict_json import counted, named

if TYPE_CHECKING:
    from data.qa_settings import QASettings
    from data.squad import SquadData
    from data.tokenization import Tokenizer
    from data.windows import Windows

_SHOWN = 60  # characters of a text that are printed


@dataclass(frozen=True, kw_only=True)
class Options(WindowOptions):
    """Options of `python -m data.windows`, beside those of the windows."""

    data: tuple[str, ...] = option(
        (), help="SQuAD v1.1 or v2.0 .json file", metavar="DATA", positional=True
    )
    data_file: str | None = option(None, help="the same, as a flag", metavar="FILE")
    id: str | None = option(
        None, help="show the windows of this question instead of totals", metavar="QUESTION"
    )
    model: str = option(
        EMBEDDED,
        help="run folder, model folder, Hub name, embedded, or a folder with a vocabulary only",
        group="model",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data_file is not None and self.data:
            raise UsageError("DATA and --data-file contradict each other; give one of them")
        if len(self.data) > 1:
            raise UsageError(f"{len(self.data)} files are named, expected one")
        if self.data_file is None and not self.data:
            raise UsageError("no file is named; give DATA, a SQuAD .json file")

    @property
    def path(self) -> str:
        """The file, however it was named."""
        return self.data_file if self.data_file is not None else self.data[0]


def main(argv: list[str]) -> int:
    """Print the windows of a question, or the totals of a file."""
    options = parse(
        Options, argv, prog="data.windows",
        description="What a SQuAD file becomes as a model's input: the windows of eval.predict.",
        epilog="examples:\n  python -m data.windows dev-v2.0.json --model runs/squad\n"
        "  python -m data.windows dev-v2.0.json --model runs/squad --id 56ddde6b9a695914005b9628",
    )  # fmt: skip
    from data.qa_settings import make_example_windows
    from data.squad import read_squad

    tokenizer, settings = read_model(options)
    squad = read_squad(options.path)
    chosen = squad.examples if options.id is None else [squad.question(options.id)]
    windows = make_example_windows(chosen, tokenizer, settings)
    print(f"windows of {options.model}: at most {settings.window}")
    if options.id is None:
        show_totals(squad, windows, settings.max_length)
    else:
        show_question(squad, windows)
    return 0


def read_model(options: Options) -> "tuple[Tokenizer, QASettings]":
    """Tokenizer and settings as eval.predict has them; the weights are not looked at.

    A folder may hold a vocabulary and nothing else; then nothing bounds the windows' length.

    Raises:
        ValueError: not found, not readable, or windows that the model cannot take.
    """
    from data.qa_settings import SETTINGS_FILE, QASettings
    from data.tokenization import Tokenizer
    from data.windows import MOST_TOKENS
    from minibert.config import BertConfig
    from minibert.hub import find_model

    folder, longest = Path(options.model), MOST_TOKENS
    configs = (folder / "config.json", folder / "best" / "config.json")
    is_model = not folder.is_dir() or any(path.is_file() for path in configs)
    if is_model:
        folder = find_model(
            options.model, revision=options.revision, weights=False, optional=(SETTINGS_FILE,)
        ).folder
    tokenizer = Tokenizer.from_folder(folder)
    if is_model:
        config = BertConfig.from_file(folder / "config.json")
        tokenizer.require_ids(config.vocab_size, options.model)
        longest = config.max_position_embeddings
    settings = QASettings.from_folder(folder, longest).changed(
        longest,
        max_length=options.max_length,
        doc_stride=options.doc_stride,
        doc_step=options.doc_step,
        max_question_length=options.max_question_length,
    )
    return tokenizer, settings


def show_totals(squad: "SquadData", windows: "Windows", max_length: int) -> None:
    """Print sizes, the lengths of the windows, and what was cut, repaired or cannot be learnt."""
    import numpy as np

    tokens = windows.tokens
    impossible = sum(example.is_impossible for example in squad.examples)
    per_question = np.bincount(windows.example)
    middle, long, longest = np.percentile(windows.lengths, [50, 90, 100], method="lower")
    full = (windows.lengths == max_length).mean()
    print(squad.path)
    print(f"  {counted(len(squad.examples), 'question')}, {impossible} of them impossible")
    print(f"  {counted(len(tokens.contexts), 'context')}, {len(tokens.context_tokens.ids)} tokens")
    several = counted(int((per_question > 1).sum()), "question")
    print(f"  {counted(len(windows), 'window')}; several for {several}")
    print(
        f"  {windows.lengths.sum()} tokens in all windows; a window has {middle} (p50), "
        f"{long} (p90), {longest} (max); {full:.1%} have --max-length"
    )
    for line in ledger(squad, windows, with_zeros=True):
        print(f"  {line}")


def show_question(squad: "SquadData", windows: "Windows") -> None:
    """Print every window of a data set that has one question."""
    tokens = windows.tokens
    example = tokens.examples[0]
    context, pieces = example.context, tokens.context_tokens
    cut = ", CUT at --max-question-length" if tokens.cut_questions else ""
    print(f"question {named(example.id)}: {_quoted(example.question)}")
    print(f"  {len(tokens.question_ids[0])} tokens{cut}")
    if example.answers:
        answer = example.answers[0]
        repaired = ", its offset REPAIRED" if example.id in squad.repaired else ""
        print(f"  answer {_quoted(answer.text)}, characters {answer.start}-{answer.end}{repaired}")
    else:
        print(f"  {'impossible' if example.is_impossible else 'no answer in the file'}")
    if windows.lost:
        print("  LOST: no window holds the whole answer; so the question trains as one without")
    if tokens.long_words:
        print("  LONG WORD: a word of over 100 characters is one [UNK] in the context")
    if windows.misaligned:
        print("  MISALIGNED: the answer begins or ends inside a token")
    if windows.trimmed:
        print("  TRIMMED: white space at the answer's edge is not labelled")
    print(f"context: {len(context)} characters, {len(pieces.ids)} tokens")
    for w in range(len(windows)):
        begin, end = int(windows.start[w]), int(windows.start[w] + windows.count[w])
        print(f"window {w}: {windows.lengths[w]} tokens")
        if begin == end:
            print("  holds nothing of the context")
            continue
        first, last = int(pieces.char_starts[begin]), int(pieces.char_ends[end - 1])
        print(f"  holds context tokens {begin}-{end}, characters {first}-{last}")
        print(f"  {_quoted(context[first:last])}")
        label = int(windows.start_positions[w]), int(windows.end_positions[w])
        if label == (0, 0):
            why = "does not hold the whole answer" if example.answers else "there is no answer"
            print(f"  {why}; label 0, 0 = [CLS]")
        else:
            shift = begin - int(windows.first[w])
            start, stop = pieces.char_starts[label[0] + shift], pieces.char_ends[label[1] + shift]
            print(f"  holds the answer; label {label[0]}, {label[1]} = {context[start:stop]!r}")


def _quoted(text: str) -> str:
    """The text in quotes, without control characters, its middle left out if it is long."""
    if len(text) > _SHOWN:
        return f"{text[: _SHOWN // 2]!r} ... {text[-_SHOWN // 2 :]!r}"
    return repr(text)
