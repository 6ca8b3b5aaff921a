"""A program that serves `/health` on a port, and leaves what real servers leave: children, daemons, a slow stop.

Stands for any server that Corral runs; nothing of a particular one is imitated. The first argument is the port, then:
`late SECONDS` is ready after that time, `daemon` starts a process in a session of its own, `stubborn` ignores SIGTERM,
`fail` prints a reason and ends with exit code 3, `environment` prints what it was handed, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

STARTED_AT = time.monotonic()
ASKED = sys.argv[2:]


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        late = float(ASKED[ASKED.index("late") + 1]) if "late" in ASKED else 0.0
        ready = self.path == "/health" and time.monotonic() - STARTED_AT >= late
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())

    def log_message(self, *_: object) -> None:
        """The log is for what the program says."""


if "fail" in ASKED:
    sys.exit("no memory for the model")
if "stubborn" in ASKED:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "daemon" in ASKED:
    subprocess.Popen(["sleep", "7301"], start_new_session=True)
    os.system("setsid sleep 7302 &")
if "environment" in ASKED:
    sys.stderr.write(json.dumps({"folder": os.getcwd(), "arguments": ASKED, "variables": dict(os.environ)}) + "\n")
sys.stderr.write("listening\n")
sys.stderr.flush()
HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
