"""`alae --help`: the commands, grouped by what a person wants to do."""

from pipelines.cli.parser import Commands, fill, width

GROUPS = (
    "Prepare images",
    "Choose an experiment",
    "Train",
    "Look at results",
    "Use a trained model",
    "Search for better settings",
    "Run on a cluster",
)
"""The order of the groups; a command names its own by the default `group` of its parser. Others follow these."""
OTHER = "Other commands"
INTRODUCTION = "Train generative autoencoders, GANs and image translators with PyTorch on Ray."
START = """\
Start here
  alae pack mnist5k data/mnist32 --resolution 32 --square pad --validation 0.1
  alae train debug_mnist32_style_alae    a tiny model, to see that all works
  alae train mnist32_style_alae          the same in full, minutes on two CPUs"""
END = "alae COMMAND --help explains a command and shows an example. alae --version shows the versions."


def text(commands: Commands) -> str:
    """The overview; each command's line is the `help` that it was added with."""
    lines = {action.dest: action.help or "" for action in commands._get_subactions()}
    groups: dict[str, list[str]] = {group: [] for group in GROUPS}
    for name in lines:
        groups.setdefault(commands.choices[name].get_default("group") or OTHER, []).append(name)
    blocks = [
        "\n".join([group, *(_line(name, lines[name]) for name in names)]) for group, names in groups.items() if names
    ]
    usage = "usage: alae COMMAND ..."
    return "\n\n".join([usage, fill(INTRODUCTION, width()), *blocks, START, fill(END, width())]) + "\n"


def _line(name: str, help: str) -> str:
    return fill(help, width(), f"  {name:<12}", " " * 14)
