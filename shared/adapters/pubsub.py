"""`EventBus` on Pub/Sub.

Uses the generated client: it publishes in the caller's thread and knows when the service has the messages, whereas the
batching one on top of it keeps threads and waits 10 ms for company. It goes to the emulator by itself when
`PUBSUB_EMULATOR_HOST` is set.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from google.api_core import exceptions as api
from google.api_core.retry import Retry, if_exception_type
from google.api_core.timeout import ConstantTimeout
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.pubsub_v1 import PublisherClient, PublishRequest, PubsubMessage

from shared.adapters import message_rules
from shared.adapters.google_cloud import LOGIN, line, no_credentials
from shared.errors import InvalidMessage, PipelineError, SettingsError, StoreUnavailable, StoreUnusable
from shared.ports import Message

# Limits of one request, cloud.google.com/pubsub/quotas#resource_limits: 1,000 messages, 10 MB with all that is around.
MAX_REQUEST_MESSAGES = 1_000
MAX_REQUEST_BYTES = 9_500_000
FIELD_BYTES = 6  # a message's tag and length inside its request

_PROJECT_ID = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_ENCODED: Any = PubsubMessage.pb()  # the message class below the wrapper, which costs several times as much
_ENCODED_REQUEST: Any = PublishRequest.pb()
_TRANSIENT = if_exception_type(
    api.Aborted,
    api.Cancelled,
    api.DeadlineExceeded,
    api.InternalServerError,
    api.ServiceUnavailable,
    api.TooManyRequests,
    api.Unknown,
)


class PubSubBus:
    """Publishes to the topics of *project*; safe in threads.

    *timeout_s* bounds a `publish`, with its retries and all its requests.

    Raises:
        SettingsError: *project* is no project id, or there are no credentials.
    """

    def __init__(self, project: str, *, timeout_s: float = 10.0) -> None:
        check_project(project)
        self._project = project
        self._timeout_s = timeout_s
        try:
            self._client = PublisherClient()
        except DefaultCredentialsError as error:
            raise no_credentials("Pub/Sub", error) from None

    def close(self) -> None:
        """Close the connection."""
        self._client.transport.close()  # type: ignore[no-untyped-call]

    def publish(self, messages: Sequence[Message]) -> None:
        """Hand over *messages*, one topic after the other; a retry may publish some of them twice.

        Raises:
            InvalidMessage: one of them is over a limit or no JSON, and none was sent; or the service refuses it.
            StoreUnavailable: no answer in time; some of them may be on their way.
            StoreUnusable: a topic, a permission or the project is missing; those of other topics may be on their way.
        """
        topics: dict[str, list[Any]] = {}
        for message in messages:
            topics.setdefault(message.topic, []).append(_encoded(message))
        end = time.monotonic() + self._timeout_s
        for topic, encoded in topics.items():
            for batch in _batches(encoded):
                self._send(topic, batch, max(0.1, end - time.monotonic()))

    def _send(self, topic: str, batch: list[Any], timeout_s: float) -> None:
        request = _ENCODED_REQUEST(topic=f"projects/{self._project}/topics/{topic}", messages=batch)
        # A request may be lost with its connection, so the first one gets half of the time only.
        retry = Retry(_TRANSIENT, initial=0.1, maximum=1.0, multiplier=2.0, timeout=timeout_s)
        attempt = ConstantTimeout(max(0.1, timeout_s / 2))  # type: ignore[no-untyped-call]
        try:
            self._client.publish(PublishRequest.wrap(request), retry=retry, timeout=attempt)
        except (api.GoogleAPIError, GoogleAuthError) as error:
            raise _translation(error, self._project, topic) from None


def check_project(project: str) -> None:
    """Raise SettingsError for what cannot be the id of a project.

    Source: cloud.google.com/resource-manager/docs/creating-managing-projects.
    """
    if _PROJECT_ID.fullmatch(project) is None:
        raise SettingsError(f"{project!r} is no project id; `gcloud projects list` shows yours")


def _translation(error: Exception, project: str, topic: str) -> PipelineError:
    """Return our error for one of a call about *topic*, with what would mend it."""
    text = line(error)
    if isinstance(error, api.RetryError):
        return StoreUnavailable(f"Pub/Sub did not take messages for {topic!r} in time: {line(error.cause or error)}")
    if isinstance(error, api.NotFound):
        return StoreUnusable(_missing(text, project, topic))
    if isinstance(error, api.PermissionDenied):
        return StoreUnusable(_forbidden(text, project, topic))
    if isinstance(error, api.Unauthenticated | GoogleAuthError):
        return StoreUnusable(f"Pub/Sub does not accept our credentials: {LOGIN} ({text})")
    if isinstance(error, api.InvalidArgument):
        return InvalidMessage(f"Pub/Sub refuses a message for {topic!r} of project {project!r}: {text}")
    return StoreUnavailable(f"Pub/Sub did not take messages for {topic!r}: {text}")


def _missing(text: str, project: str, topic: str) -> str:
    if "project not found" in text.lower():
        return f"there is no project {project!r}, or we may not see it; `gcloud projects list` shows yours"
    return (
        f"project {project!r} has no topic {topic!r}: apply infra/, "
        f"or run `gcloud pubsub topics create {topic} --project={project}`"
    )


def _forbidden(text: str, project: str, topic: str) -> str:
    if "has not been used in project" in text or "SERVICE_DISABLED" in text:
        return (
            f"project {project!r} has Pub/Sub off: `gcloud services enable pubsub.googleapis.com --project={project}`"
        )
    return (
        f"we may not publish to {topic!r}: `gcloud pubsub topics add-iam-policy-binding {topic} --project={project} "
        f"--role=roles/pubsub.publisher --member=serviceAccount:ACCOUNT`"
    )


def _encoded(message: Message) -> Any:
    return _ENCODED(data=message_rules.encode(message).encode(), attributes=dict(message.attributes))


def _batches(messages: Iterable[Any]) -> Iterator[list[Any]]:
    """Cut into requests; a message that is over the bound by itself goes alone."""
    batch: list[Any] = []
    size_bytes = 0
    for message in messages:
        message_bytes = message.ByteSize() + FIELD_BYTES
        if batch and (len(batch) == MAX_REQUEST_MESSAGES or size_bytes + message_bytes > MAX_REQUEST_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(message)
        size_bytes += message_bytes
    if batch:
        yield batch
