"""The `skerry` command: a group whose verbs are imported when they are called.

`skerry --help` prints names and sentences from the table below and imports no craft,
so it answers in under 100 ms; a test holds the import list.
"""

import sys

import click

from skerry import __version__
from skerry.base.errors import Exit, SkerryError, UsageError
from skerry.cli.lazy import LazyGroup, Verbs
from skerry.cli.output import print_error

VERBS: Verbs = {
    "init": ("skerry.cli.init", "start a fleet folder from a template"),
    "check": ("skerry.cli.check", "validate and lint the fleet file"),
    "worth": ("skerry.cli.worth", "is it worth it: one log, trace or bill, yes, no or unknown"),
    "plan": ("skerry.cli.plan", "predict every goal before anything is bought or changed"),
    "diff": ("skerry.cli.diff", "show the file against the running fleet"),
    "apply": ("skerry.cli.apply", "show the difference, ask, seal, send and wait"),
    "up": ("skerry.cli.up", "run a whole local fleet, or one role on this machine"),
    "serve": ("skerry.cli.serve", "serve a model repository, with no fleet at all"),
    "join": ("skerry.cli.join", "enrol this machine as a node, by a one-time token"),
    "trust": ("skerry.cli.trust", "make a fleet's first keys, let machines in"),
    "backup": ("skerry.cli.backup", "copy central, a region or the keys, and bring it back"),
    "audit": ("skerry.cli.audit", "look at audit ledgers, check them, erase a person"),
    "bundle": ("skerry.cli.bundle", "carry signed state and models to a place without a link"),
    "leave": ("skerry.cli.leave", "take a node, a region or central off this machine, keys first"),
    "rollout": ("skerry.cli.rollout", "see a change on its way; hold, approve, take back"),
    "custody": ("skerry.cli.custody", "who had a machine, from the factory to the scrap heap"),
    "status": ("skerry.cli.status", "one screen: goals beside actual, sites, models"),
    "logs": ("skerry.cli.logs", "events of the fleet"),
    "infer": ("skerry.cli.infer", "send one request and say who served it"),
    "model": ("skerry.cli.model", "add a model, look at one"),
    "drill": ("skerry.cli.drill", "inject a fault on purpose and grade the outcome"),
    "pilot": ("skerry.cli.pilot", "compare the fleet with a central-cloud baseline"),
    "report": ("skerry.cli.report", "make a report: of the story, of a shadow"),
    "demo": ("skerry.cli.demo", "run the whole story, unattended, on this machine"),
    "help": ("skerry.cli.explain", "explain an error code"),
}


@click.group(cls=LazyGroup, verbs=VERBS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="skerry %(version)s")
def cli() -> None:
    """Plan, run and prove fleets of small AI data centers.

    Start with:  skerry init clinic && cd clinic && skerry check
    """


def main() -> None:
    """Run the command line and exit with a code of `skerry.base.errors.Exit`."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors go to stderr, last on screen."""
    try:
        outcome = cli.main(args=arguments, prog_name="skerry", standalone_mode=False)
    except SkerryError as error:
        print_error(error, as_json="--json" in arguments)
        return int(error.exit_code)
    except ModuleNotFoundError as error:
        from skerry.cli.extras import missing_extra

        missing = missing_extra(error)
        if missing is None:
            raise  # a slip of ours, and its traceback is what finds it
        print_error(missing, as_json="--json" in arguments)
        return int(missing.exit_code)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        return int(Exit.INTERRUPTED)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        advice = f"see: {context.command_path} --help" if context else "see: skerry --help"
        print_error(UsageError(error.format_message(), advice), as_json="--json" in arguments)
        return int(Exit.WRONG_USE)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return int(Exit.INTERRUPTED)
    return outcome if isinstance(outcome, int) else int(Exit.DONE)
