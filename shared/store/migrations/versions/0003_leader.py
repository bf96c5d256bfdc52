"""The replica of a service that leads while the others stand by."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "leader",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("term", sa.BigInteger, nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO leader (name, holder, term, beat) VALUES ('leader', '', 0, 0)")


def downgrade() -> None:
    op.drop_table("leader")
