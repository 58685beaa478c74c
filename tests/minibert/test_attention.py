"""minibert/attention.py: three kernels, one result, forward and backward."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import varlen

from minibert import PackedBatch, attention
from minibert.attention import AttentionCore, Kernel, choose_kernel
from tests.minibert.recorded import Calls, record_dropouts

H, K = 3, 5
KERNELS: tuple[Kernel, ...] = ("explicit", "per sequence", "padded")
# name -> rows of real tokens in a padded matrix
MASKS = {
    "unequal": ["1111111..", "1........", "11111....", "11......."],
    "left": ["...111111", "........1", ".11111111"],
    "both sides": ["..1111...", "11.......", "........1"],
    "equal": ["111111111", "111111111"],
    "equal, shorter than T": ["11111....", "11111...."],
    "one token": ["1"],
}


def make_batch(mask: str) -> PackedBatch:
    real = torch.tensor([[column == "1" for column in row] for row in MASKS[mask]])
    return PackedBatch.from_padded(torch.ones_like(real, dtype=torch.long), real)


def make_inputs(
    batch: PackedBatch, dtype: torch.dtype = torch.float64, scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value, each (N, H, K), as leaves that gather gradients."""
    generator = torch.Generator().manual_seed(3)
    shape = (batch.num_tokens, H, K)
    query, key, value = (
        (torch.randn(shape, generator=generator, dtype=torch.float64) * scale)
        .to(dtype)
        .requires_grad_()
        for _ in range(3)
    )
    return query, key, value


def use(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this kernel serve every device."""
    monkeypatch.setattr(attention, "choose_kernel", lambda *_: kernel)


def textbook(query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch) -> Tensor:
    """Attention as the paper writes it, one sequence and one head at a time."""
    rows = []
    for q, k, v in zip(*(x.split(list(batch.lengths)) for x in (query, key, value)), strict=True):
        heads = [torch.softmax(q[:, h] @ k[:, h].T / K**0.5, dim=-1) @ v[:, h] for h in range(H)]
        rows.append(torch.stack(heads, 1))
    return torch.cat(rows)


HALF = (torch.bfloat16, torch.float16)


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALF])
@pytest.mark.parametrize("device", ["cpu", "mps", "cuda", "old cuda"])
def test_one_function_chooses_the_kernel(
    device: str, dtype: torch.dtype, rate: float, explicit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "has_flash", lambda device: device == torch.device("cuda"))
    wanted = "per sequence" if device == "cpu" else "padded"
    if device == "cuda" and dtype in HALF:
        wanted = "flash" if rate else "varlen"
    place = torch.device("cuda", 1) if device == "old cuda" else torch.device(device)
    chosen = choose_kernel(place, dtype, 64, rate, explicit)
    assert chosen == ("explicit" if explicit else wanted)


@pytest.mark.parametrize(("size", "fits"), [(8, True), (256, True), (4, False), (264, False)])
def test_heads_that_flash_does_not_take_are_padded(
    size: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "has_flash", lambda device: True)
    chosen = choose_kernel(torch.device("cuda"), torch.float16, size, 0.1, explicit=False)
    assert chosen == ("flash" if fits else "padded")


@pytest.mark.parametrize(
    ("kind", "build", "capability", "wanted"),
    [
        ("cuda", "13.0", (9, 0), True),
        ("cuda", "13.0", (8, 0), True),
        ("cuda", "13.0", (7, 5), False),
        ("cuda", None, (9, 4), False),  # AMD's GPUs are called cuda, too
        ("mps", "13.0", (9, 0), False),
    ],
)
def test_flash_runs_on_nvidias_gpus_from_ampere_on(
    kind: str, build: str | None, capability: tuple[int, int], wanted: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.version, "cuda", build)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert attention.has_flash.__wrapped__(torch.device(kind)) is wanted


@pytest.mark.parametrize("kernel", ["varlen", "flash"])
def test_the_packed_kernels_are_called_as_torch_wants_it(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU would be given; its own answer is compared in the tests marked cuda."""
    batch = make_batch("left")
    inputs = make_inputs(batch)
    calls = []

    def packed(*args: Any) -> Tensor:
        calls.append((*args, 0.0))
        return textbook(*args[:3], batch)

    def flash(*args: Any, scale: float) -> tuple[Tensor, Tensor]:
        *args, causal, debug = args
        assert (causal, debug, scale) == (False, False, K**-0.5)
        calls.append(tuple(args))
        return textbook(*args[:3], batch), torch.zeros(())

    monkeypatch.setattr(varlen, "varlen_attn", packed)
    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", flash)
    use(kernel, monkeypatch)
    output = AttentionCore(K, dropout=0.25).train(kernel == "flash")(*inputs, batch)
    assert torch.equal(output, textbook(*inputs, batch))
    (query, key, value, from_, to, most_from, most_to, rate), *more = calls
    assert not more and (query, key, value) == inputs
    assert from_ is to and to.tolist() == [0, 6, 7, 15] and to.dtype == torch.int32
    assert (most_from, most_to) == (8, 8) and rate == (0.25 if kernel == "flash" else 0.0)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_computes_the_textbook_forward_and_backward(
    kernel: Kernel, mask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch(mask)
    use(kernel, monkeypatch)
    inputs, reference_inputs = make_inputs(batch), make_inputs(batch)
    output = AttentionCore(K, dropout=0.0)(*inputs, batch)
    reference = textbook(*reference_inputs, batch)
    assert output.shape == (batch.num_tokens, H, K)
    torch.testing.assert_close(output, reference, rtol=0, atol=1e-13)
    weight = torch.randn(output.shape, dtype=torch.float64)
    (output * weight).sum().backward()
    (reference * weight).sum().backward()
    for ours, theirs in zip(inputs, reference_inputs, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=1e-13)


@pytest.mark.parametrize("mask", ["unequal", "left", "equal"])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)], ids=["fp32", "bf16"]
)
def test_every_kernel_is_near_the_float64_truth_in_lower_precision(
    dtype: torch.dtype, tolerance: float, kernel: Kernel, mask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within `tolerance` of the largest value: 8 units in the last place of float32, 3 of bf16."""
    batch = make_batch(mask)
    use(kernel, monkeypatch)
    rounded = make_inputs(batch, dtype)
    exact = tuple(x.detach().double().requires_grad_() for x in rounded)
    results = []
    for inputs, attend in ((rounded, AttentionCore(K, dropout=0.0)), (exact, textbook)):
        output = attend(*inputs, batch)
        output.square().sum().backward()
        results.append([output, *(x.grad for x in inputs)])
    for ours, truth in zip(*results, strict=True):
        error = (ours - truth).abs().max().item()
        assert error <= tolerance * truth.abs().max().item()


@pytest.mark.parametrize("mask", ["unequal", "equal"])
def test_a_cpu_in_bfloat16_takes_plain_products_and_draws_nothing(
    mask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fused kernel is half as fast there; in float32 it is the faster one (docs/log.md)."""
    batch, calls, plain = make_batch(mask), [], F.scaled_dot_product_attention
    monkeypatch.setattr(
        F,
        "scaled_dot_product_attention",
        lambda *args, **more: calls.append(args[0].dtype) or plain(*args, **more),
    )
    before = torch.get_rng_state()
    for dtype in (torch.bfloat16, torch.float32):
        inputs = tuple(torch.ones(batch.num_tokens, H, K, dtype=dtype) for _ in range(3))
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            output = AttentionCore(K, dropout=0.0)(*inputs, batch)
        assert output.dtype == dtype and torch.equal(output, torch.ones_like(output))
    assert set(calls) == {torch.float32}
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_sequence_does_not_see_its_neighbours(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(kernel, monkeypatch)
    batch = make_batch("unequal")
    query, key, value = make_inputs(batch)
    core = AttentionCore(K, dropout=0.0)
    before = core(query, key, value, batch)
    first = batch.lengths[0]
    with torch.no_grad():
        for x in (query, key, value):
            x[:first] = torch.randn_like(x[:first]) * 100
    after = core(query, key, value, batch)
    assert torch.equal(after[first:], before[first:])
    assert not torch.allclose(after[:first], before[:first])


@pytest.mark.parametrize("kernel", KERNELS)
def test_huge_scores_stay_finite_and_pick_the_largest(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(kernel, monkeypatch)
    batch = make_batch("unequal")
    inputs = make_inputs(batch, torch.float32, scale=1e4)
    output = AttentionCore(K, dropout=0.0)(*inputs, batch)
    output.sum().backward()
    assert all(bool(x.isfinite().all()) for x in (output, *(x.grad for x in inputs)))
    reference = textbook(*make_inputs(batch, torch.float32, scale=1e4), batch)
    torch.testing.assert_close(output, reference, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("mask", ["unequal", "left"])
def test_the_taps_fire_once_and_hold_scores_and_probs_over_real_keys(mask: str) -> None:
    batch = make_batch(mask)
    core = AttentionCore(K, dropout=0.0)
    core.explicit = True
    seen: dict[str, Tensor] = {}
    for name in ("scores", "probs"):

        def hook(module: Any, args: Any, output: Tensor, name: str = name) -> None:
            assert name not in seen
            seen[name] = output

        getattr(core, name).register_forward_hook(hook)
    query, key, value = make_inputs(batch)
    core(query, key, value, batch)
    shape = (batch.num_sequences, H, batch.padded_length, batch.padded_length)
    assert seen["scores"].shape == seen["probs"].shape == shape
    real = batch.padding_mask
    probs = seen["probs"].permute(0, 2, 1, 3)[real]  # (N, H, T), rows of real queries
    torch.testing.assert_close(probs.sum(-1), torch.ones_like(probs[..., 0]))
    pad_keys = ~real[torch.arange(len(real)).repeat_interleave(torch.tensor(batch.lengths))]
    assert not probs[pad_keys[:, None, :].expand_as(probs)].any()
    first = slice(0, batch.lengths[0])
    columns = batch.position_ids[first]
    torch.testing.assert_close(
        seen["scores"][0][:, columns][:, :, columns],
        torch.einsum("qhk,shk->hqs", query[first], key[first]) / K**0.5,
    )


def test_a_hook_that_replaces_the_probs_changes_the_output() -> None:
    batch = make_batch("unequal")
    core = AttentionCore(K, dropout=0.0)
    core.explicit = True
    query, key, value = make_inputs(batch)
    core.probs.register_forward_hook(
        lambda module, args, probs: (
            torch.eye(batch.padded_length, dtype=probs.dtype).expand_as(probs).clone()
        )
    )
    torch.testing.assert_close(core(query, key, value, batch), value)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_dropout_acts_on_the_probabilities_in_training_only(
    training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch("unequal")
    inputs = make_inputs(batch)
    core = AttentionCore(K, dropout=0.25).train(training)
    calls = record_dropouts(monkeypatch)
    wanted: dict[Kernel, Calls] = {
        "explicit": [("dropout", 0.25, (4, H, 9, 9))],
        "per sequence": [("dropout", 0.25, (1, H, n, n)) for n in batch.lengths],
        "padded": [("fused", 0.25, (4, H, 9, 9))],
    }
    for kernel in KERNELS:
        use(kernel, monkeypatch)
        calls.clear()
        core(*inputs, batch)
        assert calls == (wanted[kernel] if training else []), kernel


@pytest.mark.parametrize("kernel", KERNELS)
def test_dropout_changes_the_output_but_not_its_mean(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(kernel, monkeypatch)
    torch.manual_seed(0)
    batch = PackedBatch.from_sequences([[1] * 64])
    query = torch.zeros(64, 16, K)
    value = torch.ones(64, 16, K)
    output = AttentionCore(K, dropout=0.5).train()(query, query, value, batch)
    # each value is 2 x (kept of 64) / 64: mean 1, standard deviation 1/8; K columns share a mask
    assert float((output - 1).abs().max()) > 0.1
    assert abs(float(output.mean()) - 1) < 5 * 0.125 / (64 * 16) ** 0.5
    assert abs(float(output[..., 0].std()) - 0.125) < 0.02


def test_a_full_batch_takes_no_mask_so_that_flash_attention_may_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    masks: list[Tensor | None] = []
    plain = F.scaled_dot_product_attention

    def fused(*args: Tensor, **options: Any) -> Tensor:
        masks.append(options["attn_mask"])
        return plain(*args, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", fused)
    use("padded", monkeypatch)
    for mask in ("equal", "unequal", "equal, shorter than T"):
        batch = make_batch(mask)
        AttentionCore(K, dropout=0.0)(*make_inputs(batch), batch)
    assert masks[0] is None
    for kept, name in zip(masks[1:], ("unequal", "equal, shorter than T"), strict=True):
        assert kept is not None
        assert torch.equal(kept[:, 0, 0], make_batch(name).padding_mask)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("equal", [True, False], ids=["equal", "unequal"])
@pytest.mark.parametrize(
    ("kernel", "dtype", "tolerance"),
    [
        ("padded", torch.float32, 1e-5),
        ("padded", torch.bfloat16, 2e-2),
        *((kernel, torch.bfloat16, 2e-2) for kernel in ("varlen", "flash")),
        *((kernel, torch.float16, 3e-3) for kernel in ("padded", "varlen", "flash")),
    ],
)
def test_on_a_gpu_every_kernel_agrees_with_explicit_float64(
    kernel: Kernel,
    dtype: torch.dtype,
    tolerance: float,
    equal: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lengths = [96] * 4 if equal else [96, 1, 40, 77]
    batch = PackedBatch.from_sequences([[1] * length for length in lengths]).to("cuda")
    torch.manual_seed(0)
    inputs = [
        torch.randn(batch.num_tokens, 12, 64, device="cuda", dtype=dtype).requires_grad_()
        for _ in range(3)
    ]
    exact = [x.detach().double().requires_grad_() for x in inputs]
    core = AttentionCore(64, dropout=0.0)
    core.explicit = True
    reference = core(*exact, batch)
    use(kernel, monkeypatch)
    output = AttentionCore(64, dropout=0.0)(*inputs, batch)
    weight = torch.randn_like(reference)
    (output * weight.to(dtype)).sum().backward()
    (reference * weight.to(dtype).double()).sum().backward()
    assert output.dtype == dtype
    for ours, theirs in [
        (output, reference),
        *((a.grad, b.grad) for a, b in zip(inputs, exact, strict=True)),
    ]:
        assert ours is not None and theirs is not None
        assert float((ours.double() - theirs).abs().max()) <= tolerance * max(
            1.0, float(theirs.abs().max())
        )


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("kernel", ["padded", "flash"])
def test_on_a_gpu_dropout_keeps_the_mean_and_repeats_with_the_seed(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(kernel, monkeypatch)
    batch = PackedBatch.from_sequences([[1] * 256, [1] * 40]).to("cuda")
    query = torch.zeros(296, 16, 64, device="cuda", dtype=torch.bfloat16)
    value = torch.ones_like(query)
    outputs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outputs.append(AttentionCore(64, dropout=0.5).train()(query, query, value, batch).float())
    first, again, other = outputs
    assert torch.equal(first, again) and not torch.equal(first, other)
    # each value is 2 x (kept of 256) / 256: mean 1, standard deviation 1/16
    assert abs(float(first[:256].mean()) - 1) < 0.01
    assert abs(float(first[:256, :, 0].std()) - 1 / 16) < 0.01


def test_sequences_of_one_length_are_one_call_on_a_cpu_that_does_what_one_call_each_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[int, ...]] = []
    plain = F.scaled_dot_product_attention

    def counted(query: Tensor, *args: Any, **options: Any) -> Tensor:
        calls.append(tuple(query.shape))
        return plain(query, *args, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    core = AttentionCore(K, 0.0)
    together = PackedBatch.from_sequences([[1] * 37] * 4)
    inputs = make_inputs(together)
    output = core(*inputs, together)
    gradients = torch.autograd.grad(output.square().sum(), inputs)
    assert calls == [(4, H, 37, K)]
    alone = PackedBatch.from_sequences([[1] * 37])
    for b, part in enumerate(output.split(37)):
        own = [x.detach()[b * 37 : b * 37 + 37].requires_grad_() for x in inputs]
        context = core(*own, alone)
        torch.testing.assert_close(context, part, rtol=0, atol=1e-14)
        wanted = torch.autograd.grad(context.square().sum(), own)
        for ours, theirs in zip(gradients, wanted, strict=True):
            torch.testing.assert_close(ours[b * 37 : b * 37 + 37], theirs, rtol=0, atol=1e-13)
