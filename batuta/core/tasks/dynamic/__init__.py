"""Nodes that are known only when the run gets there: DYNAMIC and FORK_JOIN_DYNAMIC.

Each task of such a node carries in its ``origin`` what makes the node again after a reload;
``Graph.node_of`` does so. Source: semantics.md c.7, c.9.
"""
