"""Training: options, optimizer, the loop, checkpoints, run folders, and the training commands."""
