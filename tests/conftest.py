"""What all tests share: hypothesis without a clock, since a busy machine is not a failure."""

from hypothesis import settings

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")
