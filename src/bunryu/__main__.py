"""``python -m bunryu``."""

from bunryu.cli import entry

if __name__ == "__main__":
    entry()
