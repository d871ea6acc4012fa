"""The command line: a guided first run, on a data set that ships with fastgd or on your own data."""
