"""The commands that ask a server, and those that look after a node's data; a file for each noun."""
