"""The options of `tshell submit`; one dataclass defines the signature and the job's fields."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_type_hints

import typer

from services.client.tshell.cli import Cores, Memory
from services.client.tshell.request import environment

_RESOURCES = ("cpu", "gpu", "memory", "gpu_model", "device_class")
_LEFT_OUT = (*_RESOURCES, "env", "label", "notify", "notify_on", "notify_pending_s")
_OPTIONAL = ("name", "project", "image", "queue", "priority_class", "job_id")


@dataclass(frozen=True)
class JobOptions:
    """The options of a job on a command line. Fields are named as those of `job.submit`."""

    main: Annotated[
        str, typer.Option("-d", "--main", help="The program to run, as a path below code/.")
    ] = "main.py"
    memory: Memory = "2048Mi"
    type: Annotated[
        str, typer.Option("-t", "--type", help="single: one container; distribute: a cluster.")
    ] = "single"
    name: Annotated[
        str, typer.Option("-n", "--name", help="The job's name; by default the folder's.")
    ] = ""
    cpu: Cores = 1.0
    gpu: Annotated[
        int, typer.Option("-g", "--gpu", help="The number of GPUs of each container.")
    ] = 0
    gpu_model: Annotated[
        str, typer.Option("--gpu-model", help="Run only on GPUs of this model.")
    ] = ""
    device_class: Annotated[
        str,
        typer.Option(
            "--device-class",
            help="The DeviceClass by which GPUs are requested (dynamic resource allocation).",
        ),
    ] = ""
    ps: Annotated[int, typer.Option("--ps", help="The number of parameter servers.")] = 0
    workers: Annotated[int, typer.Option("--workers", help="The number of workers.")] = 0
    chief: Annotated[bool, typer.Option("--chief", help="Run a chief beside the workers.")] = False
    cluster_style: Annotated[
        str,
        typer.Option(
            "--style", help="The way in which the program learns its cluster: tf_config or flags."
        ),
    ] = "tf_config"
    args: Annotated[
        list[str] | None,
        typer.Option("--arg", help="An argument of the program; may be given several times."),
    ] = None
    env: Annotated[
        list[str] | None,
        typer.Option(
            "-e",
            "--env",
            help="An environment variable of the program, NAME=VALUE; NAME alone passes on this "
            "shell's. May be given several times.",
        ),
    ] = None
    image: Annotated[str, typer.Option("--image", help="The image in which the program runs.")] = ""
    placement: Annotated[
        str,
        typer.Option(
            "--placement", help="The placement of members on nodes: any, spread or together."
        ),
    ] = "any"
    queue: Annotated[
        str, typer.Option("--queue", help="The Kueue LocalQueue in which the job waits.")
    ] = ""
    priority_class: Annotated[
        str, typer.Option("--priority-class", help="The PriorityClass of the job's pods.")
    ] = ""
    elastic: Annotated[
        bool,
        typer.Option(
            "--elastic",
            help="Let a worker that was lost join the running cluster again (parameter servers "
            "with a chief).",
        ),
    ] = False
    host_network: Annotated[
        bool, typer.Option("--host-network", help="Let the pods use the node's network.")
    ] = False
    project: Annotated[
        str,
        typer.Option(
            "--project",
            help="The project that owns the job, its package, its log and its results; by "
            "default BAROGRAPH_PROJECT, otherwise your only one, otherwise the project "
            "default.",
        ),
    ] = ""
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            help="A label of the job, NAME=VALUE, such as team=vision; may be given several times.",
        ),
    ] = None
    notify: Annotated[
        list[str] | None,
        typer.Option(
            "--notify",
            help="A recipient to notify of the job's end: mail:ADDRESS, or the name of a "
            "channel; may be given several times.",
        ),
    ] = None
    notify_on: Annotated[
        str,
        typer.Option(
            "--notify-on",
            help="The occasions on which to notify, separated by commas: failed, "
            "succeeded, pending.",
        ),
    ] = "failed,succeeded,pending"
    notify_pending_s: Annotated[
        float,
        typer.Option(
            "--notify-pending-s",
            help="The seconds that the job may wait before a notification is sent.",
        ),
    ] = 900
    job_id: Annotated[
        str,
        typer.Option(
            "--id",
            help="The job's id, if you choose it yourself; submitting twice with the "
            "same id runs one job.",
        ),
    ] = ""

    def body(self) -> dict[str, Any]:
        """The fields of `job.submit`; the API's own default stands for an option that is empty."""
        found = {
            each.name: value
            for each in fields(self)
            if each.name not in _LEFT_OUT
            and ((value := getattr(self, each.name)) or each.name not in _OPTIONAL)
        }
        resources = {name: getattr(self, name) for name in _RESOURCES}
        for name in ("gpu_model", "device_class"):
            if not resources[name]:
                del resources[name]
        found |= {"args": self.args or [], "resources": resources}
        if self.env:
            found["env"] = environment(self.env)
        if self.label:
            found["labels"] = dict(_name_and_value(each) for each in self.label)
        if self.notify:
            found["notify"] = self._notify()
        return found

    def spoken(self, context: typer.Context) -> dict[str, Any]:
        """Return only the fields whose options were given on the command line, not those of a
        default.
        """
        given = {
            name
            for name in context.params
            if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
        }
        found = {name: value for name, value in self.body().items() if name in given}
        if "label" in given:
            found["labels"] = self.body()["labels"]
        if asked := given & {*_RESOURCES}:
            found["resources"] = {name: getattr(self, name) for name in asked}
        return found

    def _notify(self) -> dict[str, Any]:
        kinds = [kind for kind in self.notify_on.replace(" ", "").split(",") if kind]
        return {"to": self.notify, "on": kinds, "pending_s": self.notify_pending_s}


def _name_and_value(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise typer.BadParameter(f"{text}: write NAME=VALUE", param_hint="--label")
    return name, value


def takes_job_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `JobOptions` instead of its parameter ``job``.

    Typer reads a command's options from its signature, where each has to stand by itself.
    """

    @functools.wraps(command)
    def spread(**given: Any) -> None:
        names = [each.name for each in fields(JobOptions)]
        command(job=JobOptions(**{name: given.pop(name) for name in names}), **given)

    own = inspect.signature(command, eval_str=True)
    hints = get_type_hints(JobOptions, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for parameter in own.parameters.values():
        if parameter.name != "job":
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        parameters += [
            inspect.Parameter(
                each.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=each.default,
                annotation=hints[each.name],
            )
            for each in fields(JobOptions)
        ]
    vars(spread)["__signature__"] = own.replace(parameters=parameters)
    vars(spread)["__annotations__"] = {each.name: each.annotation for each in parameters}
    return spread
