"""What the engine writes down: one SQLite database, written by group commit, and the journal of events in it."""

from ardock.engine.state.records import Changes, Departed, Loaded, NewEvent, Retention
from ardock.engine.state.state import State, open_state

__all__ = ["Changes", "Departed", "Loaded", "NewEvent", "Retention", "State", "open_state"]
