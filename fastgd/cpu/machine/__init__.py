"""What the processor needs: vector code for exp and its like, prefetches, atomics, threads, BLAS."""
