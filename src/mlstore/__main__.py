"""`python -m mlstore` is the command line."""

from mlstore.cli import main

if __name__ == "__main__":
    main()
