"""The traversals for CUDA: what they compute is the leaves', how they walk over the data is theirs."""
