"""Numbers with bounds, of settings and of what is sealed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Channel = Annotated[int, Field(ge=0, le=255)]
Colour = tuple[Channel, Channel, Channel]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
MOST_SIDE = 4096
"""Of a network's input in pixels; what is far above takes all memory before it is said to be too much."""
Side = Annotated[int, Field(ge=1, le=MOST_SIDE)]
MOST_MIDDLE = 1_000_000
Middle = Annotated[int, Field(ge=1, le=MOST_MIDDLE)]
Mean = Annotated[float, Field(ge=-1000.0, le=1000.0)]
Std = Annotated[float, Field(ge=1e-6, le=1000.0)]
