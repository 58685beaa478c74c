"""A little SQuAD file, vocabulary and model folder, for tests that run the training command."""

import json
import random
from pathlib import Path

WORDS = (
    "the a in of by was is river tower bridge town old new green white stone built founded named "
    "anna bert carl dora emil fred gina hugo ida jan one two three four five six seven eight nine "
    "ten who what when where which ? . ,"
).split()
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONFIG = {
    "model_type": "bert",
    "vocab_size": len(WORDS) + len(SPECIAL),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}


def write_little(folder: Path, questions: int = 22, seed: int = 0) -> tuple[Path, Path, Path]:
    """Write train.json, dev.json and model/ (no weights).

    Every third question is impossible, and contexts of 20 to 60 words need one to four windows at
    --max-length 32 --doc-stride 8.
    """
    generator = random.Random(seed)
    paths = []
    for name in ("train", "dev"):
        paragraphs = []
        for q in range(questions):
            words = generator.choices(WORDS[:-3], k=generator.randint(20, 60))
            context = " ".join(words)
            at = generator.randrange(len(words) - 3)
            start = len(" ".join(words[:at])) + (at > 0)
            text = " ".join(words[at : at + generator.randint(1, 3)])
            answers = [] if q % 3 == 2 else [{"text": text, "answer_start": start}]
            asked = {
                "id": f"{name}-{q}",
                "question": f"who was {words[max(0, at - 1)]} ?",
                "answers": answers,
                "is_impossible": not answers,
            }
            paragraphs.append({"context": context, "qas": [asked]})
        document = {"version": "v2.0", "data": [{"title": name, "paragraphs": paragraphs}]}
        path = folder / f"{name}.json"
        path.write_text(json.dumps(document))
        paths.append(path)
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(CONFIG))
    (model / "vocab.txt").write_text("".join(f"{token}\n" for token in (*SPECIAL, *WORDS)))
    return paths[0], paths[1], model


def little_arguments(folder: Path, run: Path, *more: str) -> list[str]:
    """The command line of a short run on the files of `write_little`."""
    return [
        *("--from-scratch", str(folder / "model"), "--train-file", str(folder / "train.json")),
        *("--dev-file", str(folder / "dev.json"), "--output-dir", str(run), "--threads", "1"),
        *("--max-length", "32", "--doc-stride", "8", "--batch-size", "12", "--epochs", "2"),
        *("--lr", "3e-3", "--save-every", "2", *more),
    ]
