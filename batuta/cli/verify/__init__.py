"""`batuta verify`: a check list, item by item, against a server of its own."""
