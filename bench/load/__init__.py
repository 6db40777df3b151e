"""One workload a file; each returns figures, none judges them."""
