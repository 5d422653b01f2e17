"""The door to HiGHS: a solver that says nothing on stdout and gives the same answer twice.

HiGHS writes a banner while its Python class sets itself up, before an option can silence
it; stdout carries this program's JSON. Here silence comes first.

Units:   seconds for the limit.
"""

import math

import highspy

GAP = 1e-7


class QuietHighs(highspy.Highs):
    """One thread, a fixed seed, no output; stops at a relative gap of 1e-7."""

    def __init__(self, *, seconds: float = math.inf) -> None:
        super(highspy.Highs, self).__init__()  # the bare solver: the class above would speak
        for name, value in (
            ("output_flag", False),
            ("time_limit", seconds),
            ("mip_rel_gap", GAP),
            ("mip_abs_gap", GAP),
            ("threads", 1),
            ("random_seed", 1),
        ):
            self.setOptionValue(name, value)
