"""Find the description of AWS Lambda that comes with botocore, without loading botocore."""

from __future__ import annotations

import gzip
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from triggerhub.aws.service import Service

VERSION = "2015-03-31"


@cache
def service() -> Service:
    """Return the service; read when it is first asked for, which a hub that nobody asks this way never does.

    OSError where the installation is damaged.
    """
    spec = find_spec("botocore")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("botocore, which has the description of AWS Lambda, is not installed")
    folder = Path(spec.origin).parent / "data" / "lambda" / VERSION
    return Service(json.loads(gzip.decompress((folder / "service-2.json.gz").read_bytes())))
