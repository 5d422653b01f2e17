"""In-memory bus: signatures first, bodies follow in the next commit."""


class MemoryHub:
    """The place where `MemoryBus`es meet; streams outlive buses."""

    def bus(self) -> "MemoryBus":
        """Return one more client (implements `skerry.spine.bus.Bus`)."""
        raise NotImplementedError


class MemoryBus:
    """`Bus` without a server. `cut()` and `heal()` make it unreachable and back."""
