"""Put on PYTHONPATH by a test: makes workers, and only workers, follow DEPTHSCOPE_SABOTAGE and their plan.

Otherwise a worker runs the product's own code, started by its engine. Commands may get shorter timeouts, and engines
read the boot id from a file.
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
