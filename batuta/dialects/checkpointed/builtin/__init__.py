"""Class workflows that every server has; a folder of the operator's with the same id wins."""
