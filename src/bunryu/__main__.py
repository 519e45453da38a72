"""``python -m bunryu``."""

from bunryu.cli.app import entry

if __name__ == "__main__":
    entry()
