"""Images: named root file systems in a store by content."""

from ardock.engine.images.service import Images

__all__ = ["Images"]
