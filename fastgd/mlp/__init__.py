"""Networks of two layers and more, by back-propagation."""
