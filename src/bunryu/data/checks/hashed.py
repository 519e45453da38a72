"""Files of a table as a source of pictures that hashes what is read, so that nobody opens them for a digest alone."""

from __future__ import annotations

from bunryu.data.checks.verdict import read_once, stamp_of
from bunryu.data.images.decode import Source
from bunryu.data.table import Table


class Hashed:
    """A source of pictures, for several threads.

    Attributes:
        digests: row -> hash (hex) of each file that was read so far.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self.digests: dict[int, str] = {}

    def __call__(self, row: int) -> Source:
        """Return what the row's file holds; its path where it cannot be read, is large, or was hashed before."""
        file = self._table.file(row)
        stamp = stamp_of(file)
        if isinstance(stamp, str) or row in self.digests:
            return file  # who opens it says what is wrong
        try:
            digest, content = read_once(file, stamp)
        except OSError:
            return file
        self.digests[row] = digest.hex()
        return file if content is None else content
