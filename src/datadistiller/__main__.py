"""``python -m datadistiller`` is the ``datadistiller`` command."""

from datadistiller.cli.main import main

if __name__ == "__main__":
    main()
