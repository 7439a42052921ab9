"""`python -m crediting` is `credit`."""

from crediting.cli import main

if __name__ == "__main__":
    main()
