"""The handler that attacks: its event names the attacks and describes the world."""

from __future__ import annotations

import attack
import calling
import filling
import holding
import outliving
import procfs
import reaching
import reading
import rising
import signalling
import speaking
import writing

MODULES = (calling, filling, holding, outliving, procfs, reaching, reading, rising, signalling, speaking, writing)


def handler(event, context):
    if "echo" in event:
        return event["echo"]
    found = [attack.ATTACKS[name] for name in event["attacks"]]
    world = {**event["world"], "request": context.aws_request_id}
    return [attack.run(one, world) if one.alone else attack.run_apart(one, world) for one in found]
