"""What the engine writes down: one SQLite database, written by group commit, and the journal of events in it."""

from ardock.engine.state.opening import open_state
from ardock.engine.state.records import Changes, Departed, Loaded, NewEvent, Retention
from ardock.engine.state.state import State

__all__ = ["Changes", "Departed", "Loaded", "NewEvent", "Retention", "State", "open_state"]
