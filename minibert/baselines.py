"""What BERT must beat: three small classifiers of texts, on the same packed batches of ids.

SoftmaxRegression   ids of words and word pairs -> TF-IDF (V) -> linear (V -> C)
FeedForwardNet      ids of words -> mean of their embeddings (E) -> hidden layers (F)
RecurrentNet        ids of words -> embeddings -> L two-way recurrent layers (2F) -> attention

N words in the batch, B texts, V ids, E embedding_size, F hidden_size, L num_hidden_layers, C
classes; a linear layer ends each. Id 0 is the unknown word, and stands alone in an empty text.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from minibert.baseline_model import Baseline, BaselineConfig
from minibert.dropout import Dropout
from minibert.packing import PackedBatch

EMBEDDING_STD = 0.1  # of new word embeddings


class SoftmaxRegression(Baseline):
    """Multinomial logistic regression on TF-IDF rows of Euclidean length 1.

    A term that stands n times in a text counts (1 + ln n) * idf (Salton and Buckley 1988), so that
    rows are those of scikit-learn's TfidfVectorizer(sublinear_tf=True). The weights begin at 0: the
    problem is convex, and nothing of them is left to chance.

    Args:
        config: of it.
        idf: (V,) float32 inverse document frequencies; id 0, the unknown term, counts nothing.
            None leaves them to be loaded.
    """

    model_type = "minibert-softmax"

    def __init__(self, config: BaselineConfig, idf: Tensor | None = None) -> None:
        super().__init__(config)
        self.idf: Tensor
        self.register_buffer("idf", torch.zeros(config.vocab_size) if idf is None else idf)
        self.dropout = Dropout(config.dropout)
        self.terms = nn.EmbeddingBag(config.vocab_size, config.num_labels, mode="sum")
        self.bias = nn.Parameter(torch.zeros(config.num_labels))
        nn.init.zeros_(self.terms.weight)

    def features(self, batch: PackedBatch) -> tuple[Tensor, Tensor, Tensor]:
        """The sparse rows of a batch.

        Returns:
            (M,) int64 ids, each once a text; (M,) float their values; (B,) int64 where each text's
            begin.
        """
        size = self.config.vocab_size
        keys, counts = torch.unique(
            batch.sequence_index * size + batch.input_ids, return_counts=True
        )  # (M,) each, by text and id
        rows, ids = keys // size, keys % size
        values = (1 + counts.to(self.idf.dtype).log()) * self.idf[ids]
        squares = values.new_zeros(batch.num_sequences).index_add(0, rows, values * values)
        norms = squares.sqrt().clamp(min=torch.finfo(values.dtype).tiny)  # 0 where all is unknown
        texts = torch.arange(batch.num_sequences, device=rows.device)
        return ids, values / norms[rows], torch.searchsorted(rows, texts)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Packed ids -> scores of the classes (B, C)."""
        ids, values, offsets = self.features(batch)
        values = self.dropout(values)
        return self.terms(ids, offsets, values) + self.bias  # type: ignore[no-any-return]


class FeedForwardNet(Baseline):
    """Hidden layers over the mean of a text's word embeddings (Iyyer et al. 2015)."""

    model_type = "minibert-feedforward"

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__(config)
        self.embedding = nn.EmbeddingBag(config.vocab_size, config.embedding_size, mode="mean")
        sizes = [config.embedding_size, *[config.hidden_size] * config.num_hidden_layers]
        self.hidden = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.dropout = Dropout(config.dropout)
        self.classifier = nn.Linear(sizes[-1], config.num_labels)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Packed ids -> scores of the classes (B, C)."""
        starts = batch.cu_seqlens[:-1].to(batch.input_ids.dtype)
        hidden = self.dropout(self.embedding(batch.input_ids, starts))  # (B, E)
        for layer in self.hidden:
            hidden = self.dropout(F.relu(layer(hidden)))  # (B, F)
        return self.classifier(hidden)  # type: ignore[no-any-return]


class RecurrentNet(Baseline):
    """Two-way LSTM or GRU layers, and an attention that weighs their outputs (Yang et al. 2016).

    No step is computed for padding: the layers take the words step by step, at each step those of
    the texts that are not yet at their end.
    """

    model_type = "minibert-birnn"

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__(config)
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[config.cell]
        width = 2 * config.hidden_size
        sizes = [config.embedding_size, *[width] * config.num_hidden_layers]
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.layers = nn.ModuleList(
            kind(size, config.hidden_size, bidirectional=True) for size in sizes[:-1]
        )
        self.dropout = Dropout(config.dropout)
        self.attention = nn.Linear(sizes[-1], config.hidden_size)
        self.query = nn.Linear(config.hidden_size, 1, bias=False)
        self.classifier = nn.Linear(sizes[-1], config.num_labels)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Packed ids -> scores of the classes (B, C)."""
        hidden = self.dropout(self.embedding(batch.input_ids))  # (N, E)
        order, batch_sizes = by_step(batch)
        hidden = hidden.index_select(0, order)  # all first words, all second words, ...
        for layer in self.layers:
            packed, _ = layer(PackedSequence(hidden, batch_sizes))
            through = packed.data  # (N, 2F)
            if self.config.skip_connections and through.shape == hidden.shape:
                through = through + hidden
            hidden = self.dropout(through)
        in_texts = torch.empty_like(hidden).index_copy(0, order, hidden)
        return self.classifier(self.pool(in_texts, batch))  # type: ignore[no-any-return]

    def pool(self, hidden: Tensor, batch: PackedBatch) -> Tensor:
        """(N, 2F) -> (B, 2F): of each text the mean, weighted by attention over its own words."""
        scores = self.query(torch.tanh(self.attention(hidden))).squeeze(-1)  # (N,)
        padded = batch.pad(scores, torch.finfo(scores.dtype).min)  # (B, T), one number a word
        weights = batch.unpad(padded.softmax(-1))  # (N,)
        weighted = weights[:, None] * hidden  # float32 also under autocast, as softmax's result is
        sums = weighted.new_zeros(batch.num_sequences, hidden.shape[1])
        return sums.index_add(0, batch.sequence_index, weighted)


def by_step(batch: PackedBatch) -> tuple[Tensor, Tensor]:
    """The order in which recurrent layers take packed words: step by step, longest text first.

    Returns:
        (N,) int64 numbers of packed words, on the batch's device; (T,) int64 texts at each step, on
        the CPU, where PackedSequence wants them.
    """
    lengths = torch.tensor(batch.lengths)
    longest_first = lengths.argsort(descending=True, stable=True)
    starts = lengths.cumsum(0) - lengths
    steps = torch.arange(batch.max_length)
    alive = lengths[longest_first] > steps[:, None]  # (T, B)
    places = (starts[longest_first] + steps[:, None])[alive]
    return places.to(batch.input_ids.device), alive.sum(1)


KINDS: dict[str, type[Baseline]] = {
    kind.model_type: kind for kind in (SoftmaxRegression, FeedForwardNet, RecurrentNet)
}
