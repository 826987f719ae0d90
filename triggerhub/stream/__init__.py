"""Read a sharded stream and hand its records to the hub: what the sources ``dynamodb`` and ``kinesis`` share."""
