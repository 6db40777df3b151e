"""The commands about front doors."""
