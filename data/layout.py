"""How question and context stand in a window: BERT's way, and the mistakes that one can make.

The mistakes are those of a report that got an F1 of 32 on SQuAD 2.0; each can be switched on, to
see what it costs (docs/results.md). A model keeps the layout it was trained with.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Where things stand in a window.

    Attributes:
        truncate: one window for a question; what the context has beyond it is never read.
        context_first: [CLS] context [SEP] question [SEP], in place of the question first.
        token_types: 0 in the first segment, 1 in the second; False for 0 in both, as a DistilBERT
            tokenizer gives them to BERT.
    """

    truncate: bool = False
    context_first: bool = False
    token_types: bool = True


PLAIN = Layout()
