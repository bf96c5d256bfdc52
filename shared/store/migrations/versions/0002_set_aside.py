"""Messages of the outbox that can never be published are set aside with the reason."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # The process of an upgrade that is still the old one inserts rows without these columns.
    op.add_column("outbox", sa.Column("refusals", sa.Integer, nullable=False, server_default="0"))
    op.add_column("outbox", sa.Column("set_aside", sa.Text))


def downgrade() -> None:
    op.drop_column("outbox", "set_aside")
    op.drop_column("outbox", "refusals")
