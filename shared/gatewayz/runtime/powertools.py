"""Powertools on Lambda, for the functions that can afford them: partial batches, metrics, log keys.

Loaded by the faces of workers, schedules and the control plane, and on Lambda only; the data plane
never does (a test holds it). Lines and metrics are the same as elsewhere, field by field.
"""

import logging
import sys
from collections.abc import Callable, Collection
from typing import Any

import orjson
from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import (
    AmazonCloudWatchEMFProvider,
)
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from gatewayz.core import clock
from gatewayz.core.log import json_line, use_handler
from gatewayz.core.metrics import Metric, use_writer

# What Lambda knows of an invocation; `request_id` is ours and stays so.
KEYS = ("cold_start", "function_name", "function_request_id")
SERVICE = "gatewayz"


class _Lines(LambdaPowertoolsFormatter):
    """Our line, with the keys of the invocation at its end."""

    def format(self, record: logging.LogRecord) -> str:
        known = {key: self.log_format[key] for key in KEYS if key in self.log_format}
        return orjson.dumps(json_line(record) | known, default=str).decode()


def face(handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`handler` with the invocation's keys on every line, and metrics written by Powertools."""
    stream = logging.StreamHandler(sys.stderr)
    logger = Logger(service=SERVICE, logger_handler=stream, logger_formatter=_Lines())
    use_handler(stream)
    use_writer(write_metric)
    wrapped: Callable[[Any, Any], Any] = logger.inject_lambda_context(handler)
    return wrapped


def partial_answer(records: list[dict[str, Any]], done: Collection[str]) -> dict[str, Any]:
    """What SQS is told of a batch: the messages that are not done come again, alone.

    When none is done the invocation fails as a whole (BatchProcessingError), which alarms see.
    """
    processor = BatchProcessor(event_type=EventType.SQS)

    def check(record: SQSRecord) -> None:
        if record.message_id not in done:
            raise ValueError("not done; its own log line says why")

    with processor(records, check):
        processor.process()
    answer: dict[str, Any] = processor.response()  # type: ignore[assignment]
    return answer


def write_metric(
    namespace: str, name: str, known: Metric, labels: dict[str, str], values: list[int]
) -> None:
    """One EMF line, as core/metrics.py writes it."""
    line = AmazonCloudWatchEMFProvider(namespace=namespace)
    line.set_timestamp(clock.now_ms())
    for label, value in labels.items():
        line.add_dimension(label, value)
    for each in values:
        line.add_metric(name, known.unit, each)
    line.flush_metrics()
