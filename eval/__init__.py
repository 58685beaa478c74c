"""Judging: logits to answers, answers to scores, scores to pictures, and the commands for them."""
