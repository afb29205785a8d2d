"""The process that does one run: ``python -m gncn.study.worker SPEC RESULT``.

Reads a `RunSpec` as JSON, writes a `Record` as JSON, and says on standard output what it
is doing.  It ends when its standard input does, which is when its parent is gone.
"""

import os
import sys
import threading
from pathlib import Path


def main(spec_path: Path, result_path: Path) -> None:
    """Do the run."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from gncn.base.hardware import keep_compiled_programs
    from gncn.data import cache_dir

    keep_compiled_programs(cache_dir() / "compiled")
    import json

    from gncn.base.files import write_atomic
    from gncn.study.run import attempt
    from gncn.study.spec import RunSpec

    spec = RunSpec(**json.loads(spec_path.read_text()))
    record = attempt(spec, report=_say, scratch=result_path.parent)
    write_atomic(result_path, record.to_json())


def _say(what: str) -> None:
    print(what.replace("\n", " "), flush=True)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
