"""The query language of search: its fields, its parser, its meaning, and its SQL."""
