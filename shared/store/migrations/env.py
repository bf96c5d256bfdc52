"""Alembic's entry point: runs the migrations on the given connection."""

from alembic import context

from shared.store.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
