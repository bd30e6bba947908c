"""The consumer side of Pub/Sub, for pull subscriptions: what the local dispatcher and tests work with.

Unary pulls, because the emulator's streaming pull ignores `max_outstanding_messages`. A pull that waits gets a message
a few milliseconds after it was published.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
from google.api_core import exceptions as api
from google.auth.exceptions import DefaultCredentialsError
from google.pubsub_v1 import AcknowledgeRequest, ModifyAckDeadlineRequest, PullRequest, PullResponse, SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from shared.adapters.google_cloud import line, no_credentials
from shared.adapters.pubsub import check_project
from shared.errors import StoreUnavailable

TIMEOUT_S = 10.0
ANSWER_S = 1.0  # so long before a pull's deadline the emulator says that there is nothing
MAX_ACK_DEADLINE_S = 600
MAX_ACK_IDS = 1_000  # keeps a request under the 512 KiB that the service takes


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it was pulled. *attempt* counts deliveries from 1; 0 where there is no dead-letter policy."""

    ack_id: str
    attempt: int
    message_id: str
    data: bytes
    attributes: Mapping[str, str]
    published_at: datetime


class PubSubConsumer:
    """Pulls from and answers to the subscriptions of *project*; safe in threads.

    Raises:
        SettingsError: *project* is no project id, or there are no credentials.
    """

    def __init__(self, project: str) -> None:
        check_project(project)
        self._project = project
        try:
            # Two connections, so that waiting pulls can be ended and the last answers still given.
            self._pulls, self._answers = _client(), _client()
        except DefaultCredentialsError as error:
            raise no_credentials("Pub/Sub", error) from None

    def path(self, subscription: str) -> str:
        """Return the full name of a subscription."""
        return f"projects/{self._project}/subscriptions/{subscription}"

    def pull(self, subscription: str, limit: int, wait_s: float) -> list[Received]:
        """Return at most *limit* messages, as soon as there is one; none after about *wait_s*, or `interrupt`.

        Raises:
            StoreUnavailable: no answer, or there is no such subscription.
        """
        request = PullRequest(subscription=self.path(subscription), max_messages=limit)
        try:
            response = self._pulls.pull(request, retry=None, timeout=wait_s + ANSWER_S)
        except (api.DeadlineExceeded, api.Cancelled):
            return []
        except api.GoogleAPIError as error:
            raise StoreUnavailable(f"the subscription {subscription!r} cannot be pulled from: {line(error)}") from None
        return [_received(row) for row in PullResponse.pb(response).received_messages]

    def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """Be done with messages. Raises StoreUnavailable; then they come again when their leases end."""
        for start in range(0, len(ack_ids), MAX_ACK_IDS):
            request = AcknowledgeRequest(
                subscription=self.path(subscription), ack_ids=ack_ids[start : start + MAX_ACK_IDS]
            )
            self._answer(self._answers.acknowledge, request)

    def nack(self, subscription: str, ack_ids: Sequence[str]) -> None:
        """Give messages back. Raises StoreUnavailable; then they come again when their leases end."""
        self.modify_ack_deadline(subscription, ack_ids, 0)  # which is how Pub/Sub spells it

    def modify_ack_deadline(self, subscription: str, ack_ids: Sequence[str], seconds: int) -> None:
        """Have messages leased for *seconds*, at most MAX_ACK_DEADLINE_S, from now. Raises StoreUnavailable."""
        for start in range(0, len(ack_ids), MAX_ACK_IDS):
            request = ModifyAckDeadlineRequest(
                subscription=self.path(subscription),
                ack_ids=ack_ids[start : start + MAX_ACK_IDS],
                ack_deadline_seconds=seconds,
            )
            self._answer(self._answers.modify_ack_deadline, request)

    def interrupt(self) -> None:
        """End the pulls that wait; there can be none afterwards."""
        self._pulls.transport.close()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the connections."""
        self.interrupt()
        self._answers.transport.close()  # type: ignore[no-untyped-call]

    def _answer(self, call: Any, request: Any) -> None:
        try:
            call(request, retry=None, timeout=TIMEOUT_S)
        except api.GoogleAPIError as error:
            raise StoreUnavailable(f"Pub/Sub did not take an answer: {line(error)}") from None


def _client() -> SubscriberClient:
    """Return a client that, unlike the library's own for the emulator, takes messages of more than 4 MiB."""
    host = os.environ.get("PUBSUB_EMULATOR_HOST")
    if not host:
        return SubscriberClient()
    channel = grpc.insecure_channel(host, options=[("grpc.max_receive_message_length", -1)])
    return SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))


def _received(row: Any) -> Received:
    message = row.message
    return Received(
        row.ack_id,
        row.delivery_attempt,
        message.message_id,
        message.data,
        dict(message.attributes),
        message.publish_time.ToDatetime(UTC),
    )
