"""Be the launcher on a host that answers EPERM to whoever makes a namespace, as Docker's seccomp filter does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import refusing

sys.path.pop(0)
refusing.launch((refusing.CLONE,), refusing.NAMESPACES, refusing.EPERM)
