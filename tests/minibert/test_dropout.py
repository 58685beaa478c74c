"""minibert/dropout.py: rates, means, masks and gradients; on other devices it is torch's."""

import pytest
import torch
from torch import Tensor

from minibert.dropout import Dropout, dropout
from tests.train.killing import finish, start

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_each_element_falls_with_the_rate_and_the_others_keep_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    n = 1_000_003
    kept = dropout(torch.ones(n), rate)
    values = kept.unique().tolist()
    assert values == pytest.approx([0, 1 / (1 - rate)], rel=2e-4)
    deviation = (rate * (1 - rate) / n) ** 0.5
    assert abs(float((kept == 0).double().mean()) - rate) < 5 * deviation + 2**-17
    assert abs(float(kept.double().mean()) - 1) < 5 * deviation / (1 - rate)


def test_elements_fall_independently_of_their_neighbours() -> None:
    torch.manual_seed(1)
    n = 2_000_000
    fallen = (dropout(torch.ones(n), 0.3) == 0).double() - 0.3
    for distance in (1, 2, 3, 4, 64, 4096):  # within a random word, and across
        correlation = float((fallen[distance:] * fallen[:-distance]).mean()) / 0.21
        assert abs(correlation) < 5 / n**0.5, distance


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 0, 2), (5, 3, 2), (2, 4, 8)])
def test_any_shape_and_dtype_keeps_itself(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    y = dropout(torch.full(shape, 3.0, dtype=dtype), 0.5)
    assert (tuple(y.shape), y.dtype) == (shape, dtype)
    assert set(y.flatten().tolist()) <= {0.0, 6.0}


@pytest.mark.parametrize("rate", [1e-9, 1 - 1e-9])
def test_the_most_extreme_rates_stay_finite(rate: float) -> None:
    y = dropout(torch.ones(300_000), rate)
    assert bool(y.isfinite().all())


def test_the_gradient_takes_the_same_mask() -> None:
    x = torch.randn(50, 40, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(3)
    y = dropout(x, 0.4)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient * x, y)
    assert 0 < int((gradient == 0).sum()) < gradient.numel()


def test_a_seed_repeats_the_mask_with_any_number_of_threads() -> None:
    def drawn(seed: int, threads: int) -> Tensor:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        return dropout(torch.ones(700, 300), 0.1)

    def command(_words: list[str]) -> int:
        one, two, other = drawn(5, 1), drawn(5, 2), drawn(6, 2)
        return 0 if torch.equal(one, two) and not torch.equal(one, other) else 1

    assert finish(start([], command=command)) == 0  # in a child: see one_thread in conftest.py


def test_a_transposed_input_is_treated_element_by_element() -> None:
    torch.manual_seed(2)
    y = dropout(torch.ones(64, 96).t(), 0.5)
    assert y.shape == (96, 64)
    assert 0.4 < float((y == 0).double().mean()) < 0.6


def test_the_module_is_an_identity_in_evaluation_and_at_rate_zero() -> None:
    x = torch.randn(4, 5)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x
    assert not torch.equal(Dropout(0.5).train()(x), x)
    assert isinstance(Dropout(0.1), torch.nn.Dropout)  # code that sets every rate finds it


def test_other_devices_use_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[torch.device, float]] = []

    def recorded(x: Tensor, p: float) -> Tensor:
        calls.append((x.device, p))
        return x

    monkeypatch.setattr(torch.nn.functional, "dropout", recorded)
    dropout(torch.ones(3, device="meta"), 0.25)
    assert calls == [(torch.device("meta"), 0.25)]
