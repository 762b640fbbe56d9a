"""A forked process is what a new one would be, but for its imports."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import forked
import pytest

LOOK = """
import json, os, sys
print(json.dumps({
    "argv": sys.argv, "folder": os.getcwd(), "environment": dict(os.environ), "stdin": sys.stdin.read(),
    "threads": len(os.listdir("/proc/self/task")), "modules": sorted(sys.modules),
}))
print("é", file=sys.stderr)
sys.exit(3)
"""


def test_it_has_its_own_streams_folder_and_environment_and_one_thread(tmp_path: Path) -> None:
    line = [sys.executable, "-c", LOOK, "a b", "--c"]
    done = forked.run(line, input="in", cwd=tmp_path, env={"ONLY": "this"}, capture_output=True, text=True)
    seen = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (3, "é\n")
    assert (seen["argv"], seen["folder"], seen["stdin"]) == (["-c", "a b", "--c"], str(tmp_path), "in")
    assert seen["environment"] == {"ONLY": "this"}
    assert seen["threads"] == 1
    assert set(forked.PRELOADED) - set(seen["modules"]) == set()


def test_it_is_waited_for_and_killed() -> None:
    with forked.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        with pytest.raises(forked.TimeoutExpired):
            process.wait(0.1)
        assert process.poll() is None
        process.kill()
        assert process.wait() == process.poll() == -signal.SIGKILL
