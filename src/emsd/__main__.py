"""`python -m emsd` is `emsd`."""

from emsd.cli import app

app()
