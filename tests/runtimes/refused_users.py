"""Be the launcher on a host whose policy knows bubblewrap, and refuses user namespaces to everybody else."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import refusing

sys.path.pop(0)
refusing.launch((refusing.CLONE, refusing.UNSHARE), refusing.OF_USERS, refusing.EPERM)
