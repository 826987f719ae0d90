"""Be the launcher on a host that has no user namespace left for the worker that root makes one for."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import refusing

sys.path.pop(0)
refusing.launch((refusing.UNSHARE,), refusing.OF_USERS, refusing.ENOSPC)
