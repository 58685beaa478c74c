"""How soon a command answers: `python -m train.squad --help` beside the imports of run_qa.

run_qa (transformers' question-answering example) imports torch, transformers' model, tokenizer,
collator and Trainer classes and datasets before it reads a flag; those imports alone are the peer,
each time in a fresh process, warm disk cache. (`evaluate`, which it also imports, is left out.)
"""

import subprocess
import sys
from pathlib import Path

from benchmarks.timing import Row, alternate

PEER = """
import datasets
import transformers
from transformers import (
    AutoConfig, AutoModelForQuestionAnswering, AutoTokenizer, DataCollatorWithPadding,
    EvalPrediction, HfArgumentParser, PreTrainedTokenizerFast, Trainer, TrainingArguments,
)
"""


def measure(folder: Path, quick: bool) -> list[Row]:
    """One row; the data folder is not needed."""
    seconds = alternate(
        {
            "ours": lambda number: run("-m", "train.squad", "--help"),
            "peer": lambda number: run("-c", PEER),
        },
        rounds=3 if quick else 9,
    )
    what = "train.squad --help: the imports of run_qa"
    return [Row(what, seconds["ours"], seconds["peer"], most=0.2)]


def run(*words: str) -> None:
    """Run Python in a fresh process."""
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
