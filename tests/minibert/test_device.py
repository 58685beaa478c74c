"""minibert/device.py, on machines that this one is not."""

import warnings

import pytest
import torch

from minibert import device
from minibert.device import choose_amp_dtype, choose_device


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> "Machine":
    return Machine(monkeypatch)


class Machine:
    """Sets what this machine has; a plain CPU until told otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.has()

    def has(
        self,
        gpus: int = 0,
        capability: tuple[int, int] = (8, 0),
        mps: bool = False,
        bf16: bool = False,
    ) -> None:
        replace = self._monkeypatch.setattr
        replace(torch.cuda, "is_available", lambda: gpus > 0)
        replace(torch.cuda, "device_count", lambda: gpus)
        replace(torch.cuda, "get_device_capability", lambda device=None: capability)
        replace(torch.backends.mps, "is_available", lambda: mps)
        replace(device, "cpu_has_bf16", lambda: bf16)


def test_auto_prefers_cuda_then_mps_then_the_cpu(machine: Machine) -> None:
    assert choose_device() == torch.device("cpu")
    machine.has(mps=True)
    assert choose_device() == torch.device("mps")
    machine.has(gpus=1, mps=True)
    assert choose_device() == torch.device("cuda")


def test_a_device_named_by_the_user_is_obeyed(machine: Machine) -> None:
    machine.has(gpus=2, mps=True)
    for name in ("cpu", "cpu:0", "cuda", "cuda:0", "cuda:1", "mps"):
        assert choose_device(name) == torch.device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "gpu", "", "cpu:1", "cpu:x"])
def test_a_device_that_is_not_there_is_refused_with_what_is(machine: Machine, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^device '{name}' is not .* has: cpu:0$"):
        choose_device(name)


@pytest.mark.parametrize("name", ["cuda:2", "cuda:x", "cuda:-1", "cuda:"])
def test_a_gpu_number_that_is_not_there_is_refused(machine: Machine, name: str) -> None:
    machine.has(gpus=2)
    with pytest.raises(ValueError, match="this machine has: cuda:0, cuda:1, cpu:0"):
        choose_device(name)


CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


def quietly(on: torch.device, choice: str) -> torch.dtype | None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return choose_amp_dtype(on, choice)


def test_auto_is_bf16_from_ampere_on_and_fp16_before(machine: Machine) -> None:
    for capability, dtype in (
        ((7, 0), torch.float16),
        ((7, 5), torch.float16),
        ((8, 0), torch.bfloat16),
        ((9, 0), torch.bfloat16),
        ((12, 0), torch.bfloat16),
    ):
        machine.has(gpus=1, capability=capability)
        assert quietly(CUDA, "auto") == dtype
    assert quietly(MPS, "auto") == torch.float16


def test_auto_on_a_cpu_is_bf16_where_the_hardware_has_it_else_float32_with_a_word(
    machine: Machine,
) -> None:
    machine.has(bf16=True)
    assert quietly(CPU, "auto") == torch.bfloat16
    machine.has(bf16=False)
    with pytest.warns(UserWarning, match="no bfloat16 arithmetic, so the run stays in float32"):
        assert choose_amp_dtype(CPU, "auto") is None


def test_a_named_dtype_is_obeyed_with_a_warning_only_where_it_is_slow(machine: Machine) -> None:
    machine.has(gpus=1, capability=(8, 6), bf16=True)
    assert quietly(CUDA, "bf16") == torch.bfloat16
    assert quietly(CUDA, "fp16") == torch.float16
    assert quietly(CPU, "bf16") == torch.bfloat16
    with pytest.warns(UserWarning, match="--amp-dtype fp16 is slow on this cpu"):
        assert choose_amp_dtype(CPU, "fp16") == torch.float16
    machine.has(gpus=1, capability=(7, 5), bf16=False)
    for on in (CPU, CUDA):
        with pytest.warns(UserWarning, match=f"--amp-dtype bf16 is slow on this {on.type}"):
            assert choose_amp_dtype(on, "bf16") == torch.bfloat16


@pytest.mark.parametrize(
    ("arch", "avx512", "amx", "arm", "has"),
    [
        ("x86_64", False, False, True, False),
        ("x86_64", True, False, False, True),
        ("AMD64", False, True, False, True),
        ("aarch64", True, True, False, False),
        ("arm64", False, False, True, True),
    ],
)
def test_bf16_is_asked_of_the_processor_and_not_of_what_onednn_emulates(
    arch: str, avx512: bool, amx: bool, arm: bool, has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device.platform, "machine", lambda: arch)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: arm)
    assert device.cpu_has_bf16() == has


def test_bf16_is_asked_of_this_very_processor() -> None:
    assert isinstance(device.cpu_has_bf16(), bool)
