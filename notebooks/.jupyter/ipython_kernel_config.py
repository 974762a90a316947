"""Read by every kernel of the environment that lab is installed into, before anything of a notebook runs.

Installing lab puts this file into the environment's etc/ipython, where IPython looks for it whoever starts the kernel:
JupyterLab, VS Code, papermill. A kernelspec's "env" would serve only those who go by the kernelspec, and a line in
lab/__init__.py would come too late after `import torch`.
"""

from lab.threads import spin_shortly

spin_shortly()
