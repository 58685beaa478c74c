"""A trained classifier, ready to classify: its settings, its scores of many texts.

Training evaluates with the same functions as `python -m eval.classify`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from data.batches import LabelledTexts, collate_labelled, encode_labelled
from data.cleaning import Cleaning
from data.ranks import ALONE, Ranks
from data.tokenization import Tokenizer
from data.tokenized_squad import Ints
from data.windows import MOST_TOKENS
from data.words import Words, split_texts
from eval.longest_first import longest_first
from minibert.baseline_model import Baseline
from minibert.baselines import KINDS
from minibert.files import write_file
from minibert.heads import BertForSequenceClassification, classification_loss_sum
from minibert.hub import find_model
from minibert.strict_json import read_object, shown

SETTINGS_FILE = "classifier_settings.json"

ClassifierModel = BertForSequenceClassification | Baseline


@dataclass(frozen=True)
class ClassifierSettings:
    """How texts become tokens; saved beside a trained model.

    Attributes:
        max_length: tokens of a text, [CLS] and [SEP] included; words, of a baseline.
        cleaning: rules that are applied before.
    """

    max_length: int
    cleaning: Cleaning

    @classmethod
    def from_folder(cls, folder: Path) -> "ClassifierSettings":
        """The settings saved with a model.

        Raises:
            ValueError: there are none, or they are not what training writes.
        """
        path = folder / SETTINGS_FILE
        if not path.is_file():
            raise ValueError(f"{folder} has no {SETTINGS_FILE}; name a run of train.classify")
        values = read_object(path, "classifier settings")
        length, rules = values.get("max_length"), values.get("cleaning")
        if type(length) is not int or not 3 <= length <= MOST_TOKENS:
            raise ValueError(
                f"{path} has max_length {shown(length)}, expected a whole number from 3 to "
                f"{MOST_TOKENS}"
            )
        if not isinstance(rules, dict) or rules.keys() != asdict(Cleaning()).keys():
            raise ValueError(f"{path} has cleaning {shown(rules)}, expected the rules of a run")
        try:
            return cls(length, Cleaning(**rules))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def save(self, folder: Path) -> None:
        """Write them into a model's folder."""
        write_file(folder / SETTINGS_FILE, (json.dumps(asdict(self), indent=2) + "\n").encode())


class Trained(NamedTuple):
    """A model and what turns texts into its ids.

    Attributes:
        model: in evaluation mode.
        encode: (R cleaned texts, (R,) classes) -> their ids, and lines that tell what is unknown.
        settings: as saved with it.
        source: what the user called it.
    """

    model: ClassifierModel
    encode: Callable[[Sequence[str], Ints], tuple[LabelledTexts, list[str]]]
    settings: ClassifierSettings
    source: str


def load_classifier(name: str, device: torch.device) -> Trained:
    """Load what train.classify saved, BERT or baseline.

    Args:
        name: of a run folder, a model folder, or on the Hub.
        device: where the model goes.

    Raises:
        ValueError: not found, damaged, or not a classifier of train.classify.
    """
    if f"minibert-{name}" in KINDS and not Path(name).is_dir():
        raise ValueError(
            f"--model {name} is a kind of model, of which nothing is trained yet; name the run "
            f"folder of a train.classify --model {name}"
        )
    files = find_model(name, optional=(SETTINGS_FILE,))
    folder = files.folder
    settings = ClassifierSettings.from_folder(folder)
    kind = read_object(folder / "config.json", "a model's config.json").get("model_type")
    if isinstance(kind, str) and kind in KINDS:
        baseline = KINDS[kind].from_pretrained(folder).to(device)
        words = Words.from_folder(folder)
        words.require_size(baseline.config.vocab_size, folder)

        def encode_words(texts: Sequence[str], labels: Ints) -> tuple[LabelledTexts, list[str]]:
            split, cut = split_texts(texts, settings.max_length)
            return words.encode_labelled(split, labels, cut), [words.describe_unknown(split)]

        return Trained(baseline, encode_words, settings, files.source)
    model = BertForSequenceClassification.from_pretrained(files).to(device)
    if settings.max_length > (longest := model.config.max_position_embeddings):
        raise ValueError(
            f"{folder / SETTINGS_FILE} has max_length {settings.max_length}, the model has "
            f"only {longest} positions"
        )
    tokenizer = Tokenizer.from_folder(folder)
    tokenizer.require_ids(model.config.vocab_size, files.source)

    def encode(texts: Sequence[str], labels: Ints) -> tuple[LabelledTexts, list[str]]:
        return encode_labelled(texts, labels, tokenizer, settings.max_length), []

    return Trained(model, encode, settings, files.source)


class ClassScores(NamedTuple):
    """What a model says of R texts.

    Attributes:
        logits: (R, C) float64.
        loss: mean over the texts of the cross-entropy, each text counting 1 whatever its class.
    """

    logits: NDArray[np.float64]
    loss: float

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """(R, C), each row with sum 1."""
        powers = np.exp(self.logits - self.logits.max(1, keepdims=True))
        return np.asarray(powers / powers.sum(1, keepdims=True))


def predict_scores(
    model: ClassifierModel,
    texts: LabelledTexts,
    device: torch.device,
    amp_dtype: torch.dtype | None = None,
    tokens_per_batch: int | None = None,
    ranks: Ranks = ALONE,
) -> ClassScores:
    """Run the model over all texts, longest first, so that memory runs out at once or never.

    Args:
        model: on `device`; put into evaluation mode.
        texts: at least one.
        device: where batches go.
        amp_dtype: autocast dtype, None for float32.
        tokens_per_batch: tokens in a batch at most (a single longer text is a batch); default
            2,048 on a CPU, 32,768 elsewhere.
        ranks: that share the texts; each gets the scores of all.
    """
    parts: list[torch.Tensor] = []

    def run(chosen: Ints) -> None:
        batch = collate_labelled(texts, chosen).to(device, non_blocking=True)
        parts.append(model(batch.packed).double().cpu())  # (B, C)

    order = longest_first(
        model, texts.lengths, run, device, amp_dtype, tokens_per_batch, "text", ranks
    )
    scores = np.zeros((len(texts), model.config.num_labels))
    if parts:  # a rank may have had no batch
        scores[order] = torch.cat(parts).numpy()
    ranks.fill(scores)
    labels = torch.from_numpy(texts.labels)
    loss = classification_loss_sum(torch.from_numpy(scores), labels).item() / len(texts)
    return ClassScores(scores, loss)


def as_predictions(
    lines: Sequence[int], labels: Sequence[int], probabilities: Any, names: Sequence[str]
) -> dict[str, Any]:
    """What predictions.json holds: line of the file -> right label, predicted one, probabilities.

    Args:
        lines: where each of the R texts begins in its file.
        labels: right classes.
        probabilities: (R, C).
        names: of the C classes; `probabilities` has their order.
    """
    return {
        str(line): {
            "label": names[label],
            "predicted": names[int(np.argmax(row))],
            "probabilities": dict(zip(names, row, strict=True)),
        }
        for line, label, row in zip(lines, labels, np.asarray(probabilities).tolist(), strict=True)
    }


def from_predictions(
    predictions: Mapping[str, Any], names: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """predictions.json -> (R,) right classes and (R, C) probabilities."""
    entries = predictions.values()
    labels = np.array([names.index(entry["label"]) for entry in entries], np.int64)
    rows = [[entry["probabilities"][name] for name in names] for entry in entries]
    return labels, np.array(rows, np.float64)
