"""Round trips between places from their distance: two lines, never faster than light in fibre.

    round_trip_ms(d) = max(fibre_ms(d), near(d))                      up to near_km
                       max(fibre_ms(d), far(d), near(near_km))        beyond
    near(d), far(d)  = base_ms + ms_per_km * d
    fibre_ms(d)      = 2 * d * 1.468 / 299,792.458 km/s

The lines are fitted by least absolute deviations, which a few wrong measurements cannot
pull: far on all pairs, near on those up to `near_km`. Beyond it the near line's end is a
floor, so a longer way never takes less time.

Units:   km, degrees, ms (round trips).
Shapes:  arrays broadcast; a fit takes (pairs,).
Source:  mean Earth radius 6371.0088 km (IUGG); refractive index of fibre 1.468 (ITU-T
         G.652 fibre at 1550 nm); the shipped lines: plan/tables/latency.csv.
"""

from dataclasses import dataclass
from typing import Final

import highspy
import numpy as np
from numpy.typing import ArrayLike, NDArray

from skerry.base.units import MS_PER_SECOND
from skerry.fleet.links import EARTH_RADIUS_KM
from skerry.plan.assumptions import Assumptions
from skerry.plan.site.highs import QuietHighs

Floats = NDArray[np.float64]

LIGHT_KM_PER_S: Final = 299_792.458
FIBRE_INDEX: Final = 1.468
NEAR_KM: Final = 2500.0


def haversine_km(lat_a: ArrayLike, lon_a: ArrayLike, lat_b: ArrayLike, lon_b: ArrayLike) -> Floats:
    """Return great-circle distances between points in degrees."""
    one, other = np.radians(np.asarray(lat_a)), np.radians(np.asarray(lat_b))
    turn = np.radians(np.asarray(lon_b) - np.asarray(lon_a))
    h = np.sin((other - one) / 2) ** 2 + np.cos(one) * np.cos(other) * np.sin(turn / 2) ** 2
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(1.0, h))))


def vacuum_ms(distance_km: Floats) -> Floats:
    """Return the least round trip that light in a vacuum allows."""
    return 2 * distance_km / LIGHT_KM_PER_S * MS_PER_SECOND


def fibre_ms(distance_km: Floats) -> Floats:
    """Return the least round trip over straight fibre."""
    return vacuum_ms(distance_km) * FIBRE_INDEX


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A round trip that grows with distance."""

    base_ms: float
    ms_per_km: float

    def __call__(self, distance_km: Floats) -> Floats:
        """Return the line's round trips."""
        return self.base_ms + self.ms_per_km * distance_km


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyModel:
    """Two lines and where the near one ends."""

    near: Line
    far: Line
    near_km: float = NEAR_KM

    def round_trip_ms(self, distance_km: Floats) -> Floats:
        """Return the estimate for each distance; more distance never takes less time."""
        near = self.near(np.minimum(distance_km, self.near_km))
        beyond = np.maximum(near, self.far(distance_km))
        line = np.where(distance_km <= self.near_km, near, beyond)
        return np.maximum(line, fibre_ms(distance_km))


def shipped_model(inputs: Assumptions) -> LatencyModel:
    """Return the model of the shipped table `latency`."""
    return LatencyModel(
        near=Line(
            base_ms=inputs["latency_near_base_ms"], ms_per_km=inputs["latency_near_ms_per_km"]
        ),
        far=Line(base_ms=inputs["latency_far_base_ms"], ms_per_km=inputs["latency_far_ms_per_km"]),
        near_km=inputs["latency_near_km"],
    )


def fit_model(distance_km: Floats, round_trip_ms: Floats) -> LatencyModel:
    """Fit both lines; the near one needs two distances below `NEAR_KM`, else it is the far one."""
    far = fit_line(distance_km, round_trip_ms)
    close = distance_km <= NEAR_KM
    enough = close.any() and np.ptp(distance_km[close]) > 0
    near = fit_line(distance_km[close], round_trip_ms[close]) if enough else far
    return LatencyModel(near=near, far=far)


def fit_line(distance_km: Floats, round_trip_ms: Floats) -> Line:
    """Return the line with the least sum of absolute deviations.

    Solved as the dual linear program, two rows however many pairs there are:
    maximise sum u_i y_i with sum u_i = 0, sum u_i d_i = 0, -1 <= u_i <= 1; the line is the
    rows' multipliers. Distances are scaled by their largest, for the solver's tolerances.
    Raises `ValueError` where all distances are the same.
    """
    if len(distance_km) < 2 or np.ptp(distance_km) == 0:
        raise ValueError("a line needs pairs at two distances at least")
    pairs, scale = len(distance_km), float(distance_km.max())
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = pairs, 2
    program.col_cost_ = -round_trip_ms
    program.col_lower_, program.col_upper_ = np.full(pairs, -1.0), np.ones(pairs)
    program.row_lower_ = program.row_upper_ = np.zeros(2)
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    program.a_matrix_.start_ = np.arange(0, 2 * pairs + 1, 2, dtype=np.int32)
    program.a_matrix_.index_ = np.tile(np.array([0, 1], dtype=np.int32), pairs)
    program.a_matrix_.value_ = np.column_stack([np.ones(pairs), distance_km / scale]).ravel()
    solver = QuietHighs()
    solver.passModel(program)
    solver.run()
    base, slope = (-value for value in solver.getSolution().row_dual)
    return Line(base_ms=base, ms_per_km=slope / scale)


def fibre_ratio_percentiles(
    distance_km: Floats, round_trip_ms: Floats
) -> list[tuple[float, float, int, tuple[float, float, float]]]:
    """Return, per band of distance: low and high end in km, pairs, and p10, p50, p90.

    The ratio is the round trip over the fibre limit; bands without pairs are left out.
    """
    found = []
    for low, high in RATIO_BANDS_KM:
        inside = (distance_km >= low) & (distance_km < high)
        if inside.any():
            ratio = round_trip_ms[inside] / fibre_ms(distance_km[inside])
            p10, p50, p90 = (float(value) for value in np.percentile(ratio, [10, 50, 90]))
            found.append((low, high, int(inside.sum()), (p10, p50, p90)))
    return found


RATIO_BANDS_KM: Final = ((100.0, 500.0), (500.0, 1500.0), (1500.0, 5000.0), (5000.0, np.inf))
