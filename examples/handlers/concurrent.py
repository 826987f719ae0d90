"""A Python handler may be async; one loop serves all calls of a worker."""

import asyncio


async def greet(name):
    await asyncio.sleep(0.01)
    return f"Hello, {name}!"


async def handler(event, context):
    return await asyncio.gather(*(greet(name) for name in event.get("names", ["you"])))
