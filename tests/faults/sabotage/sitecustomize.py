"""On PYTHONPATH by a test's doing: workers, and nobody else, then do as DEPTHSCOPE_SABOTAGE and their plan say.

The rest of a worker is the product's own code, started by the product's own engine. Commands may be made impatient, and
engines take the boot id from a file.
"""

import os
import sys
from pathlib import Path

if "console.cli" in sys.orig_argv and (seconds := os.environ.get("DEPTHSCOPE_STALL_SECONDS")):
    import console.text.status

    console.text.status.MIN_STALL_SECONDS = float(seconds)

if "engine.daemon" in sys.orig_argv and (boot := os.environ.get("DEPTHSCOPE_BOOT_FILE")):
    import engine.base.system

    engine.base.system.BOOT_ID = Path(boot)

if "engine.worker" in sys.orig_argv:
    import kill_points

    kill_points.arm(Path(sys.orig_argv[-1]))
    if wanted := os.environ.get("DEPTHSCOPE_SABOTAGE"):
        import taken_out

        taken_out.ALL[wanted]()
