"""The command line: a guided first run, on a data set of fastgd or on your own data."""
