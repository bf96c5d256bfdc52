"""Alembic's entry: run the migrations on the connection we were handed."""

from alembic import context

from shared.store.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
