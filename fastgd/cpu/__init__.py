"""The traversals for the CPU: dense rows, statistics and stochastic loops, and what drives them."""
