"""Logs: JSON lines on standard error, through structlog; the standard library's records take the same way.

Never a prompt, an answer, a key, a token or a ticket: callers pass fields, not texts, and no queries of URLs.
"""

import logging.config
import sys
from typing import Any

import structlog


def configure(level: str = "INFO") -> None:
    """Send everything to standard error as JSON lines. Repeating is safe."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "json": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        structlog.processors.JSONRenderer(),
                    ],
                    "foreign_pre_chain": shared,
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "stream": sys.stderr, "formatter": "json"}},
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {
                # Django logs each refused request; our own line for the request says it already.
                "django.request": {"level": "ERROR"},
                "django.security": {"level": "CRITICAL"},
                # At DEBUG it logs the values of each statement: prompts, answers, password hashes.
                "django.db.backends": {"level": "INFO"},
                "httpx": {"level": "WARNING"},
                "uvicorn": {"level": "WARNING"},
                "asyncio": {"level": "WARNING"},
            },
        }
    )
