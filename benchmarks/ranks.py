"""One update of several ranks: ours, DistributedDataParallel's, and without any sum.

    torchrun --nproc-per-node 2 -m benchmarks.ranks [LAYERS WIDTH]

Alternately in one run, on random windows of SQuAD's mean length; each rank has its share of 16, and
a GPU of its own or one thread. Prints the medians of rank 0.
"""

import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from data.ranks import Ranks
from data.torchrun import joined_ranks
from minibert.config import BertConfig
from minibert.device import choose_device
from minibert.heads import BertForQuestionAnswering, span_loss_sum
from minibert.packing import PackedBatch
from train.gradients import Gradients

WINDOWS, LENGTH, ROUNDS = 16, 186, 15


def make_model(layers: int, width: int, device: torch.device) -> BertForQuestionAnswering:
    """Without dropout, so that all sides do the same work."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=8192, hidden_size=width, num_hidden_layers=layers,
        num_attention_heads=width // 64, intermediate_size=4 * width,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return BertForQuestionAnswering(config).to(device)


def main(ranks: Ranks, layers: int, width: int) -> None:
    """Measure, and print a table."""
    torch.set_num_threads(1)
    device = choose_device("auto", ranks.local_rank, ranks.local_size)
    ranks.use(device)
    share = len(ranks.share(range(WINDOWS)))
    ids = torch.randint(5, 8192, (share * LENGTH,))
    types = torch.zeros_like(ids)
    batch = PackedBatch.from_flat(ids, types, [LENGTH] * share).to(device)
    answers = torch.arange(share, device=device)

    def backward(model: nn.Module) -> None:
        loss = span_loss_sum(model(batch), batch, answers, answers)
        (loss / WINDOWS).backward()  # type: ignore[no-untyped-call]

    ours, theirs, bare = (make_model(layers, width, device) for _ in range(3))
    gradients = Gradients(ours, ranks)
    wrapped = DistributedDataParallel(
        theirs, process_group=ranks.gpu_group, gradient_as_bucket_view=True
    )

    def update_ours() -> None:
        with gradients.attempt(ranks.size):
            backward(ours)
            gradients.sum()
            norm = nn.utils.get_total_norm(
                [p.grad for p in ours.parameters() if p.grad is not None]
            )
            gradients.read(gradients.tell([norm], norm)[0])

    def update_theirs() -> None:
        theirs.zero_grad(set_to_none=True)
        backward(wrapped)
        nn.utils.get_total_norm([p.grad for p in theirs.parameters() if p.grad is not None]).item()

    def update_bare() -> None:
        bare.zero_grad(set_to_none=True)
        backward(bare)
        nn.utils.get_total_norm([p.grad for p in bare.parameters() if p.grad is not None]).item()

    sides: dict[str, Callable[[], None]] = {
        "train.gradients": update_ours,
        "DistributedDataParallel": update_theirs,
        "no sum": update_bare,
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(ROUNDS + 2):
        for name, act in sides.items():
            ranks.any(False)  # begin together
            began = time.perf_counter()
            act()
            ranks.any(False)  # and end with the slowest
            if turn >= 2:
                seconds[name].append(time.perf_counter() - began)
    size = sum(p.numel() for p in ours.parameters())
    print(
        f"{ranks.size} ranks on {device.type}, {layers} x {width}, "
        f"{size * 4 / 1e6:.0f} MB of gradients"
    )
    for name, times in seconds.items():
        print(f"  {name:24} {1000 * median(times):8.1f} ms an update")


if __name__ == "__main__":
    with joined_ranks() as joined:
        main(joined, *map(int, sys.argv[1:] or (4, 256)))
