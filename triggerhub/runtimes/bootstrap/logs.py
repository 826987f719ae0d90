"""Set logging up as Lambda does: lines with the request's id, or JSON, from the level that the function asks for.

Read once something imports logging, since most functions do not. Python 3.8 is the oldest that it runs in.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def set_up(logging: Any, worker: Any) -> None:
    """Give the root logger its handler, its format and its level; *worker* is the worker's module."""

    class LambdaHandler(logging.Handler):  # type: ignore[misc]
        def emit(self, record: Any) -> None:
            record.aws_request_id = worker.request_id or ""
            try:
                sys.stdout.write(self.format(record))
            except Exception:
                self.handleError(record)

    class JsonFormatter(logging.Formatter):  # type: ignore[misc]
        def format(self, record: Any) -> str:
            told = {
                "timestamp": self.formatTime(record, "%Y-%m-%dT%H:%M:%SZ"),
                "level": record.levelname,
                "message": record.getMessage(),
                "logger": record.name,
                "requestId": worker.request_id,
            }
            if record.exc_info and record.exc_info[0] is not None:
                kind, error, _ = record.exc_info
                told |= {"errorType": kind.__name__, "errorMessage": str(error), "stackTrace": worker.stack(error)}
            more = {name: value for name, value in vars(record).items() if name not in plain}
            text: str = worker.dumps({**told, **more}, default=str)
            return text + "\n"

    plain = {*vars(logging.makeLogRecord({})), "message", "asctime", "aws_request_id"}
    logging.Formatter.converter = time.gmtime
    handler = LambdaHandler()
    handler.setFormatter(
        JsonFormatter()
        if worker.in_json()
        else logging.Formatter(
            "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n", "%Y-%m-%dT%H:%M:%S"
        )
    )
    logging.getLogger().addHandler(handler)
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    level = "DEBUG" if level == "TRACE" else level
    if isinstance(logging.getLevelName(level), int):
        logging.getLogger().setLevel(level)
