"""How torch's threads wait for each other: to be settled before torch is imported."""

from __future__ import annotations

import os
import sys


def wait_patiently() -> None:
    """Let idle threads sleep instead of spin, unless OMP_WAIT_POLICY says otherwise or torch is there already.

    Spinning threads of one operation take the cores from the threads that decode, and from every other program: on
    2 cores with one busy neighbour a small net trained 7 times slower. Results are the same bits either way.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
