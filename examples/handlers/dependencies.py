# /// script
# dependencies = ["humanize>=4"]
# ///
"""Packages of the handler's own: built once when it is saved, before the first event."""

import humanize


def handler(event, context):
    return humanize.naturalsize(event.get("bytes", 0))
