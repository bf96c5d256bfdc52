"""The gateway for samples: Prometheus remote write and OTLP over HTTP, MetricBatch over AMQP.

Both end in the same place: batches by partition of their machine, appended to the sample streams
and confirmed by the broker before the sender hears a yes.
"""
