"""Alembic's way in: upgrades run on the connection that `service.jobs.database` opened."""

from alembic import context

from service.jobs.database import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    transactional_ddl=False,
)
context.run_migrations()
