"""`lab lab` asks for a token whatever a person's own Jupyter settings say: these are read last."""

import os

c = get_config()  # noqa: F821  (Jupyter's, there while it reads this file)
c.IdentityProvider.token = os.environ["JUPYTER_TOKEN"]
