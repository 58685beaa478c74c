"""eval/classification.py and class_curves.py equal scikit-learn, and say what it leaves open."""

import json
import warnings

import numpy as np
import pytest

from eval.class_curves import (
    precision_recall_curve,
    precision_recall_curves,
    reliability,
    roc_curve,
    roc_curves,
)
from eval.classification import class_rates, confusion_matrix, predicted_classes, score

CLASSES = 4
EXACT = {"rtol": 0, "atol": 1e-12}


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def make(kind, texts=200, seed=3):
    """(labels, probabilities): learnt, with many equal scores, at random, or perfect."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(CLASSES, texts, p=[0.6, 0.25, 0.1, 0.05])
    strength = {"learnt": 1.5, "ties": 1.5, "random": 0.0, "perfect": 99.0}[kind]
    logits = generator.normal(size=(texts, CLASSES)) + strength * np.eye(CLASSES)[labels]
    probabilities = softmax(logits)
    if kind == "ties":  # multiples of 1/4 whose sum is 1
        probabilities = generator.multinomial(4, [0.25] * CLASSES, texts) / 4
        probabilities = (probabilities + 3 * np.eye(CLASSES)[labels]) / 4
    return labels, probabilities


KINDS = pytest.mark.parametrize("kind", ["learnt", "ties", "random", "perfect"])


@pytest.fixture(autouse=True)
def sklearn():
    return pytest.importorskip("sklearn.metrics", reason="scikit-learn, the oracle, is missing")


@KINDS
def test_rates_and_confusion(kind, sklearn):
    labels, probabilities = make(kind)
    predictions = predicted_classes(probabilities)
    confusion = confusion_matrix(labels, predictions, CLASSES)
    assert confusion.tolist() == sklearn.confusion_matrix(labels, predictions).tolist()
    rates = class_rates(confusion)
    assert rates.accuracy == pytest.approx(
        sklearn.accuracy_score(labels, predictions), rel=0, abs=1e-12
    )
    for mean, ours in (
        ("macro", rates.macro), ("micro", rates.micro), ("weighted", rates.weighted)
    ):  # fmt: skip
        theirs = sklearn.precision_recall_fscore_support(labels, predictions, average=mean)
        np.testing.assert_allclose(ours, theirs[:3], **EXACT)
    theirs = sklearn.precision_recall_fscore_support(labels, predictions)
    np.testing.assert_allclose(np.transpose(rates.classes), theirs[:3], **EXACT)
    assert list(rates.support) == theirs[3].tolist()


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [
        ([0, 0, 1, 1], [0, 0, 0, 0]),  # 1 is never predicted, 2 and 3 do not occur
        ([0, 0, 2, 2], [1, 1, 1, 1]),  # nothing is right, and 1 has no text
        ([0, 0, 2, 2], [0, 1, 2, 2]),  # 1 has no text, but occurs: it counts
        ([3, 3], [3, 3]),
    ],
)
def test_absent_classes_score_0_and_do_not_count_in_the_macro_mean(labels, predictions, sklearn):
    rates = class_rates(confusion_matrix(labels, predictions, CLASSES))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        every = sklearn.precision_recall_fscore_support(
            labels, predictions, labels=range(CLASSES), zero_division=0
        )
        means = {
            mean: sklearn.precision_recall_fscore_support(labels, predictions, average=mean)[:3]
            for mean in ("macro", "micro", "weighted")
        }
    np.testing.assert_allclose(np.transpose(rates.classes), every[:3], **EXACT)
    for mean, theirs in means.items():
        np.testing.assert_allclose(getattr(rates, mean), theirs, **EXACT)


def test_of_equal_scores_the_lowest_class_is_predicted():
    assert predicted_classes([[0.2, 0.4, 0.4], [0.5, 0.5, 0.0], [1, 1, 1]]).tolist() == [1, 0, 0]


@KINDS
def test_roc_curves_and_their_areas(kind, sklearn):
    labels, scores = make(kind)
    curves = roc_curves(labels, scores)
    one_hot = np.eye(CLASSES)[labels]
    for i, ours in enumerate(curves.classes):
        x, y, _ = sklearn.roc_curve(labels == i, scores[:, i], drop_intermediate=False)
        np.testing.assert_allclose(ours.false_positive_rates, x, **EXACT)
        np.testing.assert_allclose(ours.true_positive_rates, y, **EXACT)
    areas = [curve.area for curve in curves.classes]
    np.testing.assert_allclose(areas, sklearn.roc_auc_score(one_hot, scores, average=None), **EXACT)
    for mean, ours in (("micro", curves.micro), ("macro", curves.macro)):
        wanted = sklearn.roc_auc_score(one_hot, scores, average=mean)
        assert ours.area == pytest.approx(wanted, rel=0, abs=1e-12)
    wanted = sklearn.roc_auc_score(labels, scores, multi_class="ovr")
    assert curves.macro.area == pytest.approx(wanted, rel=0, abs=1e-12)


@KINDS
def test_the_macro_curve_is_the_mean_of_the_classes_curves(kind):
    curves = roc_curves(*make(kind))
    macro = curves.macro
    for ends in (macro.false_positive_rates, macro.true_positive_rates):
        assert ends[0] == 0 and ends[-1] == 1 and (np.diff(ends) >= -1e-15).all()
    inside = np.linspace(0.0013, 0.9987, 41)  # no rate of any curve: all of them are k / n
    mean = np.mean(
        [np.interp(inside, c.false_positive_rates, c.true_positive_rates) for c in curves.classes],
        axis=0,
    )
    ours = np.interp(inside, macro.false_positive_rates, macro.true_positive_rates)
    np.testing.assert_allclose(ours, mean, **EXACT)


@KINDS
def test_precision_recall_curves_and_average_precisions(kind, sklearn):
    labels, scores = make(kind)
    curves = precision_recall_curves(labels, scores)
    one_hot = np.eye(CLASSES)[labels]
    for i, ours in enumerate(curves.classes):
        precisions, recalls, _ = sklearn.precision_recall_curve(labels == i, scores[:, i])
        np.testing.assert_allclose(ours.precisions, precisions[::-1], **EXACT)
        np.testing.assert_allclose(ours.recalls, recalls[::-1], **EXACT)
    averages = [curve.average_precision for curve in curves.classes]
    theirs = sklearn.average_precision_score(one_hot, scores, average=None)
    np.testing.assert_allclose(averages, theirs, **EXACT)
    for mean, value in (("micro", curves.micro.average_precision), ("macro", curves.macro)):
        wanted = sklearn.average_precision_score(one_hot, scores, average=mean)
        assert value == pytest.approx(wanted, rel=0, abs=1e-12)


def test_a_class_without_texts_has_no_curve_and_the_means_are_over_the_others(sklearn):
    labels, scores = make("learnt")
    scores = softmax(np.log(np.column_stack([scores, np.full(len(labels), 0.1)])))
    roc, recall = roc_curves(labels, scores), precision_recall_curves(labels, scores)
    assert roc.classes[4] is None and recall.classes[4] is None
    areas = [sklearn.roc_auc_score(labels == i, scores[:, i]) for i in range(CLASSES)]
    assert roc.macro.area == pytest.approx(np.mean(areas), rel=0, abs=1e-12)
    averages = [sklearn.average_precision_score(labels == i, scores[:, i]) for i in range(CLASSES)]
    assert recall.macro == pytest.approx(np.mean(averages), rel=0, abs=1e-12)
    only = np.zeros(5, dtype=int)
    roc, recall = roc_curves(only, scores[:5]), precision_recall_curves(only, scores[:5])
    assert roc.classes == (None,) * 5 and roc.macro is None and 0 <= roc.micro.area <= 1
    assert [curve is None for curve in recall.classes] == [False, True, True, True, True]


def test_equal_scores_are_one_point_in_whatever_order_the_texts_come():
    right, scores = np.array([1, 0, 1, 0], bool), np.array([0.5, 0.5, 0.5, 0.5])
    for order in (slice(None), slice(None, None, -1)):
        assert roc_curve(right[order], scores).area == 0.5
        curve = precision_recall_curve(right[order], scores)
        assert curve.precisions.tolist() == [1.0, 0.5] and curve.average_precision == 0.5


@KINDS
@pytest.mark.parametrize("bins", [1, 4, 15])
def test_reliability_has_scikit_learns_bins(kind, bins):
    calibration = pytest.importorskip("sklearn.calibration", reason="scikit-learn is missing")
    labels, probabilities = make(kind)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    ours = reliability(labels, probabilities, bins)
    accuracies, confidences = calibration.calibration_curve(right, confidence, n_bins=bins)
    filled = ours.counts > 0
    np.testing.assert_allclose(ours.accuracies[filled], accuracies, **EXACT)
    np.testing.assert_allclose(ours.confidences[filled], confidences, **EXACT)
    assert np.isnan(ours.accuracies[~filled]).all() and ours.counts.sum() == len(labels)
    error = sum(
        abs(right[inside].sum() - confidence[inside].sum()) / len(labels)
        for low, high in zip(ours.edges, ours.edges[1:], strict=False)
        if (inside := (confidence > low) & (confidence <= high)).any()
    )
    assert ours.expected_error == pytest.approx(error, rel=0, abs=1e-12)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    ours = reliability([0, 1], [[0.5, 0.5], [0.25, 0.75]], bins=4)
    assert ours.counts.tolist() == [0, 1, 1, 0]
    assert ours.expected_error == pytest.approx((0.5 + 0.25) / 2, abs=1e-15)


def test_the_whole_score_is_json_in_percent_with_null_where_there_is_no_value(sklearn):
    labels, probabilities = make("learnt")
    names = ["neutral", "anti", "pro", "spam"]
    metrics = score(labels, probabilities, names)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    predictions = probabilities.argmax(1)
    wanted = 100 * sklearn.f1_score(labels, predictions, average="macro")
    assert metrics["macro_f1"] == pytest.approx(wanted, abs=1e-10)
    assert metrics["accuracy"] == pytest.approx(100 * (predictions == labels).mean(), abs=1e-10)
    assert metrics["total"] == 200 and list(metrics["per_class"]) == names
    assert metrics["per_class"]["anti"]["total"] == (labels == 1).sum()
    only = score(labels[labels == 0], probabilities[labels == 0], names)
    assert only["macro_roc_auc"] is None and only["per_class"]["pro"]["average_precision"] is None
    json.dumps(only, allow_nan=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: confusion_matrix([], [], 3), r"the labels have shape \(0,\), expected \(n,\)"),
        (lambda: confusion_matrix([[0]], [0], 3), r"the labels have shape \(1, 1\)"),
        (lambda: confusion_matrix([0.0], [0], 3), "the labels are float64, expected whole"),
        (lambda: confusion_matrix([0, 1], [0, 3], 3), "predictions hold 3 at place 1, expected 0"),
        (lambda: confusion_matrix([0, -1], [0, 1], 3), "labels hold -1 at place 1, expected 0 to"),
        (lambda: confusion_matrix([0, 1], [0], 3), "there are 2 labels and 1 predictions"),
        (lambda: predicted_classes([0.5, 0.5]), r"scores have shape \(2,\), expected \(n, C\)"),
        (lambda: predicted_classes([[1.0]]), r"shape \(1, 1\), expected \(n, C\) with C at least"),
        (lambda: predicted_classes([["a", "b"]]), "the scores are <U1, expected numbers"),
        (lambda: roc_curves([0], [[0.5, float("nan")]]), "row 0 of the scores is not finite"),
        (lambda: roc_curves([0, 1], [[0.5, 0.5]]), "there are 2 labels and 1 rows of scores"),
        (lambda: roc_curves([0, 2], [[0.5, 0.5]] * 2), "labels hold 2 at place 1, expected 0 to 1"),
        (lambda: roc_curve([True], [float("inf")]), "expected .n,. finite numbers"),
        (lambda: roc_curve([], []), "there are no texts"),
        (lambda: reliability([0, 0], [[0.5, 0.5], [3.0, 1.0]]), "row 1 of the probabilities has"),
        (lambda: reliability([0], [[1.5, -0.5]]), "least value -0.5, expected sum 1"),
        (lambda: score([0], [[0.5, 0.5]], ["a"]), "there are 2 scores a text, 1 names"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
