"""Kernels that loop over rows or columns on the CPU."""
