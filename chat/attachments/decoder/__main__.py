"""Decode files from standard input to standard output, within limits of memory and time."""

import os
import resource
import sys

from chat.attachments.decoder import files
from chat.attachments.decoder.results import LIMITS, Decoded, File, Refused, read_files, write_results


def main() -> None:
    """Decode all files; one that fails does not affect the others."""
    _limit()
    results = [_decoded(file) for file in read_files(sys.stdin.buffer)]
    sys.stdout.buffer.write(write_results(results))


def _limit() -> None:
    """Bound what this process may use; a file then ends it at worst."""
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (LIMITS.memory_bytes, LIMITS.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (LIMITS.cpu_seconds, LIMITS.cpu_seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _decoded(file: File) -> Decoded | Refused:
    try:
        return files.checked(file, LIMITS) if file.media_type else files.decoded(file, LIMITS)
    except Refused as refused:
        return Refused(refused.reason, refused.subject)
    except (MemoryError, RecursionError):
        return Refused("costly")
    except Exception:  # noqa: BLE001  (parsers of hostile files raise anything; the file is refused, not passed on)
        return Refused("damaged", files.recognised(file.content))


if __name__ == "__main__":
    main()
