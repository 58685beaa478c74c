"""What pretraining is worth: the same training from pretrained and from random weights.

    python -m benchmarks.pretraining --data FOLDER   FOLDER/squad, three seeds, 300 updates each
    python -m benchmarks.pretraining --demo          the demo's world, one seed, 60 updates

Both sides are `train.squad` with the same model's configuration and vocabulary, the same updates,
windows and seeds; the random side reads everything but the weights (--from-scratch). The scores are
those of the dev file: of the answerable questions with the null answer off, and of all questions at
threshold 0 and at the best threshold (the oracle's).
"""

import json
import math
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from data.command import UsageError, option, parse, run_command
from eval.run_groups import pooled_deviations
from eval.spread import Spread

SIDES = {"random": "--from-scratch", "pretrained": "--model"}
SCORES = {
    "no_null_exact": "EM, answerable, null answer off",
    "no_null_f1": "F1, answerable, null answer off",
    "exact": "EM at threshold 0",
    "f1": "F1 at threshold 0",
    "oracle_best_exact": "EM, oracle's best",
    "oracle_best_f1": "F1, oracle's best",
}
DECIDES = "no_null_f1"
LEAST_RATIO, LEAST_DEVIATIONS = 1.3, 3.0
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Options:
    """Options of `python -m benchmarks.pretraining`."""

    data: str = option("", help="folder with squad/ (default: that of MINIBERT_DATA)")
    demo: bool = option(False, help="on the demo's world, without --data")
    model: str = option("embedded", help="pretrained model: folder, Hub name, or embedded")
    updates: int = option(0, help="of every run (default: 300, with --demo 60)")
    seeds: int = option(0, help="runs a side, with the seeds 0, 1, ... (default: 3, --demo 1)")
    max_length: int = option(128, help="tokens of a window, without --demo")
    doc_stride: int = option(32, help="tokens shared by neighbouring windows, without --demo")
    batch_size: int = option(32, help="windows in an update")
    lr: float = option(1e-3, help="highest learning rate, of both sides")
    dropout: float = option(0.0, help="of both sides: few updates learn more without")
    amp: bool = option(False, help="mixed precision, on both sides")
    threads: int = option(2, help="of a run")
    jobs: int = option(1, help="runs at the same time")

    def __post_init__(self) -> None:
        if min(self.batch_size, self.jobs, self.threads) < 1:
            raise UsageError("--batch-size, --jobs and --threads must be at least 1")
        if min(self.updates, self.seeds) < 0:
            raise UsageError("--updates and --seeds must be 0 (their default) or more")
        if self.demo and self.data:
            raise UsageError("--demo brings its own data; leave out --data")


def run_words(options: Options) -> list[str]:
    """What both sides' commands have in common."""
    words = ["--updates", options.updates or (60 if options.demo else 300)]
    words += ["--lr", options.lr, "--batch-size", options.batch_size, "--dropout", options.dropout]
    words += ["--threads", options.threads]
    words += ["--eval-every", 0, "--save-every", 10**6, *(["--amp"] if options.amp else [])]
    if options.demo:
        words += ["--demo"]
    else:
        from benchmarks.workload import data_folder

        squad = data_folder(options.data) / "squad"
        words += ["--train-file", squad / "train-v2.0-subset.json"]
        words += ["--dev-file", squad / "dev-v2.0.json"]
        words += ["--max-length", options.max_length, "--doc-stride", options.doc_stride]
    return [str(word) for word in words]


def final_scores(words: list[str], side: str, model: str, seed: int) -> dict[str, float]:
    """metrics.json of one run of train.squad.

    Raises:
        UsageError: the run failed; its last words.
    """
    with tempfile.TemporaryDirectory() as place:
        own = [SIDES[side], model, "--seed", str(seed), "--output-dir", f"{place}/run"]
        done = subprocess.run(
            [sys.executable, "-m", "train.squad", *words, *own],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode not in (0, 1):  # 1: the demo's goals, where --updates makes it whole
            raise UsageError(f"{side} weights, seed {seed}: {done.stderr.strip()[-300:]}")
        scores: dict[str, float] = json.loads(Path(place, "run", "metrics.json").read_bytes())
    shown = ", ".join(f"{name} {scores[name]:.2f}" for name in SCORES)
    print(f"{side}, seed {seed}: {shown}", file=sys.stderr, flush=True)
    return scores


def verdict(random: list[float], pretrained: list[float]) -> tuple[str, bool]:
    """A sentence on the deciding score, and whether its goals are reached.

    Args:
        random: percent, one a seed, at least two.
        pretrained: the same.
    """
    ours, theirs = statistics.fmean(pretrained), statistics.fmean(random)
    difference, ratio = ours - theirs, ours / max(theirs, 1e-9)
    deviations = pooled_deviations(pretrained, random)
    if deviations is None:  # no run differs from its side's mean
        deviations = math.copysign(math.inf, difference)
    reached = ratio >= LEAST_RATIO and deviations > LEAST_DEVIATIONS
    return (
        f"{SCORES[DECIDES]}: {ratio:.2f}x (goal {LEAST_RATIO}x), a difference of {difference:.2f} "
        f"or {deviations:.1f} pooled deviations (goal: above {LEAST_DEVIATIONS:g}): "
        + ("reached" if reached else "MISSED")
    ), reached


def main(argv: list[str]) -> int:
    """Train both sides, print a Markdown table and the verdict; 1 if it is missed."""
    text = "Train from pretrained and from random weights, at the same updates, and compare."
    options = parse(Options, argv, prog="benchmarks.pretraining", description=text)
    seeds = range(options.seeds or (1 if options.demo else 3))
    words = run_words(options)
    runs = [(side, seed) for seed in seeds for side in SIDES]
    with ThreadPoolExecutor(options.jobs) as pool:
        scores = list(
            pool.map(lambda run: final_scores(words, run[0], options.model, run[1]), runs)
        )
    by_side = {
        side: [score for (ran, _), score in zip(runs, scores, strict=True) if ran == side]
        for side in SIDES
    }
    amp = " --amp" if options.amp else ""
    print(f"train.squad {' '.join(words[:8])}{amp}, {options.model}, {len(seeds)} seeds a side\n")
    print("| percent of the dev file | random weights | pretrained weights |\n|---|---|---|")
    for name, title in SCORES.items():
        cells = [Spread.of([run[name] for run in by_side[side]]).said(2) for side in SIDES]
        print(f"| {title} | {' | '.join(cells)} |")
    if len(seeds) == 1:
        return 0
    sentence, reached = verdict(*([run[DECIDES] for run in by_side[side]] for side in SIDES))
    print(f"\n{sentence}")
    return 0 if reached else 1


if __name__ == "__main__":
    run_command(main)
