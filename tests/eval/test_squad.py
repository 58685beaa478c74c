"""The official rules: the field's prediction files, each quirk by hand, a slow transcription."""

import collections
import json
import os
import random
import re
import string
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from data.command import UsageError
from eval.exact_f1 import normal_words, raw_scores
from eval.squad import main, read_gold, score
from eval.thresholds import best_metrics, best_thresholds, precision_recall, threshold_curve

needs_data = pytest.mark.skipif(
    "MINIBERT_DATA" not in os.environ, reason="needs the real files: set MINIBERT_DATA"
)
OFFICIAL = (
    ("dev-v1.1-bert-ensemble", None),
    ("dev-v1.1-match-lstm", None),
    ("dev-v2.0-bert-single", None),
    ("dev-v2.0-hostile", None),
    ("dev-v2.0-bert-single", 0.5),
    ("dev-v2.0-hostile", 0.7),
)


# --- the rules once more, slowly and plainly, as the reference of the tests below


def slow_normal(text):
    kept = [character for character in text.lower() if character not in set(string.punctuation)]
    without_articles = re.sub(r"\b(a|an|the)\b", " ", "".join(kept))
    return " ".join(without_articles.split())


def slow_f1(gold, prediction):
    gold, prediction = slow_normal(gold).split(), slow_normal(prediction).split()
    if not gold or not prediction:
        return float(gold == prediction)
    shared = (collections.Counter(gold) & collections.Counter(prediction)).total()
    if shared == 0:
        return 0.0
    precision, recall = shared / len(prediction), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def slow_scores(gold, predictions):
    exact, f1 = {}, {}
    for i, texts in gold.items():
        texts = [text for text in texts if slow_normal(text) != ""] or [""]
        exact[i] = max(int(slow_normal(t) == slow_normal(predictions[i])) for t in texts)
        f1[i] = max(slow_f1(t, predictions[i]) for t in texts)
    return exact, f1


def slow_metrics(gold, predictions, na_probs, threshold):
    raw = slow_scores(gold, predictions)
    metrics = {}
    for prefix, ids in (
        ("", list(gold)),
        ("HasAns_", [i for i in gold if len(gold[i]) > 0]),
        ("NoAns_", [i for i in gold if len(gold[i]) == 0]),
    ):
        for name, scores in zip(("exact", "f1"), raw, strict=True):
            after = []
            for i in ids:
                taken_back = na_probs[i] > threshold
                after.append(float(len(gold[i]) == 0) if taken_back else scores[i])
            if ids:
                metrics[prefix + name] = 100.0 * sum(after) / len(ids)
                metrics[prefix + "total"] = len(ids)
    for name, scores in zip(("exact", "f1"), raw, strict=True):
        best = running = sum(1 for texts in gold.values() if len(texts) == 0)
        at = 0.0
        for i in sorted(na_probs, key=lambda i: na_probs[i]):
            if len(gold[i]) > 0:
                running += scores[i]
            elif predictions[i] != "":
                running -= 1
            if running > best:
                best, at = running, na_probs[i]
        metrics[f"best_{name}"] = 100.0 * best / len(gold)
        metrics[f"best_{name}_thresh"] = at
    return metrics


WORDS = [
    "the", "The", "a", "an", "A.", "cat", "Cat", "cat's", "dog", "1,000", "1000", "...", "U.S.",
    "us", "another", "caf\u00e9", "cafe\u0301", "\u0130stanbul", "\u2013", "a\u2013b", "_the_",
    "\u201cthe\u201d", "the\u2019s", "\u00a0", "\t", "\x07the", "\u4e2d\u6587", "\u00df",
    "x\u2014an\u2014y", "\x1cthe",
]  # fmt: skip


def random_text(rng):
    joiner = rng.choice([" ", " ", " ", "  ", "-", "", "\n"])
    return joiner.join(rng.choice(WORDS) for _ in range(rng.randint(0, 6)))


def test_scores_equal_a_slow_transcription_on_10000_random_pairs():
    rng = random.Random(20)
    gold, predictions = {}, {}
    for i in range(10_000):
        gold[f"q{i}"] = [random_text(rng) for _ in range(rng.choice([0, 1, 1, 1, 2, 4]))]
        near = gold[f"q{i}"] and rng.random() < 0.4
        predictions[f"q{i}"] = rng.choice(gold[f"q{i}"]).upper() if near else random_text(rng)
    exact, f1 = raw_scores(gold, predictions)
    slow_exact, slow = slow_scores(gold, predictions)
    assert exact == slow_exact
    assert f1 == slow  # to the last bit
    assert 0.2 < sum(exact.values()) / len(exact) < 0.8 and len(set(f1.values())) > 10


@pytest.mark.parametrize("seed", range(40))
def test_thresholded_and_best_metrics_equal_a_slow_transcription(seed):
    rng = random.Random(seed)
    gold, predictions, na_probs = {}, {}, {}
    for i in range(rng.choice([1, 2, 30, 200])):
        gold[f"q{i}"] = [random_text(rng) for _ in range(rng.choice([0, 1, 3]))]
        predictions[f"q{i}"] = rng.choice([*gold[f"q{i}"], "", "the", random_text(rng)])
        na_probs[f"q{i}"] = rng.choice([0, 0.25, 0.5, 1, rng.random()])  # ints and many ties
    threshold = rng.choice([-1.0, 0.0, 0.25, 0.5, 1.0])
    ours = score(gold, predictions, na_probs, threshold)
    wanted = slow_metrics(gold, predictions, na_probs, threshold)
    for name in ("best_exact_thresh", "best_f1_thresh"):
        assert ours[name] == wanted[name]
    assert ours == pytest.approx(wanted, abs=1e-9)


# --- the field's files


@needs_data
@pytest.mark.parametrize("name, threshold", OFFICIAL)
def test_official_results_are_reproduced(name, threshold, capsys):
    folder = Path(os.environ["MINIBERT_DATA"], "squad")
    predictions = folder / "predictions" / f"{name}.json"
    words = [str(folder / f"{name[:8]}.json"), str(predictions)]
    if threshold is not None:
        na_probs = predictions.with_suffix(".na-probs.json")
        words += ["--na-prob-file", str(na_probs), "-t", str(threshold)]
        wanted = json.loads(na_probs.with_suffix(".expected.json").read_text())
    else:
        wanted = json.loads(predictions.with_suffix(".expected.json").read_text())
    assert main(words) == 0
    ours = json.loads(capsys.readouterr().out)
    assert list(ours) == list(wanted)
    assert ours == pytest.approx(wanted, rel=0, abs=1e-9)


@needs_data
def test_examples_and_plain_mappings_score_alike():
    from data.squad import read_squad

    folder = Path(os.environ["MINIBERT_DATA"], "squad")
    predictions = json.loads((folder / "predictions" / "dev-v2.0-hostile.json").read_text("utf-8"))
    path = folder / "dev-v2.0.json"
    assert score(read_squad(path).examples, predictions) == score(read_gold(path), predictions)


@needs_data
def test_scoring_is_several_times_faster_than_the_transcription():
    folder = Path(os.environ["MINIBERT_DATA"], "squad")
    gold = dict(list(read_gold(folder / "dev-v2.0.json").items())[:3000])
    predictions = json.loads((folder / "predictions" / "dev-v2.0-hostile.json").read_text("utf-8"))
    normal_words.cache_clear()
    begin = time.perf_counter()
    raw_scores(gold, predictions)
    middle = time.perf_counter()
    slow_scores(gold, predictions)
    assert time.perf_counter() - middle > 4 * (middle - begin)


# --- the quirks, one by one


@pytest.mark.parametrize(
    "text, words",
    [
        ("The  Cat!", ("cat",)),
        ("a.n. the-a", ("thea",)),  # punctuation goes first: "an" then is an article
        (
            "cat\u2013the\u2013dog",
            ("cat\u2013", "\u2013dog"),
        ),  # unicode dashes stay and bound words
        ("\u201cthe\u201d", ("\u201c", "\u201d")),
        ("_the_", ()),  # the underscore is punctuation, so "the" stands alone
        ("x\tthe\ny", ("x", "y")),
        ("\x07the", ("\x07",)),  # a control character is no letter: it bounds a word
        ("another theme", ("another", "theme")),
        ("  ", ()),
    ],
)
def test_the_normal_form_is_taken_in_the_official_order(text, words):
    assert normal_words(text) == words == tuple(slow_normal(text).split())


def one(golds, prediction, **options):
    return score({"q": golds}, {"q": prediction}, **options)


def test_shared_words_count_with_repetition():
    assert one(["to be or not to be"], "to to to")["f1"] == pytest.approx(100 * 2 * 2 / (3 + 6))


def test_the_best_gold_scores():
    assert one(["old cat", "cat"], "cat")["exact"] == 100.0
    assert one(["old cat sat", "old cat"], "cat")["f1"] == pytest.approx(100 * 2 / 3)


def test_without_words_on_either_side_f1_is_equality():
    assert one([], "")["f1"] == 100.0
    assert one(["cat"], "the")["f1"] == 0.0
    assert one([], "cat")["f1"] == 0.0


def test_an_article_alone_is_right_where_there_is_no_answer_but_the_search_takes_it_for_wrong():
    metrics = one([], "the", na_probs={"q": 0.0})
    assert metrics["exact"] == metrics["NoAns_f1"] == 100.0
    two = score({"q": [], "r": ["x"]}, {"q": "the", "r": "x"}, {"q": 0.1, "r": 0.2})
    assert two["exact"] == 100.0 and two["best_exact"] == 50.0 and two["best_exact_thresh"] == 0.0


def test_golds_without_normal_form_are_dropped_but_the_question_still_has_an_answer():
    metrics = one(["the", "..."], "")
    assert metrics["HasAns_exact"] == 100.0 and "NoAns_total" not in metrics
    assert one(["the", "cat"], "a")["exact"] == 0.0
    # Taking the answer back is wrong there all the same, because the list of golds is not empty.
    assert one(["the"], "", na_probs={"q": 0.9}, na_prob_thresh=0.5)["exact"] == 0.0


def test_an_answer_is_taken_back_only_above_the_threshold():
    taken = {"na_probs": {"q": 1.0}}
    assert one(["cat"], "cat", **taken)["exact"] == 100.0
    assert one(["cat"], "cat", **taken, na_prob_thresh=0.999)["exact"] == 0.0
    assert one([], "cat", **taken, na_prob_thresh=0.999)["exact"] == 100.0
    assert one(["cat"], "cat", na_prob_thresh=-0.5)["exact"] == 0.0  # without a file they are 0


def test_keys_have_the_official_order_and_appear_only_where_there_are_questions():
    plain = ["exact", "f1", "total", "HasAns_exact", "HasAns_f1", "HasAns_total"]
    assert list(one(["cat"], "cat")) == plain
    assert list(one([], "cat")) == [*plain[:3], "NoAns_exact", "NoAns_f1", "NoAns_total"]
    best = ["best_exact", "best_exact_thresh", "best_f1", "best_f1_thresh"]
    assert list(one(["cat"], "cat", na_probs={"q": 0.5})) == plain + best


def test_the_search_starts_from_no_answer_at_all_and_walks_through_ties():
    gold = {"a": [], "b": ["x"], "c": ["y"]}
    predictions = {"a": "wrong", "b": "x", "c": "y"}
    found = best_thresholds(gold, predictions, {"b": 0.5, "a": 0.5, "c": 0.5})
    # b comes first among equals: 1 + 1 of 3, though no threshold separates it from a.
    assert found["best_exact"] == pytest.approx(200 / 3) and found["best_exact_thresh"] == 0.5
    nothing = best_thresholds(gold, {"a": "z", "b": "z", "c": "z"}, {"a": 0.5, "b": 0.6, "c": 0.7})
    assert nothing["best_f1"] == pytest.approx(100 / 3) and nothing["best_f1_thresh"] == 0.0


def test_predictions_and_probabilities_for_other_questions_do_not_count():
    extra = {"q": 0.5, "r": 0.1}
    with_extra = score({"q": ["x"]}, {"q": "x", "r": "y"}, extra)
    assert with_extra == score({"q": ["x"]}, {"q": "x"}, {"q": 0.5})


def test_examples_are_read_by_their_id_and_answers():
    example = SimpleNamespace(id="q", answers=(SimpleNamespace(text="x"),), is_impossible=True)
    assert score([example], {"q": "x"})["HasAns_exact"] == 100.0


# --- thresholds of a run


@pytest.mark.parametrize("seed", range(30))
def test_every_point_of_the_curve_is_what_a_run_with_that_threshold_scores(seed):
    rng = random.Random(seed)
    gold, texts, odds = {}, {}, {}
    for i in range(rng.choice([1, 5, 80])):
        gold[f"q{i}"] = [rng.choice(WORDS) for _ in range(rng.choice([0, 0, 1, 2]))]
        texts[f"q{i}"] = rng.choice([*gold[f"q{i}"], "", "the", "cat dog"])
        odds[f"q{i}"] = rng.choice([-2.0, 0.0, 3.5, rng.gauss(0, 4)])
    odds["q0"] = float("inf") if texts["q0"] == "" else odds["q0"]

    def run(threshold):
        answers = {i: texts[i] if odds[i] <= threshold else "" for i in texts}
        return score(gold, answers)

    curve = threshold_curve(gold, texts, odds)
    for threshold, exact, f1 in zip(*curve, strict=True):
        metrics = run(threshold)
        assert metrics["exact"] == pytest.approx(exact, abs=1e-9)
        assert metrics["f1"] == pytest.approx(f1, abs=1e-9)
    best = best_metrics(gold, texts, odds)
    assert run(best["best_exact_thresh"])["exact"] == pytest.approx(best["best_exact"], abs=1e-9)
    assert run(best["best_f1_thresh"])["f1"] == pytest.approx(best["best_f1"], abs=1e-9)
    for threshold in [-1e9, *(o for o in odds.values() if o < 1e9), 1e9]:
        assert run(threshold)["f1"] <= best["best_f1"] + 1e-9
    assert json.loads(json.dumps(best, allow_nan=False)) == best


def test_a_threshold_above_the_one_of_the_run_is_found():
    """Finished predictions are "" above the run's threshold; the best texts are not."""
    gold, odds = {"q": ["x"]}, {"q": 2.0}
    assert score(gold, {"q": ""}, odds, 9.0)["best_exact"] == 0.0
    best = best_metrics(gold, {"q": "x"}, odds)
    assert (best["best_exact"], best["best_exact_thresh"]) == (100.0, 2.0)


def test_average_precision_is_the_sum_over_places_where_a_threshold_fits():
    gold = {"a": ["x"], "b": [], "c": ["y"], "d": ["z"]}
    predictions = {"a": "x", "b": "no", "c": "y", "d": "wrong"}
    curves = precision_recall(gold, predictions, {"a": 0.1, "b": 0.2, "c": 0.2, "d": 0.9})
    exact = curves["exact"]
    assert exact.precisions == pytest.approx([1, 1, 2 / 3, 2 / 4])
    assert exact.recalls == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3])
    assert exact.average_precision == pytest.approx(100 * (1 / 3 + 2 / 3 * 1 / 3))
    area = 1 * 1 / 3 + 2 / 3 * 1 / 3 + 3 / 4 * 1 / 3
    assert curves["oracle"].average_precision == pytest.approx(100 * area)
    assert precision_recall({"a": []}, {"a": "x"}, {"a": 0.5}) == {}


# --- the command


def squad_file(folder, questions):
    qas = [{"id": i, "answers": [{"text": t} for t in texts]} for i, texts in questions.items()]
    path = folder / "data.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"qas": qas}]}]}), "utf-8")
    return str(path)


def json_file(folder, name, value):
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
    return str(path)


def test_the_command_takes_the_official_flags(tmp_path, capsys):
    gold = squad_file(tmp_path, {"q": ["cat"], "r": []})
    predictions = json_file(tmp_path, "p.json", {"q": "cat", "r": "dog"})
    na_probs = json_file(tmp_path, "n.json", {"q": 0.25, "r": 0.75})
    out, images = tmp_path / "out.json", tmp_path / "images"
    assert main([gold, predictions, "-n", na_probs, "-t", "0.5", "-o", str(out), "-v"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and "2 questions, 1 with gold answers, 2 answered" in captured.err
    assert json.loads(out.read_text())["exact"] == 100.0
    assert main([gold, predictions, "-n", na_probs, "-p", str(images)]) == 0
    printed = capsys.readouterr().out
    assert printed == json.dumps(json.loads(printed), indent=2) + "\n"
    areas = ["pr_exact_ap", "pr_f1_ap", "pr_oracle_ap"]
    assert list(json.loads(printed))[-3:] == areas and json.loads(printed)["pr_f1_ap"] == 100.0
    with pytest.warns(UserWarning, match="-p .*unused writes nothing without -n"):
        assert main([gold, predictions, "-p", str(tmp_path / "unused")]) == 0
    assert "pr_f1_ap" not in capsys.readouterr().out and not (tmp_path / "unused").exists()


def test_missing_predictions_are_named_and_refused(tmp_path, capsys):
    gold = squad_file(tmp_path, {"q": ["cat"], "r": [], "s": []})
    predictions = json_file(tmp_path, "p.json", {"r": ""})
    with pytest.raises(
        ValueError, match=r"predictions of .*p.json lack 2 of the data's 3 .*first is q"
    ):
        main([gold, predictions])
    assert capsys.readouterr().out == "Missing prediction for q\nMissing prediction for s\n"


def test_predictions_for_other_questions_are_told_of_and_do_not_count(tmp_path, capsys):
    gold = squad_file(tmp_path, {"q": ["cat"]})
    predictions = json_file(tmp_path, "p.json", {"r": "dog", "q": "cat", "s\n": ""})
    told = r"p\.json has 2 predictions .* not in .*data\.json \(the first is r\); not counted"
    with pytest.warns(UserWarning, match=told):
        assert main([gold, predictions]) == 0
    assert json.loads(capsys.readouterr().out)["total"] == 1


def test_without_the_null_answer_only_questions_with_an_answer_are_scored(tmp_path, capsys):
    gold = squad_file(tmp_path, {"q": ["cat"], "r": [], "s": ["the dog"], "t": []})
    answers = {"q": "cat", "r": "cow", "s": "old dog"}  # none is needed for t
    words = [gold, json_file(tmp_path, "p.json", answers), "--no-null-answer"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed == json.dumps(score({"q": ["cat"], "s": ["the dog"]}, answers), indent=2) + "\n"
    assert json.loads(printed)["f1"] == pytest.approx((100 + 200 / 3) / 2)
    out = tmp_path / "out.json"
    assert main([*words, "-o", str(out), "-v"]) == 0
    assert json.loads(out.read_text()) == json.loads(printed)
    assert "4 questions, 2 with gold answers, 3 answered; 0 pred" in capsys.readouterr().err


def test_without_the_null_answer_an_empty_one_is_wrong_and_counted(tmp_path, capsys):
    gold = squad_file(tmp_path, {"q": ["cat"], "r": [], "s": ["dog"], "t": ["cow"]})
    predictions = json_file(tmp_path, "p.json", {"q": "cat", "r": "", "s": "", "t": "", "u": ""})
    told = r'p\.json answers "" to 2 of the 3 questions .* is s\); .* made with the null answer on'
    other = r"p\.json has 1 prediction .* not in .*data\.json \(the first is u\)"
    with pytest.warns(UserWarning, match=told), pytest.warns(UserWarning, match=other):
        assert main([gold, predictions, "--no-null-answer"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert (metrics["total"], metrics["exact"]) == (3, pytest.approx(100 / 3))


def test_without_the_null_answer_the_scored_questions_need_a_prediction(tmp_path, capsys):
    gold = squad_file(tmp_path, {"q": ["cat"], "r": [], "s": ["dog"]})
    predictions = json_file(tmp_path, "p.json", {"q": "cat"})
    with pytest.raises(
        ValueError, match=r"p\.json lack 1 of the data's 2 questions with an answer .*is s\)"
    ):
        main([gold, predictions, "--no-null-answer"])
    assert capsys.readouterr().out == "Missing prediction for s\n"
    gold = squad_file(tmp_path, {"q": [], "r": []})
    with pytest.raises(UsageError, match=r"data\.json has no question with an answer, so --no-nul"):
        main([gold, predictions, "--no-null-answer"])


@needs_data
@pytest.mark.parametrize("name, empty", [("dev-v2.0-bert-single", 826), ("dev-v2.0-hostile", 671)])
def test_without_the_null_answer_the_figures_are_those_of_the_answerable_questions(
    name, empty, capsys
):
    folder = Path(os.environ["MINIBERT_DATA"], "squad")
    words = [str(folder / "dev-v2.0.json"), str(folder / "predictions" / f"{name}.json")]
    assert main(words) == 0
    plain = json.loads(capsys.readouterr().out)
    with pytest.warns(UserWarning, match=f'answers "" to {empty} of the 5928 questions'):
        assert main([*words, "--no-null-answer"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    answerable = {key: value for key, value in plain.items() if key.startswith("HasAns_")}
    assert plain["total"] == 11873 and metrics["total"] == 5928
    whole = {key.removeprefix("HasAns_"): value for key, value in answerable.items()}
    assert metrics == whole | answerable


def test_a_question_that_the_data_has_twice_counts_once_with_its_last_golds(tmp_path, capsys):
    qas = [{"id": "q", "answers": [{"text": text}]} for text in ("cat", "dog", "cow")]
    data = json_file(tmp_path, "data.json", {"data": [{"paragraphs": [{"qas": qas}]}]})
    with pytest.warns(UserWarning, match=r"data\.json has 1 id more than once .* is q\)"):
        assert main([data, json_file(tmp_path, "p.json", {"q": "cow"})]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert (scored["total"], scored["exact"]) == (1, 100.0)


def test_an_id_that_a_prediction_file_has_twice_is_refused(tmp_path):
    gold = squad_file(tmp_path, {"q": ["cat"]})
    with pytest.raises(ValueError, match=r"p\.json has the key 'q' twice in one object"):
        main([gold, json_file(tmp_path, "p.json", '{"q": "cat", "q": "dog"}')])


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "is not JSON"),
        ("[1]", "holds a list in place of a JSON object"),
        ('{"data": [{"paragraphs": [{"qas": [{"id": "q"}]}]}]}', "paragraphs\\[0\\]: 'answers'"),
        ('{"data": [{"paragraphs": [{"qas": [{"id": 5, "answers": []}]}]}]}', "not a string"),
        ('{"version": "v2.0"}', "not in SQuAD format: the file: 'data'"),
        ('{"data": []}', "holds no questions"),
        ('{"data": 7}', "not in SQuAD format"),
    ],
)
def test_bad_data_files_are_refused_in_one_sentence(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as error:
        main([json_file(tmp_path, "data.json", text), json_file(tmp_path, "p.json", {"q": ""})])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "predictions, na_probs, message",
    [
        ({"q": [{"text": "cat"}]}, None, "value of q is .*expected predictions"),
        ({"q": "cat"}, {"q": "high"}, "value of q is 'high', expected probabilities"),
        ({"q": "cat"}, {"q": True}, "expected probabilities"),
        ({"q": "cat"}, '{"q": NaN}', "holds NaN, which is not JSON"),
        ({"q": "cat"}, '{"q": 1e999}', "value of q is inf, expected probabilities"),
        ({"q": "cat"}, {"q": -(10**400)}, "value of q is -1000"),
        ({"q": "cat"}, {}, "probabilities of .*n.json lack 1 of the data's 1"),
    ],
)
def test_bad_values_are_refused_with_their_question(tmp_path, predictions, na_probs, message):
    words = [squad_file(tmp_path, {"q": ["cat"]}), json_file(tmp_path, "p.json", predictions)]
    if na_probs is not None:
        words += ["-n", json_file(tmp_path, "n.json", na_probs)]
    with pytest.raises(ValueError, match=message):
        main(words)


def test_a_byte_order_mark_is_no_error(tmp_path, capsys):
    gold = squad_file(tmp_path, {"q": ["cat"]})
    predictions = json_file(tmp_path, "p.json", "\ufeff" + json.dumps({"q": "cat"}))
    assert main([gold, predictions]) == 0
    assert json.loads(capsys.readouterr().out)["exact"] == 100.0


def test_the_command_reports_errors_in_one_line_and_loads_no_array_library(tmp_path):
    code = (
        "import sys; from eval.squad import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'torch', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--na-prob-thresh" in shown.stdout and shown.stderr.strip() == "[]"
    failed = subprocess.run(
        [sys.executable, "-m", "eval.squad", str(tmp_path / "no.json"), "p.json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert failed.returncode == 2 and failed.stderr.count("\n") == 1
    assert "no.json does not exist; expected a SQuAD file" in failed.stderr
