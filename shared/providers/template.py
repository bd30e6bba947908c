"""The last resort of a text job: a plain template, free of charge, labelled as what it is."""

from __future__ import annotations

from shared.errors import InvalidCall
from shared.ports import Asset, Call, Done, Json, NotAccepted, Pending
from shared.providers.studio.text import render_template


class TemplateProvider:
    """Fills a template; there is nothing to wait for and nothing to pay."""

    name = "template"

    def start(self, call: Call) -> Done:
        """Return the filled template. Raises InvalidCall for a schema it cannot satisfy."""
        text, finish = render_template(
            call.params["prompt"],
            platform=call.params.get("platform"),
            schema=call.params.get("response_schema"),
            max_tokens=call.params["max_tokens"],
        )
        media_type = "application/json" if call.params.get("response_schema") is not None else "text/plain"
        return Done((Asset(media_type, text=text),), usage={"request": 1}, finish=finish)

    def poll(self, handle: Json) -> Done | Pending:
        """There are no operations here."""
        raise InvalidCall("a template has no operation to ask after")

    def cancel(self, handle: Json) -> None:
        """There are no operations here."""

    def find(self, call: Call) -> NotAccepted:
        """Filling a template again buys nothing."""
        return NotAccepted()

    def close(self) -> None:
        """There are no connections here."""
