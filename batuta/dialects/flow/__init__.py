"""The flow builder: a list of nodes that run one after another, with references between them."""
