"""The compact journey: what is free leaves the file, which is then written anew at the size of what lives in it."""

from dataclasses import dataclass

from mlstore.engine.history.staging import sweep
from mlstore.engine.session import Session
from mlstore.engine.writing import upkeep


@dataclass(frozen=True, slots=True)
class CompactReport:
    """The size of the file before and after."""

    bytes_before: int
    bytes_after: int

    @property
    def bytes_freed(self) -> int:
        """How much smaller the file is now."""
        return self.bytes_before - self.bytes_after


def compact(session: Session) -> CompactReport:
    """Write the file anew; see Store.compact."""
    with session.writing() as context:
        sweep(context.writer)
        upkeep.collect(context.writer)
    environment = session.environment
    before = environment.size_bytes
    environment.compact()
    return CompactReport(before, environment.size_bytes)
