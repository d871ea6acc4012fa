"""How parameters move: one file for each kind of solver."""
