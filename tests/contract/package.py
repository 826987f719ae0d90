"""Make archives of code, and wait as boto3's users do."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from typing import Any

ROLE = "arn:aws:iam::000000000000:role/any"
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
VERSION = "import os\nanswer = {answer!r}\ndef handler(event, context):\n    return {{'answer': answer, 'version': context.function_version, 'name': context.function_name, 'arn': context.invoked_function_arn, 'env': os.environ.get('WHO')}}\n"


def zipped(files: dict[str, str | bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return made.getvalue()


def answering(answer: Any) -> bytes:
    """The archive of a function that returns *answer*, and what it is told of itself."""
    return zipped({"app.py": VERSION.format(answer=answer)})


def create(lambdas: Any, name: str, code: bytes, **given: Any) -> Any:
    """Create a function of *code* and wait until it is active."""
    asked = {"Runtime": RUNTIME, "Handler": "app.handler", "Role": ROLE, "Code": {"ZipFile": code}, **given}
    answer = lambdas.create_function(FunctionName=name, **asked)
    lambdas.get_waiter("function_active_v2").wait(FunctionName=name)
    return answer


def opened(lambdas: Any, name: str, **given: Any) -> None:
    """Let everybody call a function by its URL: both permissions that it takes."""
    everybody = {"FunctionName": name, "Principal": "*", **given}
    lambdas.add_permission(
        **everybody, StatementId="open", Action="lambda:InvokeFunctionUrl", FunctionUrlAuthType="NONE"
    )
    lambdas.add_permission(**everybody, StatementId="call", Action="lambda:InvokeFunction", InvokedViaFunctionUrl=True)


def called(lambdas: Any, name: str, **given: Any) -> Any:
    answer = lambdas.invoke(FunctionName=name, **given)
    return json.loads(answer["Payload"].read())
