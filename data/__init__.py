"""Text to tensors: tokenizer, SQuAD reader, stride windows, batches, downloads, the demo's data."""
