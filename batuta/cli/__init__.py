"""The command `batuta`. Each command is a file; main.py names them all and imports them late."""
