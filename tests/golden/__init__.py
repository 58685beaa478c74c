"""Activations of two tiny transformers models, so that parity is tested without transformers."""
