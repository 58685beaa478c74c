"""torchrun: several processes train, evaluate, stop and go on as one (T6 to T8 of the promises)."""

import json
import math
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import eval.answerer
import eval.predict
import train.gradients
import train.loop
import train.wiring
from data.ranks import Ranks
from minibert.heads import BertForQuestionAnswering
from tests.forked import forked
from tests.reliability import figure
from tests.train.killing import at_file_event, go_on, result
from tests.train.little import little_arguments, write_little
from tests.train.test_signals import at_call
from tests.train.torchrun import Torchrun
from train.checkpoint import list_checkpoints

# 154 windows: nine updates of 17 and one of a single window, which leaves two of three ranks idle
WINDOWS, BATCH = 154, 17
CALM = ("--dropout", "0", "--lr", "3e-5", "--batch-size", str(BATCH))
SHORT = ("--dropout", "0.1", "--batch-size", "9", "--epochs", "1.5", "--save-every", "2")
PREDICTED = ("predictions.json", "null_odds.json", "nbest.json", "metrics.json")


def small_buckets(rank: int = 0) -> None:
    """So little that a bucket is one or two tensors: ten on their way at the same time."""
    train.gradients.BUCKET_BYTES = 2000


def lines(run: Path, event: str) -> list[dict]:
    every = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in every if line["event"] == event]


def last_weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(list_checkpoints(run / "checkpoints")[-1] / "model.safetensors")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The little data set, runs/N of N ranks on it without dropout, and short-N with dropout."""
    folder = tmp_path_factory.mktemp("ranks")
    write_little(folder, questions=66)
    (folder / "short").mkdir()
    write_little(folder / "short", questions=15)
    words = little_arguments(folder, folder / "runs" / "half", *CALM, "--epochs", "0.5")
    assert Torchrun().run(2, words) == [0, 0]
    for size in (1, 2, 3):
        words = little_arguments(folder, folder / "runs" / str(size), *CALM)
        prepare = (lambda rank: None) if size == 2 else small_buckets
        assert Torchrun().run(size, words, prepare) == [0] * size
    return folder


@pytest.fixture(scope="module")
def undisturbed(files):
    words = little_arguments(files / "short", files / "short" / "whole", *SHORT)
    assert Torchrun().run(2, words) == [0, 0]
    return result(files / "short" / "whole")


# ---- T6: n ranks are one process


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_train_as_one_process(files, size):
    alone, together = files / "runs" / "1", files / "runs" / str(size)
    updates = [lines(run, "update") for run in (alone, together)]
    assert [line["size"] for line in updates[0]] == ([BATCH] * 9 + [1]) * 2
    apart = 0.0
    for one, several in zip(*updates, strict=True):
        apart = max(apart, abs(one["loss"] - several["loss"]))
        assert (one["size"], one["lr"]) == (several["size"], several["lr"])
    assert apart <= 1e-6
    figure("T6", f"{size} ranks: every loss within {apart:.0e} of one process's")
    weights = [last_weights(run) for run in (alone, together)]
    for name, weight in weights[0].items():
        # a softmax does not feel what is added to all of its scores: the gradient of the span bias
        # is rounding noise, of which Adam makes whole steps
        if name != "span.bias":
            assert (weight - weights[1][name]).abs().max() <= 1e-5, name


def test_one_rank_of_torchrun_is_a_run_without_it(files, tmp_path):
    words = little_arguments(files, tmp_path / "run", *CALM)
    assert forked("train.squad", *words)[0] == 0
    plain, ranked = result(tmp_path / "run"), result(files / "runs" / "1")
    assert plain[1:] == ranked[1:]
    weights = {n: h for n, h in plain[0].items() if n.endswith(".safetensors")}
    assert weights.items() <= ranked[0].items()


def test_every_trained_parameter_gets_a_gradient(files):
    """One that never does would be decayed by several ranks and left alone by one process."""
    moments = list_checkpoints(files / "runs" / "2" / "checkpoints")[-1] / "optimizer.safetensors"
    first = {n: m for n, m in load_file(moments).items() if n.endswith(":exp_avg_sq")}
    assert first and all(bool((moment > 0).any()) for moment in first.values())


def test_dropout_differs_by_rank_and_repeats(files, undisturbed, tmp_path):
    words = little_arguments(files / "short", tmp_path / "run", *SHORT)
    seeds = tmp_path / "seeds"
    seed = torch.manual_seed

    def note(rank: int) -> None:
        def noted(number):
            with seeds.open("a") as file:
                file.write(f"{number}\n")
            return seed(number)

        train.loop.torch.manual_seed = noted

    assert Torchrun().run(2, words, note) == [0, 0]
    assert result(tmp_path / "run") == undisturbed
    numbers = seeds.read_text().split()
    of_updates = [number for number in numbers if number != "0"]  # 0 is the model's
    assert len(set(of_updates)) == 2 * len(undisturbed[2][:-2])


# ---- T7: predictions do not depend on who made them


def test_answers_scores_and_files_are_equal_byte_for_byte(files, tmp_path):
    model, data = files / "runs" / "1", files / "dev.json"
    made = {}
    for size in (1, 2, 3):
        out = tmp_path / str(size)
        words = ["--model", str(model), "--data-file", str(data), "--output-dir", str(out)]
        words += ["--threads", "1", "--batch-tokens", "300"]
        assert Torchrun().run(size, words, command=eval.predict.main) == [0] * size
        made[size] = {name: (out / name).read_bytes() for name in PREDICTED}
    assert made[1] == made[2] == made[3]
    plain = (tmp_path / "plain", ["--model", model, "--data-file", data, "--threads", "1"])
    more = ["--batch-tokens", "300", "--output-dir", plain[0]]
    assert forked("eval.predict", *plain[1], *more)[0] == 0
    assert {name: (plain[0] / name).read_bytes() for name in PREDICTED} == made[1]


def test_each_window_is_predicted_by_one_rank(files, tmp_path):
    seen = tmp_path / "seen"
    collate = eval.answerer.collate

    def note(rank: int) -> None:
        def noted(windows, chosen):
            with seen.open("a") as file:
                file.write("".join(f"{w} {rank}\n" for w in chosen.tolist()))
            return collate(windows, chosen)

        eval.answerer.collate = noted

    words = ["--model", files / "runs" / "1", "--data-file", files / "dev.json"]
    words += ["--output-dir", tmp_path / "out", "--batch-tokens", "300", "--threads", "1"]
    assert Torchrun().run(3, [*map(str, words)], note, eval.predict.main) == [0] * 3
    windows, ranks = zip(*map(str.split, seen.read_text().splitlines()), strict=True)
    assert sorted(map(int, windows)) == list(range(len(windows)))
    assert set(ranks) == {"0", "1", "2"}


def test_more_ranks_than_batches_leave_some_without_work(files, tmp_path):
    words = ["--model", files / "runs" / "1", "--data-file", files / "dev.json"]
    words += ["--output-dir", tmp_path / "out", "--batch-tokens", "100000", "--threads", "1"]
    assert Torchrun().run(3, [*map(str, words)], command=eval.predict.main) == [0] * 3
    assert json.loads((tmp_path / "out" / "metrics.json").read_bytes())["total"] == 66


# ---- T8: a rank that is killed


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


KILLS = {
    "before-a-backward": lambda run: (1, at_call(train.loop, "seed_update", 5, kill_self)),
    "within-the-sum": lambda run: (1, at_call(Ranks, "start_sum", 9, kill_self)),
    "before-the-vote": lambda run: (0, at_call(Ranks, "collect", 5, kill_self)),
    "evaluating": lambda run: (1, at_call(eval.answerer, "longest_first", 1, kill_self)),
    "saving": lambda run: (0, at_file_event(run / "checkpoints", 12, kill_self)),
    "beginning": lambda run: (0, at_call(train.wiring, "note_begun", 1, kill_self)),
    "publishing": lambda run: (0, at_file_event(run / ".best", 4, kill_self)),
}


@pytest.mark.parametrize("moment", KILLS)
def test_a_restarted_group_goes_on_to_the_same_bits(files, undisturbed, tmp_path, moment):
    run = tmp_path / "run"
    killed, prepare = KILLS[moment](run)

    def kill_one(rank: int) -> None:
        small_buckets()
        if rank == killed:
            prepare()

    launch = Torchrun()
    words = little_arguments(files / "short", run, *SHORT)
    began = time.monotonic()
    statuses = launch.run(2, words, kill_one)
    assert time.monotonic() - began < 30
    assert statuses[killed] == -signal.SIGKILL
    assert statuses[1 - killed] in (6, 143, -signal.SIGTERM)  # missed the other, or told to stop
    launch.restarts += 1
    assert launch.run(2, words) == [0, 0]  # the same words, without --resume
    assert result(run) == undisturbed


def test_another_torchrun_does_not_take_the_run_for_its_own(files, tmp_path):
    """Not even if it has restarted its ranks already and calls itself the same."""
    run = tmp_path / "run"
    words = little_arguments(files / "short", run, *SHORT, "--max-minutes", "1e-5")
    assert Torchrun().run(2, words) == [0, 0]
    before = (run / "log.jsonl").read_bytes()
    other = Torchrun()
    other.restarts = 1
    errors = tmp_path / "errors"
    errors.mkdir()
    assert other.run(2, words, errors=errors, tell=False) == [2, 2]
    assert "is not empty; go on with --resume" in (errors / "0").read_text()
    assert (errors / "1").read_text() == ""  # said once
    assert (run / "log.jsonl").read_bytes() == before


def test_an_overwriting_group_that_is_restarted_does_not_overwrite_itself(
    files, undisturbed, tmp_path
):
    run = tmp_path / "run"
    words = little_arguments(files / "short", run, *SHORT)
    assert Torchrun().run(2, [*words, "--seed", "5", "--max-minutes", "1e-5"]) == [0, 0]
    prepare = at_call(train.loop, "seed_update", 5, kill_self)
    launch = Torchrun()
    words.append("--overwrite")
    assert -signal.SIGKILL in launch.run(2, words, lambda rank: prepare() if rank else None)
    launch.restarts += 1
    assert launch.run(2, words) == [0, 0]
    assert len(json.loads((run / "env.json").read_bytes())) == 2
    assert result(run) == undisturbed


def test_a_single_rank_is_restarted_as_several_are(files, tmp_path):
    prepare = at_call(train.loop, "seed_update", 5, kill_self)
    launch, whole, run = Torchrun(), tmp_path / "whole", tmp_path / "run"
    assert forked("train.squad", *little_arguments(files / "short", whole, *SHORT))[0] == 0
    words = little_arguments(files / "short", run, *SHORT)
    assert launch.run(1, words, lambda rank: prepare()) == [-signal.SIGKILL]
    launch.restarts += 1
    assert launch.run(1, words) == [0]
    assert lines(run, "update")[:-1] and len(lines(run, "update")) == len(lines(whole, "update"))
    assert result(run)[1] == result(whole)[1]


def test_the_minutes_count_from_the_first_start(files, tmp_path):
    words = little_arguments(files / "short", tmp_path / "run", *SHORT, "--max-minutes", "0.1")
    launch = Torchrun()
    prepare = at_call(train.loop, "seed_update", 3, kill_self)
    assert -signal.SIGKILL in launch.run(2, words, lambda rank: prepare() if rank else None)
    launch._store.set("minibert/since", str(time.time() - 60))
    launch.restarts += 1
    assert launch.run(2, words) == [0, 0]
    assert len(lines(tmp_path / "run", "update")) <= 2


# ---- memory, inf and NaN on one rank


def out_of_memory(*anything: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def in_backward() -> None:
    """Memory runs out in the third backward pass, with some buckets on their way."""
    forward, calls = BertForQuestionAnswering.forward, 0

    def with_hook(self, batch):
        nonlocal calls
        calls += self.training
        handle = None
        if calls == 3 and self.training:
            handle = self.encoder.layers[0].ffn.up.weight.register_hook(
                lambda gradient: (handle.remove(), out_of_memory())
            )
        return forward(self, batch)

    BertForQuestionAnswering.forward = with_hook


SHORTAGES = {
    "forward": lambda: at_call(BertForQuestionAnswering, "forward", 3, out_of_memory)(),
    "backward": in_backward,
    "norm": lambda: at_call(train.loop, "get_total_norm", 3, out_of_memory)(),
}


@pytest.mark.parametrize("short", [0, 1])
@pytest.mark.parametrize("place", SHORTAGES)
def test_memory_that_runs_out_on_one_rank_halves_on_all(files, tmp_path, place, short):
    run, calm = tmp_path / "run", files / "runs" / "half"
    words = little_arguments(files, run, *CALM, "--epochs", "0.5")

    def prepare(rank: int) -> None:
        small_buckets()
        if rank == short:
            SHORTAGES[place]()

    assert Torchrun().run(2, words, prepare) == [0, 0]
    assert [line["accumulate"] for line in lines(run, "memory")] == [4]
    for line, calm_line in zip(lines(run, "update"), lines(calm, "update"), strict=True):
        assert abs(line["loss"] - calm_line["loss"]) <= 1e-6
    state = json.loads((list_checkpoints(run / "checkpoints")[-1] / "state.json").read_bytes())
    assert state["state"]["accumulate"] == 4


def test_memory_that_is_short_after_the_vote_ends_the_run(files, tmp_path):
    errors = tmp_path / "errors"
    errors.mkdir()
    prepare = at_call(train.loop, "clip_grads_with_norm_", 3, out_of_memory)
    words = little_arguments(files, tmp_path / "run", *CALM)
    statuses = Torchrun().run(2, words, lambda rank: prepare() if rank else None, errors=errors)
    assert statuses[1] == 6 and statuses[0] in (6, 143, -signal.SIGTERM)
    assert "rank 1 ran out of memory in a step that others make" in (errors / "1").read_text()


def infinite_once(rank: int) -> None:
    forward, calls = BertForQuestionAnswering.forward, 0

    def spoilt(self, batch):
        nonlocal calls
        calls += self.training
        logits = forward(self, batch)
        return logits._replace(start_logits=logits.start_logits * (math.inf if calls == 3 else 1))

    if rank == 1:
        BertForQuestionAnswering.forward = spoilt


def test_a_step_that_one_rank_cannot_make_is_skipped_by_all(files, tmp_path):
    run = tmp_path / "run"
    words = little_arguments(files, run, *CALM, "--epochs", "0.5", "--amp", "--amp-dtype", "fp16")
    assert Torchrun().run(2, words, infinite_once) == [0, 0]
    assert [line["update"] for line in lines(run, "skip")] == [3]
    assert [line["update"] for line in lines(run, "update")] == [1, 2, 3, 4, 5]
    scales = [line["scale"] for line in lines(run, "update")]
    assert scales[2] == scales[1] / 2


def test_a_loss_that_is_no_number_on_one_rank_stops_all_and_names_its_items(files, tmp_path):
    run, errors = tmp_path / "run", tmp_path / "errors"
    errors.mkdir()
    words = little_arguments(files, run, *CALM)
    assert Torchrun().run(2, words, infinite_once, errors=errors, tell=False) == [3, 3]
    report = json.loads((run / "nonfinite-update-000003.json").read_bytes())
    good, bad = report["micro_batches"]
    assert isinstance(good["loss"], float) and isinstance(bad["loss"], str)
    assert (len(good["items"]), len(bad["items"])) == (9, 8)
    assert (errors / "0").read_text().count("nonfinite-update-000003.json") == 1
    assert (errors / "1").read_text() == ""


# ---- signals and time


def tell_self(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


SIGNALS = [
    *[(where, (0, 1)) for where in ("update", "save", "evaluation", "batch", "gathering")],
    *[(where, (0,)) for where in ("update", "evaluation", "batch")],
    *[(where, (1,)) for where in ("update", "evaluation", "gathering")],
]


@pytest.mark.parametrize(("where", "told"), SIGNALS, ids=str)
def test_a_signal_to_any_rank_stops_all_at_the_same_update(
    files, undisturbed, tmp_path, told, where
):
    run = tmp_path / "run"

    def prepare(rank: int) -> None:
        if rank in told:
            {
                "update": at_call(train.loop, "seed_update", 3, tell_self),
                "save": at_call(train.loop, "follow_first", 1, tell_self),
                "evaluation": at_call(eval.answerer, "longest_first", 1, tell_self),
                "batch": at_call(eval.answerer, "collate", 1, tell_self),
                "gathering": at_call(Ranks, "fill", 1, tell_self),
            }[where]()

    words = little_arguments(files / "short", run, *SHORT)
    statuses = Torchrun().run(2, words, prepare, tell=False)
    assert statuses == [143, 143]
    if where == "update":
        assert list_checkpoints(run / "checkpoints")[-1].name == "update-000003"
    if where in ("evaluation", "batch"):  # left at once, and made first thing after a resume
        assert not lines(run, "eval")
    assert Torchrun().run(2, go_on(words, run)) == [0, 0]
    assert result(run) == undisturbed


def test_the_time_is_up_for_all_at_once(files, tmp_path):
    run = tmp_path / "run"
    words = little_arguments(files / "short", run, *SHORT, "--max-minutes", "0.00001")
    assert Torchrun().run(2, words) == [0, 0]
    assert lines(run, "update") == []


def test_a_run_goes_on_with_another_number_of_ranks_and_says_so(files, tmp_path):
    run, errors = tmp_path / "run", tmp_path / "errors"
    errors.mkdir()
    stop = at_call(train.loop, "seed_update", 7, tell_self)
    words = little_arguments(files, run, *CALM)
    assert Torchrun().run(2, words, lambda r: stop(), tell=False) == [143, 143]
    assert Torchrun().run(3, go_on(words, run), errors=errors) == [0, 0, 0]
    assert "unlike the run's first start: ranks 2 -> 3" in (errors / "0").read_text()
    for one, several in zip(
        lines(files / "runs" / "1", "update"), lines(run, "update"), strict=True
    ):
        assert abs(one["loss"] - several["loss"]) <= 1e-6


def test_only_the_first_rank_needs_the_run_folder(files, undisturbed, tmp_path):
    """The others are on machines of their own, where there is no such folder."""
    run = tmp_path / "run"
    words = little_arguments(files / "short", run, *SHORT)
    stop = at_call(train.loop, "seed_update", 4, tell_self)
    assert Torchrun().run(2, words, lambda r: stop(), tell=False) == [143, 143]

    def elsewhere(rank: int) -> None:
        def hook(event: str, values: tuple[object, ...]) -> None:
            if event in ("open", "os.listdir", "os.scandir", "os.mkdir"):
                if str(values[0]).startswith(str(run)):
                    kill_self()

        if rank:
            sys.addaudithook(hook)

    assert Torchrun().run(2, ["--resume", "--output-dir", str(run)], elsewhere) == [0, 0]
    assert result(run) == undisturbed
