"""Speed and memory beside the peer: both sides alternately, in one run, with the ratio."""
