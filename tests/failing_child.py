"""`failing_child.py FOLDER RECIPE MEGABYTES`: `launch.py train RECIPE` where no more than so much memory can be had beyond what the libraries
take. Linux."""

import resource
import sys
from pathlib import Path

import core
from core.trainer.run import main


def limit(megabytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    core.BertForSequenceClassification, core.Trainer, core.AutoTokenizer  # noqa: B018 - imported before the limit
    limit(int(sys.argv[2]))
    sys.exit(main(sys.argv[1], []))
