"""Records, inbox and outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "records",
        sa.Column("collection", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(300), primary_key=True),
        sa.Column("group_key", sa.String(300)),
        sa.Column("status", sa.String(64)),
        sa.Column("due_at", _moment),
        sa.Column("ordinal", _serial, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
    )
    op.create_index("records_by_status", "records", ["collection", "status", "ordinal"])
    op.create_index("records_by_group", "records", ["collection", "group_key", "ordinal"])
    op.create_index("records_by_due", "records", ["collection", "due_at"])
    op.create_table(
        "inbox",
        sa.Column("queue", sa.String(200), primary_key=True),
        sa.Column("message_id", sa.String(300), primary_key=True),
        sa.Column("handled_at", _moment, nullable=False),
    )
    op.create_index("ix_inbox_handled_at", "inbox", ["handled_at"])
    op.create_table(
        "outbox",
        sa.Column("id", _serial, primary_key=True, autoincrement=True),
        sa.Column("exchange", sa.String(200), nullable=False),
        sa.Column("routing_key", sa.String(255), nullable=False),
        sa.Column("message_id", sa.String(300), nullable=False),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("mandatory", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("created_at", _moment, nullable=False),
    )


def downgrade() -> None:
    for table in ("outbox", "inbox", "records"):
        op.drop_table(table)
