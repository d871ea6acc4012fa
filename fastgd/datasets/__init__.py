"""Readers of image sets, and the data that ships with fastgd."""
