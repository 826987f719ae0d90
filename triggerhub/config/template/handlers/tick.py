"""Tell the time. A handler may be a coroutine."""

import asyncio


async def handler(event, context):
    await asyncio.sleep(0.1)
    print(f"it is {event['time']}")
