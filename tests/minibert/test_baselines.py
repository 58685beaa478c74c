"""The baselines' networks: features as scikit-learn's, no text that knows of its neighbours."""

import json
import math
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.feature_extraction.text import TfidfVectorizer

from data.words import Words, inverse_document_frequencies, split_texts
from minibert.baseline_model import BaselineConfig
from minibert.baselines import KINDS, FeedForwardNet, RecurrentNet, SoftmaxRegression
from minibert.packing import PackedBatch
from minibert.weights import read_tensors

NAMES = ("anti", "neutral", "pro")
TEXTS = ["the flu shot the flu shot", "Get the shot !", "no no no shot", "it is the flu", "the"]
OTHERS = ["the shot is new new", "nothing known", "flu flu FLU", "the flu shot"]
SEQUENCES = [[3, 1, 4, 1, 5], [9], [2, 6, 5, 3, 5, 8, 9], [7, 9], [3, 2, 3, 8, 4]]


def config(**changes):
    values = {
        "labels": NAMES, "vocab_size": 10, "embedding_size": 7, "hidden_size": 5,
        "num_hidden_layers": 3,
    }  # fmt: skip
    return BaselineConfig(**values | changes)


def networks(**changes):
    """One of each kind, with weights that no symmetry hides."""
    torch.manual_seed(0)
    softmax = SoftmaxRegression(config(**changes), torch.rand(10))
    torch.nn.init.normal_(softmax.terms.weight)
    return [softmax, FeedForwardNet(config(**changes)), RecurrentNet(config(**changes))]


@pytest.mark.parametrize("ngrams", [1, 2, 3])
@pytest.mark.parametrize("min_texts", [1, 2])
def test_the_features_are_scikit_learns_tfidf(ngrams, min_texts):
    oracle = TfidfVectorizer(
        tokenizer=lambda text: split_texts([text], 80)[0][0], token_pattern=None,
        ngram_range=(1, ngrams), min_df=min_texts, sublinear_tf=True,
    )  # fmt: skip
    oracle.fit(TEXTS)
    split, _ = split_texts(TEXTS, 80)
    words, texts_with = Words.of_texts(split, ngrams=ngrams, min_texts=min_texts, most=0)
    idf = torch.from_numpy(inverse_document_frequencies(texts_with, len(TEXTS)))
    model = SoftmaxRegression(config(vocab_size=len(words)), idf)
    expected = torch.from_numpy(oracle.transform(OTHERS).toarray())
    rows = []
    for text in OTHERS:
        texts = words.encode_labelled(split_texts([text], 80)[0], torch.zeros(1).numpy(), [])
        rows.append(texts.ids.tolist())
    ids, values, offsets = model.features(PackedBatch.from_sequences(rows))
    found = torch.zeros(len(OTHERS), len(words))
    ends = [*offsets[1:].tolist(), len(ids)]
    for row, (begin, end) in enumerate(zip(offsets.tolist(), ends, strict=True)):
        found[row, ids[begin:end]] = values[begin:end]
    assert set(words.ids) == set(oracle.vocabulary_)
    for term, column in oracle.vocabulary_.items():
        torch.testing.assert_close(
            found[:, words.ids[term]].double(), expected[:, column], rtol=0, atol=1e-6
        )
    assert not found[:, 0].any()  # the unknown term counts nothing
    assert not found[1].any()  # of "nothing known" nothing is known: no NaN either


def test_softmax_scores_are_the_product_of_features_and_weights():
    model = networks()[0].double()
    batch = PackedBatch.from_sequences([[1, 2, 2, 2], [0], [3]])
    counts = torch.tensor([1, 1 + math.log(3)], dtype=torch.float64)
    row = counts * model.idf[[1, 2]]
    expected = (row / row.norm()) @ model.terms.weight[[1, 2]] + model.bias
    torch.testing.assert_close(model(batch)[0], expected)
    torch.testing.assert_close(model(batch)[2], model.terms.weight[3] + model.bias)


def test_a_text_of_unknown_words_has_the_scores_of_the_bias():
    model = networks()[0]
    model.idf[0] = 0
    logits = model(PackedBatch.from_sequences([[0, 0], [0]]))
    assert torch.equal(logits, model.bias.expand(2, 3))


@pytest.mark.parametrize("changes", [{}, {"cell": "gru"}, {"skip_connections": True}])
def test_packed_texts_have_the_scores_and_gradients_of_each_text_alone(changes):
    for model in networks(**changes):
        model.double()
        together = model(PackedBatch.from_sequences(SEQUENCES))
        alone = torch.cat([model(PackedBatch.from_sequences([ids])) for ids in SEQUENCES])
        torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-14)
        weights = torch.randn_like(together)
        parameters = list(model.parameters())
        ours = torch.autograd.grad((together * weights).sum(), parameters)
        theirs = torch.autograd.grad((alone * weights).sum(), parameters)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_recurrent_layers_are_torchs_stacked_ones_with_attention_over_them(cell):
    torch.manual_seed(0)
    model = RecurrentNet(config(cell=cell)).double()
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
    oracle = kind(7, 5, num_layers=3, bidirectional=True).double()
    names = {}
    for name, _ in oracle.named_parameters():
        layer = name.split("_l")[1][0]
        names[name] = model.layers[int(layer)].get_parameter(name.replace(f"_l{layer}", "_l0"))
    oracle.load_state_dict(names)
    for ids in SEQUENCES:
        hidden, _ = oracle(model.embedding(torch.tensor(ids)))
        scores = model.query(torch.tanh(model.attention(hidden)))
        expected = model.classifier((scores.softmax(0) * hidden).sum(0))
        torch.testing.assert_close(
            model(PackedBatch.from_sequences([ids]))[0], expected, rtol=1e-12, atol=1e-14
        )


def test_skip_connections_add_the_input_where_the_sizes_agree():
    model = RecurrentNet(config(skip_connections=True)).double()
    for layer in model.layers:  # silent layers: what comes out is what went in
        for parameter in layer.parameters():
            torch.nn.init.zeros_(parameter)
    seen = []
    for layer in model.layers:
        layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].data))
    batch = PackedBatch.from_sequences(SEQUENCES)
    model(batch)
    # 7 -> 10 numbers: nothing is added to the first layer's output, and 0 goes on
    assert not seen[1].any() and not seen[2].any()
    torch.nn.init.ones_(model.layers[0].bias_ih_l0)
    seen.clear()
    model(batch)
    assert seen[1].any() and torch.equal(seen[1], seen[2])


def test_no_step_is_computed_for_padding():
    model = RecurrentNet(config())
    sizes = []
    model.layers[1].register_forward_pre_hook(
        lambda module, inputs: sizes.append((len(inputs[0].data), inputs[0].batch_sizes.tolist()))
    )
    model(PackedBatch.from_sequences(SEQUENCES))
    assert sizes == [(20, [5, 4, 3, 3, 3, 1, 1])]


def test_the_mean_of_embeddings_goes_through_the_hidden_layers():
    model = FeedForwardNet(config(num_hidden_layers=1)).double()
    ids = SEQUENCES[0]
    hidden = model.hidden[0](model.embedding.weight[ids].mean(0)).relu()
    logits = model(PackedBatch.from_sequences(SEQUENCES))
    torch.testing.assert_close(logits[0], model.classifier(hidden))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_saved_model_comes_back_with_the_same_bits(tmp_path, number):
    model = networks(dropout=0.3, skip_connections=True, cell="gru")[number].eval()
    model.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_bytes())
    assert values["model_type"] == model.model_type and values["id2label"]["1"] == "neutral"
    again = KINDS[values["model_type"]].from_pretrained(tmp_path)
    assert asdict(again.config) == asdict(model.config) and not again.training
    batch = PackedBatch.from_sequences(SEQUENCES)
    assert torch.equal(again(batch), model(batch))
    assert read_tensors(tmp_path).keys() == model.state_dict().keys()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"query.weight": None}, "missing: query.weight"),
        ({"more": torch.zeros(1)}, "unexpected: more"),
        ({"attention.bias": torch.zeros(6)}, r"attention.bias: \(6,\) torch.float32, expected"),
        ({"attention.bias": torch.zeros(5).half()}, "attention.bias: .*float16, expected"),
        ({"attention.bias": torch.full((5,), math.nan)}, "not finite: attention.bias"),
    ],
)
def test_weights_load_completely_or_not_at_all(tmp_path, change, sentence):
    networks()[2].save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors") | change
    tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=sentence):
        RecurrentNet.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model_type": "bert"}, "has model_type 'bert'"),
        ({"more": 1}, "and the keys .*more"),
        ({"vocab_size": 0}, "vocab_size 0"),
        ({"vocab_size": True}, "vocab_size True"),
        ({"hidden_size": 10**9}, "hidden_size 1000000000"),
        ({"num_hidden_layers": 65}, "num_hidden_layers 65"),
        ({"cell": "rnn"}, "cell 'rnn'"),
        ({"dropout": 1}, "dropout 1"),
        ({"id2label": {"0": "one"}, "label2id": {"one": 0}}, "labels"),
        ({"hidden_size": 0}, "config.json"),
    ],
)
def test_a_config_that_no_network_has_is_one_sentence(tmp_path, change, sentence):
    networks()[2].save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(ValueError, match=sentence):
        RecurrentNet.from_pretrained(tmp_path)
