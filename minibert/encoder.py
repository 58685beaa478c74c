"""The BERT encoder (Devlin et al. 2019, arXiv 1810.04805), on packed tokens, bottom-up.

    BertModel
      embeddings       word + position + token type -> norm -> dropout
      layers.{i}       EncoderLayer, post-norm:
        attention        x1 = attention_norm(x + attention_dropout(attention(x)))
        ffn              x2 = ffn_norm(x1 + ffn_dropout(ffn(x1)))

Dimensions, everywhere in this package:

    N  real tokens in the packed batch      H  attention heads, num_attention_heads
    B  sequences in the batch               K  width of a head, head_size = D / H
    T  tokens of the longest sequence       F  width of the feed-forward block, intermediate_size
    D  width of a token, hidden_size        L  layers, num_hidden_layers
    V  vocabulary, vocab_size               C  classes

Activations worth studying are submodules (`nn.Identity` where nothing is computed), so a forward
hook on any name of `named_modules()` sees them: docs/architecture.md has the list.
"""

from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minibert.attention import AttentionCore
from minibert.config import BertConfig
from minibert.dropout import Dropout
from minibert.packing import PackedBatch


class Embeddings(nn.Module):
    """Word + position + token-type embeddings, normalised (Devlin et al. 2019, figure 2)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        # DistilBERT has no token types.
        self.token_type = (
            nn.Embedding(config.type_vocab_size, config.hidden_size)
            if config.type_vocab_size
            else None
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Packed ids -> (N, D)."""
        embedded: Tensor = self.word(batch.input_ids) + self.position(batch.position_ids)  # (N, D)
        if self.token_type is not None:
            embedded = embedded + self.token_type(batch.token_type_ids)
        return self.dropout(self.norm(embedded))  # type: ignore[no-any-return]


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2.2), before residual and norm."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.heads = (config.num_attention_heads, config.head_size)
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.core = AttentionCore(config.head_size, config.attention_probs_dropout_prob)
        self.context = nn.Identity()
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states: Tensor, batch: PackedBatch) -> Tensor:
        """(N, D) -> (N, D), every token mixed with the tokens of its own sequence."""
        query = self.query(hidden_states).unflatten(-1, self.heads)  # (N, H, K)
        key = self.key(hidden_states).unflatten(-1, self.heads)  # (N, H, K)
        value = self.value(hidden_states).unflatten(-1, self.heads)  # (N, H, K)
        context = self.context(self.core(query, key, value, batch).flatten(1))  # (N, D)
        return self.output(context)  # type: ignore[no-any-return]


class Activation(nn.Module):
    """The feed-forward block's non-linearity, by its name in config.json.

    "gelu" is x * Phi(x) with the exact erf (Hendrycks and Gimpel 2016); the two tanh spellings are
    their approximation, which differs by up to 5e-4. "gelu_fast" is left out: its constants are cut
    to ten digits, so that it equals neither.
    """

    FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {  # noqa: RUF012  a constant table
        "gelu": F.gelu,
        "gelu_python": F.gelu,
        "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
        "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
        "relu": F.relu,
        "silu": F.silu,
        "swish": F.silu,
        "tanh": torch.tanh,
    }

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def extra_repr(self) -> str:
        return self.name

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same shape."""
        return self.FUNCTIONS[self.name](x)


class FeedForward(nn.Module):
    """Two linear layers with the activation between (Vaswani et al. 2017, section 3.3)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = Activation(config.hidden_act)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(N, D) -> (N, D), before residual and norm."""
        inner = self.activation(self.up(hidden_states))  # (N, F)
        return self.down(inner)  # type: ignore[no-any-return]


class EncoderLayer(nn.Module):
    """One post-norm layer: attention, then feed-forward, each with residual and norm."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = SelfAttention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.ffn = FeedForward(config)
        self.ffn_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        # DistilBERT has none on the attention's output (transformers' modeling_distilbert.py).
        has_attention_dropout = config.model_type == "bert"
        self.attention_dropout = (
            Dropout(config.hidden_dropout_prob) if has_attention_dropout else nn.Identity()
        )
        self.ffn_dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_states: Tensor, batch: PackedBatch) -> Tensor:
        """(N, D) -> (N, D)."""
        return self.after_attention(hidden_states, self.attention(hidden_states, batch))

    def after_attention(self, hidden_states: Tensor, attended: Tensor) -> Tensor:
        """The rest of the layer, token by token: what torch.compile is good for.

        Args:
            hidden_states: (N, D) the layer's input.
            attended: (N, D) what attention makes of it.

        Returns:
            (N, D).
        """
        hidden_states = self.attention_norm(hidden_states + self.attention_dropout(attended))
        transformed = self.ffn_dropout(self.ffn(hidden_states))
        return self.ffn_norm(hidden_states + transformed)  # type: ignore[no-any-return]


class BertModel(nn.Module):
    """Embeddings and L encoder layers; the pooler belongs to the heads that use it."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_hidden_layers))
        self.apply(self._initialise)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Packed ids -> the last layer's (N, D).

        Raises:
            ValueError: a sequence with more tokens than the model has positions; on a CPU also an
                id or token type that it has not (a GPU would have to be waited for).
        """
        longest = self.config.max_position_embeddings
        if batch.max_length > longest:
            raise ValueError(
                f"the batch has a sequence of {batch.max_length} tokens, the model only {longest} "
                "positions; cut the text into windows"
            )
        try:
            hidden_states = self.embeddings(batch)  # (N, D)
        except IndexError:  # asking afterwards costs nothing where all is well
            _refuse_out_of_range(batch, self.config)
            raise
        for layer in self.layers:
            hidden_states = layer(hidden_states, batch)
        return hidden_states  # type: ignore[no-any-return]

    def compile_layers(self, backend: str = "inductor") -> None:
        """Compile what is pointwise in the layers: dropout, residual, norm, activation fuse.

        One compilation serves all layers and every number of tokens. Attention stays as it is: its
        kernels are hand-written, and its boundaries differ from batch to batch. Dropout draws other
        masks than without compilation.

        Args:
            backend: of torch.compile.
        """
        for layer in cast("Iterable[EncoderLayer]", self.layers):
            layer.after_attention = torch.compile(  # type: ignore[method-assign]
                layer.after_attention, dynamic=True, backend=backend
            )

    def use_explicit_attention(self, explicit: bool = True) -> None:
        """Compute attention step by step, so that `scores` and `probs` exist (slower), or fused."""
        for module in self.modules():
            if isinstance(module, AttentionCore):
                module.explicit = explicit

    def _initialise(self, module: nn.Module) -> None:
        initialise(module, self.config.initializer_range)


def _refuse_out_of_range(batch: PackedBatch, config: BertConfig) -> None:
    """Name the first of a batch's numbers that has no row in its table.

    Raises:
        ValueError: there is one.
    """
    for name, values, rows in (
        ("input_ids", batch.input_ids, config.vocab_size),
        ("position_ids", batch.position_ids, config.max_position_embeddings),
        ("token_type_ids", batch.token_type_ids, config.type_vocab_size),
    ):
        wrong = values[(values < 0) | (values >= rows)]
        if rows and len(wrong):
            raise ValueError(
                f"{name} hold {wrong[0].item()}, the model knows 0 to {rows - 1}; the batch was "
                "made for another model"
            )


def initialise(module: nn.Module, std: float) -> None:
    """New weights as BERT makes them: N(0, std), biases 0, norms (1, 0)."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
