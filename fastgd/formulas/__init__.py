"""Leaves: plain Python functions of numbers, which the reference, the CPU and CUDA share."""
