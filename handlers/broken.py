"""Fail, so that there is a dead letter to look at. Mend it, save it and redrive."""


def handler(event, context):
    raise ValueError("this handler is broken on purpose")
