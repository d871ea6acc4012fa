"""One fit, from checked options to the result."""
