"""BertModel.compile_layers: the same numbers, one compilation for every number of tokens."""

import shutil

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from minibert import BertConfig, PackedBatch
from minibert.encoder import BertModel

CONFIG = BertConfig(
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=64,
)
LENGTHS = (3, 1, 20, 64, 33, 2)  # of the first of two sequences

pytestmark = pytest.mark.usefixtures("fresh_compiler")


def make_models(backend: str) -> tuple[BertModel, BertModel]:
    """A model and its compiled twin, without dropout."""
    torch.manual_seed(0)
    plain, compiled = BertModel(CONFIG).double(), BertModel(CONFIG).double()
    compiled.load_state_dict(plain.state_dict())
    for model in (plain, compiled):
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    compiled.compile_layers(backend)
    return plain, compiled


def run(model: BertModel, length: int, amp: bool) -> list[Tensor]:
    """The output, and in training all gradients."""
    batch = PackedBatch.from_sequences([[1] * length, [2, 3]])
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        output = model(batch)
    if not torch.is_grad_enabled():
        return [output]
    model.zero_grad()
    output.float().square().sum().backward()
    return [output, *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_layers_compute_the_same(backend):
    if backend == "inductor" and not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("inductor needs a C++ compiler")
    models = make_models(backend)
    for length in LENGTHS if backend == "aot_eager" else (3, 20):
        for ours, theirs in zip(*(run(model, length, amp=False) for model in models), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_all_layers_and_all_numbers_of_tokens_share_one_compilation():
    _, model = make_models("aot_eager")
    for length in LENGTHS:
        run(model.train(), length, amp=False)
    assert counters["stats"]["unique_graphs"] == 1
    for length in LENGTHS:
        run(model.train(), length, amp=True)
    assert counters["stats"]["unique_graphs"] == 2
    with torch.inference_mode():
        for length in LENGTHS:
            run(model.eval(), length, amp=True)
    assert counters["stats"]["unique_graphs"] == 3


def test_dropout_acts_in_training_only_and_repeats_with_the_seed():
    _, model = make_models("aot_eager")
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    batch = PackedBatch.from_sequences([[1] * 20])
    outputs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outputs.append(model.train()(batch))
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])
    assert torch.equal(model.eval()(batch), model(batch))


def test_a_compiled_model_saves_the_names_of_a_plain_one():
    plain, compiled = make_models("eager")
    run(compiled, 3, amp=False)
    assert list(compiled.state_dict()) == list(plain.state_dict())
