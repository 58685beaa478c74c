"""Train the model that docs/internals.md walks through: `python -m tests.golden.make_tour`.

A model of 12,000 weights learns who did what in three short sentences, by `python -m train.squad`,
and lies in tests/golden/tour: small enough to print, and yet it answers.
"""

import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from data.qa_settings import SETTINGS_FILE
from data.tokenization import SPECIAL_TOKENS, Tokenizer
from minibert import BertForQuestionAnswering
from tests.golden.stages import GOLDEN

TOUR = GOLDEN / "tour"
GIVEN = "anna bob clara david emma frank greta henry".split()
FAMILY = "reed stone wood hill".split()
VERBS = "built sold painted drew".split()
THINGS = "bridge tower mill gate house boat wall well".split()
WORDS = (*SPECIAL_TOKENS, "who", "the", ".", "?", *GIVEN, *FAMILY, *VERBS, *THINGS)
CONFIG = {
    "model_type": "bert",
    "vocab_size": len(WORDS),
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 32,
    "initializer_range": 0.2,
}
TRAINING = (
    "--max-length 32 --doc-stride 8 --epochs 12 --batch-size 32 --lr 3e-3 --dropout 0 --device cpu "
    "--threads 1 --max-answer-length 4"
).split()


def make_entries(rng: random.Random, entries: int) -> list[dict[str, object]]:
    """Paragraphs of three sentences about three things; each asks of one, and one in three of a
    thing that it does not tell of."""
    paragraphs: list[dict[str, object]] = []
    for number in range(entries):
        facts, context = {}, ""
        things = rng.sample(THINGS, 4)
        for given, thing in zip(rng.sample(GIVEN, 3), things[:3], strict=True):
            name = f"{given} {rng.choice(FAMILY)}" if rng.random() < 0.5 else given
            verb = rng.choice(VERBS)
            facts[thing] = (verb, {"text": name, "answer_start": len(context)})
            context += f"{name} {verb} the {thing} . "
        thing = things[3] if number % 3 == 0 else rng.choice(things[:3])
        verb, answer = facts.get(thing, (rng.choice(VERBS), None))
        asked = {
            "id": str(number),
            "question": f"who {verb} the {thing} ?",
            "answers": [answer] if answer else [],
            "is_impossible": answer is None,
        }
        paragraphs.append({"context": context.strip(), "qas": [asked]})
    return paragraphs


def main() -> None:
    """Write tests/golden/tour."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Tokenizer({word: i for i, word in enumerate(WORDS)}, lowercase=True).save(folder)
        (folder / "config.json").write_text(json.dumps(CONFIG))
        for part, entries in (("train", 20_000), ("dev", 300)):
            paragraphs = make_entries(random.Random(part), entries)
            document = {"version": "v2.0", "data": [{"title": part, "paragraphs": paragraphs}]}
            (folder / f"{part}.json").write_text(json.dumps(document))
        files = ["--from-scratch", name, "--train-file", f"{name}/train.json"]
        files += ["--dev-file", f"{name}/dev.json", "--output-dir", f"{name}/run"]
        subprocess.run([sys.executable, "-m", "train.squad", *files, *TRAINING], check=True)
        best = folder / "run" / "best"
        model = BertForQuestionAnswering.from_pretrained(best)
        model.save_pretrained(TOUR, torch.float16)
        Tokenizer.from_folder(best).save(TOUR)
        shutil.copy(best / SETTINGS_FILE, TOUR)
    for file in TOUR.iterdir():
        file.chmod(0o644)


if __name__ == "__main__":
    main()
