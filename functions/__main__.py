"""The command line: `python -m functions COMMAND`. Every command takes `--json`.

Exit codes: 0 done, 1 something did not succeed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from functions import _dashboards, _job_commands, _model_commands, _run, _system_commands, _up
from shared.adapters.blob_rules import LONGEST_LINK_S
from shared.domain.money import parse_usd
from shared.errors import PipelineError, Retryable
from shared.settings import Settings

DID_NOT_SUCCEED, WRONG_USAGE = 1, 2
LARGEST_PORT = 65_535
LONGEST_WAIT_S = 86_400


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if getattr(options, "parallel", False) and not options.emulators:
        parser.error("--parallel is about --emulators, which is missing")
    try:
        settings = Settings.from_environment(os.environ)
        return int(options.run(options, settings))
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return DID_NOT_SUCCEED if isinstance(error, Retryable) else WRONG_USAGE
    except BrokenPipeError:
        sys.stderr.close()
        return DID_NOT_SUCCEED
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m functions", description="Atelier: generation jobs, carried through all stages."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    as_json = argparse.ArgumentParser(add_help=False)
    as_json.add_argument("--json", action="store_true", help="print JSON and nothing else on stdout")
    emulated = argparse.ArgumentParser(add_help=False)
    emulated.add_argument(
        "--emulators", action="store_true", help="on the emulators of Google Cloud, each function in its own process"
    )
    emulated.add_argument(
        "--parallel", action="store_true", help="push as many messages at once as a function takes; the emulator: two"
    )

    def command(name: str, run: object, text: str, *also: argparse.ArgumentParser) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=text, description=text, parents=[as_json, *also])
        found.set_defaults(run=run)
        return found

    run = command("run", _run.run, "carry the requests in files or folders to the end, and write report.html", emulated)
    run.add_argument("paths", nargs="+", metavar="PATH", help=".json, .jsonl or .csv, or a folder of them")
    run.add_argument("--report", metavar="FILE", help="where to write the report (default: report.html in the home)")
    up = command("up", _up.up, "run the local system as a service: ops page, inbox folder, ticks", emulated)
    up.add_argument("--port", type=_port, default=8080, help="of the ops page on localhost (default 8080)")
    submit = command("submit", _job_commands.submit, "publish the requests in a file and print their job ids")
    submit.add_argument("paths", nargs="+", metavar="PATH")
    submit.add_argument("--wait", type=_patience, metavar="SECONDS", help="for their results; ends with 1 without them")
    status = command("status", _job_commands.status, "show where one job is")
    status.add_argument("job", metavar="JOB")
    status.add_argument(
        "--links", type=_seconds, metavar="SECONDS", help="also links by which anyone may read the pieces for so long"
    )
    for name, text in (
        ("explain", "show every stage, candidate, attempt and cent of one job"),
        ("cancel", "end one job; what was bought already is kept"),
    ):
        command(name, getattr(_job_commands, name), text).add_argument("job", metavar="JOB")
    replay = command("replay", _job_commands.replay, "send a stuck job its event again, or repeat a failed one anew")
    replay.add_argument("job", metavar="JOB")
    replay.add_argument("--from", dest="stage", choices=_job_commands.REPLAY_FROM, default="generate", metavar="STAGE")
    quote = command("quote", _system_commands.quote, "show what requests would cost and how long they would take")
    quote.add_argument("paths", nargs="+", metavar="PATH")
    command("audit", _system_commands.audit, "prove that ledger, jobs and budgets agree")
    budget = command("budget", _system_commands.budget, "show the day's budgets, or set the standing limit of a scope")
    budget.add_argument("scope", nargs="?", metavar="SCOPE", help="all, tenant:NAME or user:TENANT/NAME")
    budget.add_argument(
        "--limit", type=_limit, metavar="USD", help='per day, from today on; "default": what the settings say, again'
    )
    models = command("models", _model_commands.models, "show the catalogue with prices and the retirement calendar")
    models.add_argument("--kind", choices=("image", "video", "text"))
    models.add_argument("--all", action="store_true", help="also retired models")
    instead = models.add_mutually_exclusive_group()
    instead.add_argument("--check", metavar="FILE", help="compare the prices with LiteLLM's or Portkey's price table")
    instead.add_argument("--enable", metavar="MODEL", help="close the breaker of a model, also of one that was gone")
    command("health", _system_commands.health, "show breakers, models that are gone, and the queue")
    simulate = command("simulate", _simulate, "run simulators of the vendors, with faults when asked, for tests")
    simulate.add_argument("--port", type=_port, default=8090, help="on localhost (default 8090; 0: a free one)")
    simulate.add_argument("--faults", metavar="SPEC", help='JSON such as {"error_500": 0.1, "seed": 7}, or its file')
    command("tick", _system_commands.tick, "do one tick")
    command("dashboards", _dashboards.dashboards, "write the metrics and dashboards of infra from their declarations")
    command("settings", _system_commands.settings, "show every setting, and which credentials are missing")
    return parser


def _simulate(options: argparse.Namespace, settings: Settings) -> int:
    from functions._simulate import simulate  # takes long to load, which no other command should wait for

    return simulate(options, settings)


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) <= LARGEST_PORT):
        raise argparse.ArgumentTypeError(f"a port is 0 to {LARGEST_PORT}")
    return int(text)


def _seconds(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= LONGEST_LINK_S):
        raise argparse.ArgumentTypeError(f"a link is valid for 1 to {LONGEST_LINK_S} seconds")
    return int(text)


def _patience(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= LONGEST_WAIT_S):
        raise argparse.ArgumentTypeError(f"results are waited for 1 to {LONGEST_WAIT_S} seconds")
    return int(text)


def _limit(text: str) -> int | str:
    try:
        return text if text == "default" else parse_usd(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{error}; or "default"') from None


if __name__ == "__main__":
    sys.exit(main())
