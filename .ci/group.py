"""python .ci/group.py NAME: prints the requirements of a dependency group (PEP 735), one a line.

For pip before 25.1, which knows no `--group`.
"""

import sys
import tomllib
from pathlib import Path

groups = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
print("\n".join(groups[sys.argv[1]]))
