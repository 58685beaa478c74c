"""Look at any activation of a model, or put another value in its place, while a block runs.

    with record(model, "encoder.layers.*.attention.core.probs") as seen:
        logits = model(batch)
    seen["encoder.layers.0.attention.core.probs"]  # (B, H, T, T)

    with replace(model, {"encoder.layers.0.attention.context": torch.zeros_like}):
        logits = model(batch)

Names are those of `model.named_modules()`; docs/architecture.md lists them with shapes. An
activation is what the module of that name puts out. Both are plain forward hooks: there while the
block runs, gone after it however it ends, so that a model costs nothing more when nobody looks.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from minibert.attention import AttentionCore


@contextmanager
def record(model: nn.Module, names: str | Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Keep activations of the forward passes inside the block.

    The dictionary holds one pass, the latest: when the model is called again, what it held is let
    go. The tensors are the model's own, with their graph: `retain_grad`, `torch.autograd.grad` and
    `backward` work on them; `detach` what is to be kept for long. Where a name is replaced as well,
    what the model went on with is seen, whichever block was opened first.

    A copy of the model made inside the block (`copy.deepcopy`) keeps the hooks, since torch copies
    a module with them: copy before or after.

    Args:
        model: any module; in training or evaluation, on any device, under autocast or not.
        names: one or several, each a full name or a pattern (`*` stands for anything, dots too).

    Yields:
        {full name: activation}, filled while a forward pass runs. Of what a pattern fits, only what
        ran is there: under fused attention "*" has no scores and no probs.

    Raises:
        ValueError: at the block's start, no name, or one that fits no module; at its end, a name of
            which nothing ran in the latest pass (of scores and probs fused attention makes none).
        TypeError: a name that is no text.
    """
    found = _find(model, [names] if isinstance(names, str) else names)
    if not found:
        raise ValueError("no name is given to be recorded; name activations of the model")
    modules = {name: module for fitting in found.values() for name, module in fitting.items()}
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            seen[name] = _require_tensor(output, name)

        return hook

    with ExitStack() as hooks:
        hooks.enter_context(model.register_forward_pre_hook(lambda module, args: seen.clear()))
        for name, module in modules.items():
            hooks.enter_context(module.register_forward_hook(keep(name)))
        yield seen
    _require_ran(model, found, seen.keys())


@contextmanager
def replace(
    model: nn.Module, functions: Mapping[str, Callable[[Tensor], Tensor]]
) -> Iterator[None]:
    """Change activations in the forward passes inside the block.

    Gradients flow through the functions. Of two that replace the same name, the one whose block was
    opened last acts first.

    Args:
        model: as for `record`.
        functions: {name or pattern: what makes the new activation of the old one}. The new one has
            the same shape, dtype and device.

    Raises:
        ValueError: as for `record`; in a forward pass, a new activation that does not fit.
        TypeError: as for `record`; what should be a function is none.
    """
    ran: set[str] = set()
    if not isinstance(functions, Mapping):
        raise TypeError(f"what to replace is {_describe(functions)}, expected {{name: function}}")
    found = _find(model, functions)
    for pattern, function in functions.items():
        if not callable(function):
            raise TypeError(
                f"the replacement of {pattern} is {_describe(function)}, expected a function of "
                "the activation, such as `lambda old: new`"
            )

    def change(name: str, function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
        def hook(module: nn.Module, args: Any, output: Any) -> Tensor:
            ran.add(name)
            old = _require_tensor(output, name)
            new = function(old)
            if _describe(new) != _describe(old):
                raise ValueError(
                    f"the replacement of {name} is {_describe(new)}, expected {_describe(old)}"
                )
            return new

        return hook

    with ExitStack() as hooks:
        for pattern, modules in found.items():
            for name, module in modules.items():
                # first of the module's hooks, so that those of `record` see what it puts out
                hook = change(name, functions[pattern])
                hooks.enter_context(module.register_forward_hook(hook, prepend=True))
        yield
    _require_ran(model, found, ran)


def _find(model: nn.Module, patterns: Iterable[str]) -> dict[str, dict[str, nn.Module]]:
    """{pattern: {full name: module} of all that fit, in the model's order}.

    Raises:
        ValueError: a pattern that none fits.
        TypeError: a pattern that is no text.
    """
    # a list of modules is never called itself
    named = {n: m for n, m in model.named_modules() if n and not isinstance(m, nn.ModuleList)}
    found: dict[str, dict[str, nn.Module]] = {}
    for pattern in patterns if isinstance(patterns, Iterable) else [patterns]:
        if not isinstance(pattern, str):
            raise TypeError(f"a name is {_describe(pattern)}, expected text; see named_modules()")
        fitting = {n: m for n, m in named.items() if n == pattern or fnmatchcase(n, pattern)}
        if not fitting:
            near = [name for name in named if name.endswith(f".{pattern}")]
            near = (near or get_close_matches(pattern, named, n=3, cutoff=0.5))[:3]
            hint = f"did you mean {' or '.join(near)}?" if near else "see model.named_modules()"
            raise ValueError(f"the model has no activation named {pattern!r}; {hint}")
        found[pattern] = fitting
    return found


def _require_tensor(output: Any, name: str) -> Tensor:
    if not isinstance(output, Tensor):
        raise ValueError(f"{name} puts out {type(output).__name__}, no tensor; name a part of it")
    return output


def _require_ran(
    model: nn.Module, found: Mapping[str, Mapping[str, nn.Module]], ran: AbstractSet[str]
) -> None:
    """Refuse a block in which nothing that a name fits was ever made.

    Raises:
        ValueError: naming the first such activation and what to do.
    """
    missing = next((next(iter(fit)) for fit in found.values() if not fit.keys() & ran), None)
    if missing is None:
        return
    parent = model.get_submodule(missing.rpartition(".")[0])
    if isinstance(parent, AttentionCore) and not parent.explicit:
        hint = "fused attention makes none, so call model.encoder.use_explicit_attention() before"
    else:
        hint = "call the model inside the block"
    raise ValueError(f"{missing} was not seen in the block: {hint}")


def _describe(value: Any) -> str:
    if not isinstance(value, Tensor):
        name = type(value).__name__
        return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    return f"a tensor of shape {tuple(value.shape)}, {value.dtype} on {value.device}"
