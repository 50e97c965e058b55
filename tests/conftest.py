"""Of all tests. A machine that others use, too, may take any time for an example: Hypothesis sets no deadline."""

from hypothesis import settings

settings.register_profile("mesh", deadline=None)
settings.load_profile("mesh")
