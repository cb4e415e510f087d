"""Kafka, MinIO, OpenSearch and PostgreSQL on a bare machine: ``python -m tools.services start|stop|status|logs``.

As a library, for tests: ``async with KafkaServer(folder) as kafka:``, then ``kill()``, ``start()``, ``wipe()``,
``pause()``. Each server's module says how it gets here; ``install`` keeps what was fetched, ``server`` runs it.
"""
