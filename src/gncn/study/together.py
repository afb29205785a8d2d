"""`tune_together`: several processes that share the trials of a search.

``python -m gncn.study.together TASK`` is one of them.
"""

import json
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from gncn.base.errors import GncnError, RunError
from gncn.base.files import explained, make_folder, read_json
from gncn.base.hardware import keep_compiled_programs, usable_cores
from gncn.base.interrupts import pause
from gncn.base.progress import Report
from gncn.data import cache_dir
from gncn.study.search import Search
from gncn.study.tune import tune
from gncn.study.worker import Worker, begin, parts_for_worker

_WORKER = (sys.executable, "-m", "gncn.study.together")


def tune_together(
    search: Search,
    model: str,
    data: str,
    out: Path,
    *,
    jobs: int,
    data_dir: str | Path | None = None,
    report: Report = lambda _: None,
    on_trial: Report = lambda _: None,
) -> None:
    """Let `jobs` processes spend what is left of the budget, each with its share of the cores.

    Options are as in `tune`.

    Raises:
        ConfigError: other processes can't get a part that the search names.
        RunError: one of them failed; the others are ended, and their trials will be begun again.
        KeyboardInterrupt: Ctrl-C; they are ended, too.
    """
    task = {
        "search": search.model_dump(mode="json"),
        "model": model,
        "data": data,
        "out": str(out.absolute()),
        "data_dir": None if data_dir is None else str(Path(data_dir).absolute()),
    }
    # Cores are shared out, since XLA would take all of them in every process.
    parts, threads = parts_for_worker(task), max(usable_cores() // jobs, 1)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        description = Path(folder) / "task.json"
        with explained(f"Can't write {description}"):
            description.write_text(json.dumps(task), encoding="utf-8")
        workers = []
        for number in range(jobs):
            place = Path(folder) / str(number)
            make_folder(place)
            workers.append(Worker([*_WORKER, str(description)], place, threads, parts))
            # Whatever ends the block also ends the processes.
            running.callback(workers[-1].stop)
        report(f"{model} on {data}: {jobs} trials at a time")
        while workers:
            pause(0.1)
            for worker in list(workers):
                ended = worker.process.poll()
                # What it said last is still news after it has ended.
                for line in worker.news():
                    on_trial(line)
                if ended is not None:
                    workers.remove(worker)
                    if ended:
                        # Its trials stay unfinished in the journal, and are begun again next time.
                        raise RunError(
                            f"A process of the search {worker.how_it_ended}: "
                            f"{worker.errors.strip()[-300:] or 'it said nothing'}."
                        )


def _work(task: Path) -> None:
    """Do trials in this process until none is left; the task is as `tune_together` writes it."""
    begin()
    keep_compiled_programs(cache_dir() / "compiled")
    told = read_json(task)
    say = partial(print, flush=True)
    try:
        search, out = Search(**told.pop("search")), Path(told.pop("out"))
        # Waits for what others are at, so that the last process leaves nothing undone.
        tune(search, out=out, wait=True, on_trial=say, **told)
    except GncnError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
