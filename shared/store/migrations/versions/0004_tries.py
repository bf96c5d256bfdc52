"""Messages of the outbox count how often they were sent in vain, so that others go first."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # The process of an upgrade that is still the old one inserts rows without this column.
    op.add_column("outbox", sa.Column("tries", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("outbox", "tries")
