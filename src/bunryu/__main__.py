"""``python -m bunryu``."""

from bunryu.cli import main

if __name__ == "__main__":
    main()
