"""What can be wrong with energy figures."""

from skerry.base.errors import SkerryError


class EnergyError(SkerryError):
    """The root of every error about power, energy and carbon."""

    code = "E1500"
