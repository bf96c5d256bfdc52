"""The outbox of SQLite never gives an id twice, as PostgreSQL's does not.

SQLite gives the next id after the largest one that is there. Two processes or threads may send the
same rows, as the relay does with those of a slow publisher: the second one then took out of the
outbox whatever had been put there under the same ids meanwhile, before the broker had it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _made_anew(sqlite_autoincrement=True)


def downgrade() -> None:
    _made_anew(sqlite_autoincrement=False)


def _made_anew(*, sqlite_autoincrement: bool) -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    op.rename_table("outbox", "outbox_before")
    op.create_table(
        "outbox",
        sa.Column("id", _serial, primary_key=True, autoincrement=True),
        sa.Column("exchange", sa.String(200), nullable=False),
        sa.Column("routing_key", sa.String(255), nullable=False),
        sa.Column("message_id", sa.String(300), nullable=False),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("mandatory", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("refusals", sa.Integer, nullable=False, server_default="0"),
        sa.Column("set_aside", sa.Text),
        sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
        sqlite_autoincrement=sqlite_autoincrement,
    )
    names = (
        "id, exchange, routing_key, message_id, headers, mandatory, body, created_at, refusals, "
        "set_aside, tries"
    )
    op.execute(f"INSERT INTO outbox ({names}) SELECT {names} FROM outbox_before")  # noqa: S608 - constants
    op.drop_table("outbox_before")
