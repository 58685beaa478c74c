"""Masked-word prediction: which tokens may stand behind each [MASK] of a sentence.

    python -m eval.fill "Paris is the [MASK] of France."
    python -m eval.fill "The [MASK] of France is [MASK]." --model google-bert/bert-base-uncased
    cat sentences.txt | python -m eval.fill --top 3

Standard input is read line by line, and each line is answered as soon as it is read. A line of
output is {"id", "text", "filled", "masks": [{"start", "end", "top": [...]}]}, where "top" holds
{"token", "probability", "text"}, best first.

Every [MASK] is filled on its own: a probability says nothing about what stands behind the others.
"""

import codecs
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from data.command import parser, run_command
from data.options import check_range
from eval.answer import json_line
from eval.options import MOST_THREADS

if TYPE_CHECKING:
    import torch

    from data.tokenization import Tokenizer
    from minibert.heads import BertForMaskedLM

MASK = "[MASK]"  # in capitals only, as in every published vocabulary


@dataclass(frozen=True)
class Filler:
    """A masked-LM model with everything needed to fill sentences.

    Attributes:
        model: in evaluation mode.
        tokenizer: the model's.
        device: where the model is.
    """

    model: "BertForMaskedLM"
    tokenizer: "Tokenizer"
    device: "torch.device"

    @classmethod
    def load(
        cls, name_or_folder: str, revision: str | None = None, device: str = "auto"
    ) -> "Filler":
        """Load a model and its tokenizer.

        Raises:
            ValueError: not found, not readable, or without a trained masked-LM head.
        """
        from data.tokenization import Tokenizer
        from minibert.device import choose_device
        from minibert.heads import BertForMaskedLM
        from minibert.hub import find_model

        files = find_model(name_or_folder, revision=revision)
        place = choose_device(device)
        model = BertForMaskedLM.from_pretrained(files, new_head=True)
        if model.load_report is not None and model.load_report.new:
            raise ValueError(
                f"{files.source} has no masked-LM head, so it cannot fill a {MASK}; give a "
                "pretrained model that was not fine-tuned for another task"
            )
        tokenizer = Tokenizer.from_folder(files.folder)
        tokenizer.require_ids(model.config.vocab_size, files.source)
        return cls(model.to(place), tokenizer, place)

    def fill(self, text: str, top: int = 5) -> dict[str, Any]:
        """The likeliest tokens behind every [MASK] of a text.

        Args:
            text: holds "[MASK]" at least once.
            top: candidates for each, at most the vocabulary's.

        Returns:
            {"text", "filled", "masks"}, as the module's head says; start and end are characters of
            `text`, half-open. A candidate's "text" leaves the other masks as they are, "filled" has
            the best of each.

        Raises:
            ValueError: no [MASK], or a text longer than the model's positions.
        """
        import torch

        from minibert.packing import PackedBatch

        between = text.split(MASK)
        if len(between) == 1:
            raise ValueError(
                f"{_shortened(text)!r} has no {MASK}; write it, in capitals and brackets, where a "
                "word is to be predicted"
            )
        ids = [self.tokenizer.cls_id]
        rows = []
        for number, pieces in enumerate(self.tokenizer.encode(between)):
            if number:
                rows.append(len(ids))
                ids.append(self.tokenizer.mask_id)
            ids += pieces
        ids.append(self.tokenizer.sep_id)
        longest = self.model.config.max_position_embeddings
        if len(ids) > longest:
            raise ValueError(
                f"{_shortened(text)!r} has {len(ids)} tokens with [CLS] and [SEP], the model takes "
                f"{longest}; shorten it"
            )
        with torch.inference_mode():
            batch = PackedBatch.from_sequences([ids]).to(self.device)
            logits = self.model(batch, torch.tensor(rows, device=self.device))  # (M, V)
            # ids beyond the vocabulary (a padded embedding) have no name to show
            probs = logits.float().softmax(-1)[:, : self.tokenizer.vocab_size]
            probs, best = probs.sort(descending=True, stable=True)
        masks: list[dict[str, Any]] = []
        begin = 0
        for row in range(len(rows)):
            begin = text.index(MASK, begin)
            end = begin + len(MASK)
            top_ids, top_probs = best[row, :top].tolist(), probs[row, :top].tolist()
            names = [self.tokenizer.tokens[i] for i in top_ids]
            shown = [
                {
                    "token": token,
                    "probability": probability,
                    "text": join([text[:begin], text[end:]], [token]),
                }
                for token, probability in zip(names, top_probs, strict=True)
            ]
            masks.append({"start": begin, "end": end, "top": shown})
            begin = end
        filled = join(between, [mask["top"][0]["token"] for mask in masks])
        return {"text": text, "filled": filled, "masks": masks}


def join(between: list[str], tokens: list[str]) -> str:
    """A text with tokens in its gaps; a piece that continues a word is joined to what is before it.

    Worked example: ["two ", " bark"] and ["##s"] -> "twos bark".

    Args:
        between: one more than tokens.
        tokens: of the vocabulary.
    """
    text = between[0]
    for token, following in zip(tokens, between[1:], strict=True):
        if token.startswith("##") and len(token) > 2:
            text, token = text.rstrip(), token[2:]
        text += token + following
    return text


def main(argv: list[str]) -> int:
    """Fill one sentence, or all on standard input."""
    made = parser(
        "eval.fill",
        "Predict the tokens behind the [MASK]s of a sentence, or of every line of standard input.",
        'example:\n  python -m eval.fill "Paris is the [MASK] of France." --top 3',
    )
    add = made.add_argument
    add("sentence", nargs="?", help=f"text with {MASK} in it (else lines are read from stdin)")
    add("--model", default="embedded",
        help="run folder, model folder, Hub name, or embedded (default: embedded)")  # fmt: skip
    add("--top", type=int, default=5, help="tokens shown for each mask, best first (default: 5)")
    add("--json", action="store_true", help="JSON also for one sentence")
    add("--revision", help="Hub branch, tag or commit")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    add("--threads", type=int, default=0, help="CPU threads, 0 = torch's own choice (default: 0)")
    add("--debug", action="store_true", help="show the traceback of an error")
    options, unknown = made.parse_known_args(argv)
    made.refuse_unknown(unknown)
    check_range("top", options.top, 1)
    check_range("threads", options.threads, 0, MOST_THREADS)
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    filler = Filler.load(options.model, options.revision, options.device)
    if options.sentence is None:
        return _fill_lines(filler, sys.stdin.buffer, options.top)
    reply = filler.fill(options.sentence, options.top)
    if options.json:
        print(json_line(reply))
        return 0
    for number, mask in enumerate(reply["masks"], 1):
        if len(reply["masks"]) > 1:
            print(f"{MASK} {number}")
        width = max(len(one["token"]) for one in mask["top"])
        for one in mask["top"]:
            print(f"  {one['probability']:7.2%}  {one['token']:{width}}  {one['text']}")
    if len(reply["masks"]) > 1:
        print(reply["filled"])
    return 0


def _fill_lines(filler: Filler, lines: BinaryIO, top: int) -> int:
    """Sentences in, JSON lines out; a line that cannot be filled gets {"id", "error"}.

    Returns:
        0, or 2 if any line was wrong.
    """
    status = 0
    for number, line in enumerate(lines, 1):
        line = line.removeprefix(codecs.BOM_UTF8).strip()
        if not line:
            continue
        try:
            reply = {"id": number, **filler.fill(line.decode(), top)}
        except UnicodeDecodeError:
            error = f"line {number} of standard input is not UTF-8 text"
            reply, status = {"id": number, "error": error}, 2
        except ValueError as error:
            reply, status = {"id": number, "error": str(error)}, 2
        print(json_line(reply), flush=True)
    return status


def _shortened(text: str) -> str:
    """The first characters of a text, for an error that must stay one line."""
    return text if len(text) <= 40 else text[:40] + "..."


if __name__ == "__main__":
    run_command(main)
