"""`batuta token`: who may start class workflows."""
