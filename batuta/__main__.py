"""Let `python -m batuta` be the command `batuta`."""

from batuta.cli.main import main

if __name__ == "__main__":
    main()
