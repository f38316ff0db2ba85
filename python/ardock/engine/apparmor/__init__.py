"""AppArmor: the profile that containers have by default, and what of it all is in the kernel.

A host without AppArmor costs one read, in `ardock.engine.facts`; nothing here is called there.
"""

from __future__ import annotations

from ardock.engine.apparmor.kernel import Support, missing, support
from ardock.engine.apparmor.loading import Profile
from ardock.engine.apparmor.profile import NAME, UNCONFINED

__all__ = ["NAME", "UNCONFINED", "Profile", "Support", "missing", "support"]
