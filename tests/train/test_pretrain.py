"""`python -m train.pretrain`: it learns, resumes bit for bit, answers mistakes in a sentence."""

import hashlib
import json
import lzma
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
import torch._dynamo  # a second in every child otherwise: the first optimizer imports it

import train.pretrain
from data.vocabulary import train_vocabulary
from minibert import BertForQuestionAnswering, PackedBatch
from minibert.heads import BertForMaskedLM
from tests.data.texts import SENTENCES, write_text
from tests.forked import finish, forked
from train.positions import add_positions, start_as_sinusoids
from train.pretrain import main
from train.run import Run

CONFIG = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}

UPDATES, LAST_SHORT = 14, 10


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with text/ and config/."""
    folder = tmp_path_factory.mktemp("pretrain")
    (folder / "text").mkdir()
    write_text(folder / "text" / "one.txt", 60)
    (folder / "text" / "two.xz").write_bytes(
        lzma.compress(write_text(folder / "two", 30, seed=1).read_bytes())
    )
    (folder / "config").mkdir()
    tokenizer = train_vocabulary(SENTENCES, SENTENCES, size=150)
    tokenizer.save(folder / "config")
    config = {**CONFIG, "vocab_size": tokenizer.vocab_size}
    (folder / "config" / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def copy(files, tmp_path):
    """The files, to be spoilt."""
    return Path(shutil.copytree(files, tmp_path / "copy"))


def arguments(files, run, *more):
    """The command line of a run of UPDATES updates, those after LAST_SHORT with long blocks."""
    return [
        *(str(files / "text"), "--config", str(files / "config"), "--output-dir", str(run)),
        *("--tokens-dir", str(files / "tokens"), "--jobs", "1", "--threads", "1", "--lr", "1e-2"),
        *("--length", "16", "--then-length", "40", "--long-fraction", "0.25"),
        *("--batch-size", "50", "--eval-every", "3", "--save-every", "2", "--held-out", "0.03"),
        *map(str, more),
    ]


def run_in_new_process(words, at=None, do=None):
    """Run the command in a forked child (torch is imported once); its exit status.

    Args:
        words: the command line.
        at: a place that the child reaches: ("update", n), ("evaluate", n) or ("save", n).
        do: called there, with the run.
    """
    child = os.fork()
    if child:
        return finish(child)
    status = 70
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        os.dup2(devnull, 2)
        log_update, save, write_card = Run.log_update, Run.save, None

        def log_and_do(self, update, *rest):
            log_update(self, update, *rest)
            if at == ("update", update):
                do(self)

        def save_and_do(self, model, optimizer, scaler, state):
            if at == ("save", state.update):
                save(self, model, optimizer, scaler, state)
                do(self)
            save(self, model, optimizer, scaler, state)

        import eval.plots
        import train.pretrain_card

        write_card = train.pretrain_card.write_model_card

        def write_and_do(folder, options, inputs, plan, state, metrics):
            if at == ("evaluate", state.update):  # in the middle of replacing the best model
                do(None)
            write_card(folder, options, inputs, plan, state, metrics)

        Run.log_update, Run.save = log_and_do, save_and_do
        train.pretrain_card.write_model_card = write_and_do
        # the picture takes a second and no part in what is compared
        eval.plots.training_curves = lambda *anything: None
        status = main(list(map(str, words)))
    finally:
        os._exit(status)


def kill(run):
    os.kill(os.getpid(), signal.SIGKILL)


def stop(run):
    run.stop_status = 130


def result(run):
    """Hashes of all that must be equal: last checkpoint, best model, scores, log without times."""
    last = sorted((run / "checkpoints").iterdir())[-1]
    paths = [*sorted(last.iterdir()), *sorted((run / "best").iterdir()), run / "metrics.json"]
    hashes = {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        # log_bytes counts the times too, whose digits vary; so does the manifest's hash of it
        if path.name not in ("state.json", "manifest.json")
    }
    state = json.loads((last / "state.json").read_bytes())["state"]
    return hashes, state, log_of(run)


def log_of(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for line in lines:
        del line["time"]
    return lines


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """An uninterrupted run and what it printed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    return run, printed_by(arguments(files, run))


def printed_by(words):
    """Run train.pretrain to its end."""
    status, output, errors = forked("train.pretrain", *words)
    assert (status, errors) == (0, ""), errors
    return output


def test_a_run_leaves_what_it_promises_and_says_how_it_went(files, whole):
    run, output = whole
    assert {path.name for path in run.iterdir()} >= {
        "options.json", "env.json", "log.jsonl", "metrics.json", "checkpoints", "best",
        "training.png",
    }  # fmt: skip
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    updates = [line for line in lines if line["event"] == "update"]
    assert [line["update"] for line in updates] == list(range(1, UPDATES + 1))
    assert all(line["time"]["tokens_per_s"] > 0 for line in updates)
    sizes = [line["size"] for line in updates]  # in tokens
    assert sizes[0] == 50 * 16 and sizes[-1] == 20 * 40
    evals = [line for line in lines if line["event"] == "eval"]
    assert {line["length"] for line in evals} == {16, 40}
    metrics = json.loads((run / "metrics.json").read_bytes())
    for name in ("loss", "perplexity", "accuracy", "masked"):
        assert all(line[name] > 0 for line in evals) and name in metrics and name in output
    assert "90 documents" in output and "tokens/s" in output and "minutes left" in output
    assert (run / "training.png").read_bytes().startswith(b"\x89PNG")
    card = (run / "best" / "README.md").read_text()
    assert "one.txt, two.xz" in card and str(files) not in card


def test_the_best_model_loads_for_filling_for_more_pretraining_and_for_questions(
    files, whole, tmp_path
):
    run, _ = whole
    metrics = json.loads((run / "metrics.json").read_bytes())
    assert metrics["length"] == 40  # the model that has learnt the later positions
    model = BertForMaskedLM.from_pretrained(run)
    assert model.load_report.new == ()
    report = BertForQuestionAnswering.from_pretrained(run, new_head=True).load_report
    assert report.new == ("span.weight", "span.bias")
    words = arguments(files, tmp_path / "on", "--dry-run")
    words[1:3] = ["--model", str(run)]
    status, output, errors = forked("train.pretrain", *words)
    assert (status, errors) == (0, "") and "left aside" not in output and "new head" not in output
    assert f"model: {run}" in output and "s an update" in output
    assert not (tmp_path / "on").exists()


def test_the_first_model_with_long_blocks_is_better_than_any_before(files, tmp_path, monkeypatch):
    """It has learnt the later positions; losses at different lengths do not compare."""

    def score(inputs, length, *anything):
        scores = {"loss": {16: 1.0, 40: 2.0}[length], "perplexity": 9.0, "accuracy": 9.0}
        return {**scores, "masked": 9, "length": length}

    monkeypatch.setattr(train.pretrain, "score_held_out", score)
    run = tmp_path / "run"
    assert run_in_new_process(arguments(files, run)) == 0
    assert json.loads((run / "metrics.json").read_bytes())["length"] == 40
    _, state, _ = result(run)
    assert (state["best_update"], state["best_score"]) == (12, -2.0)  # and not 14: no better


PLACES = [
    *(("update", n) for n in (1, 4, LAST_SHORT, LAST_SHORT + 1, UPDATES - 1)),
    *(("save", n) for n in (2, LAST_SHORT, UPDATES)),
    *(("evaluate", n) for n in (3, LAST_SHORT)),
]


@pytest.mark.parametrize("settings", [[], ["--accumulate", "3", "--whole-word"]])
def test_killed_anywhere_and_resumed_a_run_ends_with_the_same_bits(
    files, whole, tmp_path, settings
):
    if settings:
        assert run_in_new_process(arguments(files, tmp_path / "whole", *settings)) == 0
        expected = result(tmp_path / "whole")
        assert expected != result(whole[0])
    else:
        expected = result(whole[0])
    assert expected[1]["update"] == UPDATES
    for at in PLACES if not settings else PLACES[1::3]:
        run = tmp_path / "killed"
        assert run_in_new_process(arguments(files, run, *settings), at, kill) == -9
        assert run_in_new_process(["--resume", "--output-dir", run]) == 0
        assert result(run) == expected, f"killed at {at}"
        shutil.rmtree(run)


def test_updates_take_the_place_of_epochs(files, tmp_path):
    run = tmp_path / "run"
    assert run_in_new_process(arguments(files, run, "--updates", 20)) == 0
    sizes = [line["size"] for line in log_of(run) if line["event"] == "update"]
    assert len(sizes) == 20 and sizes[14] == 50 * 16 and sizes[15] == 20 * 40  # a quarter is long
    assert " of 20 |" in (run / "best" / "README.md").read_text()


def test_a_finished_run_that_is_resumed_changes_nothing(files, whole, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole[0], run)
    before = result(run)
    status, _, errors = forked("train.pretrain", "--resume", "--output-dir", run)
    assert (status, errors) == (0, "")
    assert result(run) == before


def test_a_dry_run_prints_the_plan_and_writes_nothing(files, tmp_path):
    run = tmp_path / "run"
    status, output, errors = forked("train.pretrain", *arguments(files, run, "--dry-run"))
    assert (status, errors) == (0, "")
    assert f"plan: {UPDATES} updates of 50 blocks" in output
    assert "about 0.0 minutes" in output and "GB free" in output
    assert not run.exists()


def test_killed_again_and_again_it_still_arrives(files, whole, tmp_path):
    run, words = tmp_path / "run", arguments(files, tmp_path / "run")
    for update in range(2, UPDATES + 1, 2):
        assert run_in_new_process(words, ("save", update), kill) == -9
        words = ["--resume", "--output-dir", run]
    assert run_in_new_process(words) == 0
    assert result(run) == result(whole[0])


def test_time_is_up_after_max_minutes_and_pieces_make_the_same_run(files, whole, tmp_path):
    run, starts = tmp_path / "run", 0
    words = arguments(files, run, "--max-minutes", 0.004)
    while True:
        begin = time.monotonic()
        assert run_in_new_process(words) == 0
        starts += 1
        assert time.monotonic() - begin < 20
        last = log_of(run)[-1:]
        # the time may be up between the last update and its evaluation, which is then put off
        if last and (last[0]["event"], last[0]["update"]) == ("eval", UPDATES):
            break
        # more every time: a slow machine may spend all of a short time on reading
        minutes = 0.004 * (starts + 1)
        words = ["--resume", "--output-dir", run, "--max-minutes", minutes]
    assert starts > 1
    assert result(run) == result(whole[0])


def test_the_time_to_tokenize_counts_towards_max_minutes(files, whole, tmp_path, monkeypatch):
    import train.pretrain_inputs

    tokenize = train.pretrain_inputs.tokenize_corpus

    def slowly(*anything):
        time.sleep(0.7)
        return tokenize(*anything)

    monkeypatch.setattr(train.pretrain_inputs, "tokenize_corpus", slowly)
    run = tmp_path / "run"
    assert run_in_new_process(arguments(files, run, "--max-minutes", 0.01)) == 0  # 0.6 seconds
    assert log_of(run) == [] and not any((run / "checkpoints").iterdir())
    monkeypatch.undo()
    assert run_in_new_process(["--resume", "--output-dir", run]) == 0
    assert result(run) == result(whole[0])


def test_a_signal_saves_and_the_run_can_go_on(files, whole, tmp_path):
    run = tmp_path / "run"
    assert run_in_new_process(arguments(files, run), ("update", 5), stop) == 130
    assert (run / "checkpoints" / "update-000005").is_dir()
    # how tokens are made changes nothing that is computed
    again = ["--resume", "--output-dir", run, "--jobs", "2", "--tokens-dir", tmp_path / "new"]
    assert run_in_new_process(again) == 0
    assert result(run) == result(whole[0])


def test_micro_batches_change_rounding_only(files, tmp_path):
    models = []
    for accumulate in (1, 4):
        run = tmp_path / str(accumulate)
        more = ("--dropout", 0, "--accumulate", accumulate, "--lr", 1e-3)
        assert run_in_new_process(arguments(files, run, *more)) == 0
        models.append(BertForMaskedLM.from_pretrained(run))
    for one, four in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one, four, rtol=0, atol=1e-4)


def test_random_positions_start_as_waves_of_the_usual_size():
    positions = torch.full((400, 31), float("nan"))
    start_as_sinusoids(positions, 0.05)
    assert float(positions.square().mean().sqrt()) == pytest.approx(0.05, rel=0.05)
    near, far = ((positions[d:] * positions[:-d]).sum(1) for d in (1, 200))
    assert float(near.std()) < 1e-3 and float(near.mean()) > 2 * float(far.mean())
    # Vaswani et al. 2017, section 3.5: sine and cosine of position / 10000 ** (2 i / D)
    wave = torch.tensor(7 / 10000 ** (4 / 31)).sin() * 0.05 * 2**0.5
    assert float(positions[7, 4]) == pytest.approx(float(wave), rel=1e-5)


def test_more_positions_leave_the_model_as_it_was_on_its_own(whole):
    model = BertForMaskedLM.from_pretrained(whole[0])
    before = model.encoder.embeddings.position.weight.detach().clone()
    batch = PackedBatch.from_sequences([[2, *range(5, 40), 3]])
    rows = torch.arange(37)
    with torch.no_grad():
        logits = model.eval()(batch, rows)
        add_positions(model, 64)
        assert model(batch, rows).equal(logits)
    after = model.encoder.embeddings.position.weight
    assert after.shape == (64, 16) and after.requires_grad and after[:40].equal(before)
    waves = torch.empty(64, 16)
    start_as_sinusoids(waves, model.config.initializer_range)
    assert after[40:].equal(waves[40:])
    assert (
        model.config.max_position_embeddings == model.encoder.config.max_position_embeddings == 64
    )


def test_a_run_with_more_positions_at_random_resumes_to_the_same_bits(files, whole, tmp_path):
    def words(run):
        named = [str(files / "text"), "--model", str(whole[0]), *arguments(files, run)[3:]]
        return [*named, "--positions", "64", "--random-positions", "--then-length", "64"]

    assert run_in_new_process(words(tmp_path / "calm")) == 0
    assert run_in_new_process(words(tmp_path / "killed"), ("update", 5), kill) == -9
    assert run_in_new_process(["--resume", "--output-dir", tmp_path / "killed"]) == 0
    for name in ("best/model.safetensors", "metrics.json"):
        calm, killed = ((tmp_path / run / name).read_bytes() for run in ("calm", "killed"))
        assert calm == killed
    config = json.loads((tmp_path / "calm" / "best" / "config.json").read_bytes())
    assert config["max_position_embeddings"] == 64


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--config", "CONFIG", "--positions", "64"], "--positions is of a --model; write those"),
        (["--model", "RUN", "--positions", "40"], "has 40 already; give more"),
        (["--model", "RUN", "--positions", "9000"], "--positions is 9000, expected 1 to 8192"),
    ],
)
def test_positions_that_make_no_sense_are_refused(files, whole, tmp_path, words, expected):
    places = {"CONFIG": str(files / "config"), "RUN": str(whole[0])}
    named = [places.get(word, word) for word in words]
    more = ["--output-dir", str(tmp_path / "run"), "--tokens-dir", str(files / "tokens")]
    assert_one_sentence(forked("train.pretrain", str(files / "text"), *named, *more), expected)


def test_it_learns_the_text_and_predicts_held_out_words(copy, tmp_path):
    write_text(copy / "text" / "one.txt", 1000)
    path = copy / "config" / "config.json"
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "initializer_range": 0.1}
    path.write_text(json.dumps({**json.loads(path.read_text()), **sizes}))
    run = tmp_path / "run"
    more = (
        *("--length", 40, "--long-fraction", 0, "--batch-size", 25, "--epochs", 2, "--lr", 5e-3),
        *("--dropout", 0, "--save-every", 500, "--eval-every", 0),
    )
    assert run_in_new_process(arguments(copy, run, *more)) == 0
    first, *_, last = (line["loss"] for line in log_of(run) if line["event"] == "update")
    assert 4.5 < first < 6 and last < 0.5 * first  # log 150 = 5.0
    scores = json.loads((run / "metrics.json").read_bytes())
    # the most frequent token alone would be right one time in eight
    assert scores["loss"] < 0.5 * first and scores["accuracy"] > 45
    assert scores["masked"] >= 300


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_held_out_loss_that_is_no_number_stops_the_run_with_status_3(
    files, tmp_path, monkeypatch, value
):
    plain = BertForMaskedLM.forward

    def spoilt(self, *batch):
        logits = plain(self, *batch)
        if not self.training:
            logits[:, 1:] = value
        return logits

    monkeypatch.setattr(BertForMaskedLM, "forward", spoilt)
    run = tmp_path / "run"
    status, _, errors = forked("train.pretrain", *arguments(files, run))
    assert status == 3
    assert errors.startswith("error: the evaluation after update 3 has a loss of ")
    assert "on the held-out text; the updates are saved" in errors and errors.count("\n") == 1
    assert [line["event"] for line in log_of(run)] == ["update"] * 3
    assert (run / "checkpoints" / "update-000003").is_dir() and not (run / "best").exists()


# ---- mistakes


def assert_one_sentence(done, *fragments):
    status, _, errors = done
    assert status == 2, done
    assert errors.startswith("error: ") and errors.count("\n") == 1, errors
    for fragment in fragments:
        assert fragment in errors, errors


TEXTS = {
    "empty": (b"", "not a single token"),
    "blank": (b"\n \n\n", "not a single token"),
    "binary": (b"some text\n\x00\x01", "is binary: a zero byte in line 2"),
    "not UTF-8": (b"some text\ncaf\xe9\n", "is not UTF-8: byte 0xe9 in line 2"),
    "cut xz": (lzma.compress(b"some text\n" * 9999)[:-30], "cannot be unpacked after line"),
    "short": (b"anna saw boats\n\nemil saw boats\n", "a block of 40 takes 38; name more text"),
    "one document": (b"anna saw boats\n" * 999, "put blank lines between documents"),
    "nothing held out": (
        b"anna saw boats\n\n" * 30 + b"\x07\n",
        "which are held out, have not a single token",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_cannot_be_trained_on_is_answered_in_one_sentence(copy, tmp_path, name):
    content, words = TEXTS[name]
    shutil.rmtree(copy / "text")
    (copy / "text").write_bytes(content)
    run = tmp_path / "run"
    assert_one_sentence(forked("train.pretrain", *arguments(copy, run)), words)
    assert not run.exists()


@pytest.mark.parametrize(
    ("documents", "advised"),
    [
        (9, "--then-length 17 or --long-fraction 0"),
        (7, "--length 13 --long-fraction 0"),
        (2, ""),
    ],
)
def test_too_little_text_is_told_with_its_numbers_and_flags_that_would_do(
    files, tmp_path, documents, advised
):
    text = tmp_path / "text"
    text.write_text("anna\n\n" * documents)
    with_config = arguments(files, tmp_path / "run", "--then-length", "40", "--dry-run")
    words = [str(text), *with_config[1:]]
    train = 2 * (documents - 1) - 1  # a word and [SEP] each, but for the last one
    done = forked("train.pretrain", *words)
    assert_one_sentence(
        done,
        f"the text has {train} tokens to train on and 1 held out in whole documents, but "
        f"a block of 40 takes 38; name more text{', or give ' if advised else ''}{advised}\n",
    )
    for flags in filter(None, advised.split(" or ")):
        status, _, errors = forked("train.pretrain", *words, *flags.split())
        assert status == 0, errors
    if advised:
        flag, value, *others = advised.split()
        more = [flag, int(value) + 1, *(others if others[0] != "or" else [])]
        assert forked("train.pretrain", *words, *more)[0] == 2


def test_blocks_are_as_long_as_the_model_can_take_where_nothing_else_is_said(files, tmp_path):
    words = arguments(files, tmp_path / "run", "--dry-run")
    at = words.index("--then-length")
    del words[at : at + 2]
    status, output, errors = forked("train.pretrain", *words)
    assert status == 0 and "on, blocks of 40 tokens" in output, errors
    status, output, errors = forked("train.pretrain", *words, "--length", 40)
    assert status == 0 and "on, blocks of" not in output, errors
    too_long = forked("train.pretrain", *words, "--length", 41)
    assert_one_sentence(too_long, "--length is 41, but", "has only 40 positions; lower it\n")


@pytest.mark.parametrize("flag", ["--model", "--config"])
def test_the_embedded_model_is_named_with_its_weights_or_without(files, tmp_path, flag):
    words = [str(files / "text"), flag, "embedded", "--tokens-dir", str(files / "tokens")]
    words += ["--output-dir", str(tmp_path / "run"), "--held-out", "0.03", "--dry-run"]
    status, output, errors = forked("train.pretrain", *words, "--threads", 1)
    assert status == 0, errors
    assert f"model: {'embedded' if flag == '--model' else 'random weights'}, 3," in output
    assert "blocks of 128 tokens" in output and "on, blocks of" not in output


def without_mask(copy):
    path = copy / "config" / "vocab.txt"
    path.write_text(path.read_text().replace("[MASK]", "[MASKE]"))
    (copy / "config" / "tokenizer.json").unlink()


def too_large_a_vocabulary(copy):
    path = copy / "config" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": 77}))


def without_config(copy):
    (copy / "config" / "config.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without_mask, "lacks the special tokens [MASK]"),
        (too_large_a_vocabulary, "tokens, the model only 77; they do not belong together"),
        (without_config, "no config.json in the folder"),
    ],
)
def test_a_folder_that_does_not_fit_is_answered_in_one_sentence(copy, tmp_path, spoil, words):
    spoil(copy)
    assert_one_sentence(forked("train.pretrain", *arguments(copy, tmp_path / "run")), words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--then-length", 41], "--then-length is 41, but"),
        (["--length", 400, "--long-fraction", 0], "--length is 400, but"),
        (["--then-length", 12], "--then-length 12 is below --length 16"),
        (["--held-out", 0], "--held-out is 0.0, expected more than 0"),
        (["--mask-rate", 1], "--mask-rate is 1.0"),
        (["--model", "x"], "--config and --model contradict each other"),
        (["--revision", "x"], "--revision is of a --model on the Hub"),
        (["--maskrate", 1], "unknown flag --maskrate; did you mean --mask-rate?"),
        (["--max-minutes", "nan"], "--max-minutes is nan"),
        (["--updates", -1], "--updates is -1, expected 0 to 99999999"),
        (["--updates", 5, "--epochs", 1], "--epochs and --updates contradict each other"),
    ],
)
def test_flags_that_do_not_fit_are_answered_in_one_sentence(files, tmp_path, words, expected):
    assert_one_sentence(
        forked("train.pretrain", *arguments(files, tmp_path / "run", *words)), expected
    )
    assert not (tmp_path / "run").exists()


def test_a_command_line_without_text_or_model_is_answered_in_one_sentence(files, tmp_path):
    words = arguments(files, tmp_path / "run")
    assert_one_sentence(forked("train.pretrain", *words[1:]), "no text is named")
    del words[1:3]
    assert_one_sentence(forked("train.pretrain", *words), "--config and --model are both missing")


def change_text(copy):
    path = copy / "text" / "one.txt"
    path.write_text(path.read_text().replace("anna", "emil", 1))


def change_vocabulary(copy):
    path = copy / "config" / "vocab.txt"
    path.write_text(path.read_text().replace("##a\n##e\n", "##e\n##a\n").replace("\n!", "\n?"))


def change_config(copy):
    path = copy / "config" / "config.json"
    path.write_text(path.read_text().replace("0.1", "0.2"))


@pytest.mark.parametrize(
    ("change", "words", "expected"),
    [
        (change_text, [], "tokens_sha256"),
        (change_config, [], "model_sha256"),
        (None, ["--lr", "0.5"], "--lr 0.01 -> 0.5"),
        (None, ["--whole-word"], "--no-whole-word -> --whole-word"),
        (None, ["other-text"], "--texts"),
    ],
)
def test_a_resumed_run_with_other_inputs_is_refused(copy, tmp_path, change, words, expected):
    run = tmp_path / "run"
    assert run_in_new_process(arguments(copy, run), ("update", 3), stop) == 130
    before = result_of_files(run)
    if change:
        change(copy)
    resume = ["--resume", "--output-dir", run, *words]
    assert_one_sentence(forked("train.pretrain", *resume), expected)
    assert result_of_files(run) == before


def test_initial_weights_that_changed_are_refused(files, whole, tmp_path):
    model, run = tmp_path / "model", tmp_path / "run"
    shutil.copytree(whole[0] / "best", model)
    words = [str(files / "text"), "--model", str(model), *arguments(files, run)[3:]]
    assert run_in_new_process(words, ("update", 1), kill) == -9
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    resume = ["--resume", "--output-dir", run]
    assert_one_sentence(forked("train.pretrain", *resume), "weights_sha256 of model.safetensors")
    saved = json.loads((run / "options.json").read_bytes())
    del saved["inputs"]["weights_sha256"]  # a run from before this was noted goes on
    (run / "options.json").write_text(json.dumps(saved))
    assert run_in_new_process(resume) == 0


def test_overwriting_never_deletes_the_text_that_is_to_be_read(copy, tmp_path):
    run = tmp_path / "run"
    assert run_in_new_process(arguments(copy, run), ("update", 1), stop) == 130
    text = write_text(run / "best.txt", 30).rename(run / "demo")  # a name that runs have
    words = [str(text), *arguments(copy, run, "--overwrite")[1:]]
    assert_one_sentence(forked("train.pretrain", *words), f"--overwrite would delete {text}")
    assert text.exists()


def result_of_files(run):
    return {
        str(path): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
