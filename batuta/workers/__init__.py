"""Functions that do tasks: they poll and report as every worker does, from inside or over HTTP."""
