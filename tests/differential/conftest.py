"""How much hypothesis tries: MOODLOOP_TEST_EXAMPLES programs of each kind, from a fixed seed unless
it is set."""

import os

from hypothesis import HealthCheck, settings

EXAMPLES = os.environ.get("MOODLOOP_TEST_EXAMPLES", "")

settings.register_profile(
    "moodloop",
    max_examples=int(EXAMPLES or 150),
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("moodloop")
