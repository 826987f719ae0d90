"""What awslambdaric calls."""


def handler(event, context):
    return {"hello": event.get("name", "you"), "left": context.get_remaining_time_in_millis() > 0}
