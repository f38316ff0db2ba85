"""Following the journal: a subscriber is a cursor on it, and reads at its own pace."""

from ardock.engine.events.service import JournalEvents
from ardock.engine.events.subscription import Subscription

__all__ = ["JournalEvents", "Subscription"]
