"""Records of SQLite are under keys that fit the columns, as those of PostgreSQL always were.

SQLite keeps texts of any length. Since records are looked for by texts that fit, those that were
stored under longer ones could be listed, and neither be changed nor be deleted.
"""

import sqlalchemy as sa
from alembic import op

from shared.store.collection import fitted, fitted_or_none

revision = "0006"
down_revision = "0005"

_FOUND = """
SELECT collection, key, group_key FROM records
WHERE length(key) > 300 OR length(group_key) > 300
   OR instr(key, char(0)) OR instr(group_key, char(0))
"""
_FITTED = """
UPDATE OR IGNORE records SET key = :fitted, group_key = :group_key
WHERE collection = :collection AND key = :key
"""
_LEFT = "DELETE FROM records WHERE collection = :collection AND key = :key"


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        return
    for collection, key, group_key in connection.execute(sa.text(_FOUND)).all():
        row = {"collection": collection, "key": key}
        fits = {"fitted": fitted(key), "group_key": fitted_or_none(group_key)}
        changed = connection.execute(sa.text(_FITTED), row | fits).rowcount
        if not changed:  # what was stored since then, under the key that fits, is newer
            connection.execute(sa.text(_LEFT), row)


def downgrade() -> None:
    """Shorter keys are found by every version that looks for them."""
