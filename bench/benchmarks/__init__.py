"""The benchmarks, one a file: each has `measure(bench)`, which gives the rows of the table."""
