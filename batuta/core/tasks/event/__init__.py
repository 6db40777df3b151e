"""Tasks that publish: EVENT for event handlers, KAFKA_PUBLISH not at all."""
