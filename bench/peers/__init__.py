"""Other engines on the same machine, in one run beside ours; none of them is a dependency."""
