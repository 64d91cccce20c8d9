# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""The learner's own model, deployed, and run where nothing of the course is."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from .. import expect
from ..problem import Failed, Problem

CLEAN = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"}
LEAST = 60  # points that a model must have: more than two classes give by chance
SECONDS = 120.0  # for `verify.sh`


def check(answer, rng) -> None:
    expect.function(answer, "deploy")
    with tempfile.TemporaryDirectory(prefix="deepseek_learn_") as place:
        folder = Path(place) / f"deployed_{rng.integers(1_000_000)}"
        expect.call(answer, folder)
        report = folder / "report.json"
        if not report.exists():
            raise Failed("deploy_your_own.folder", folder=folder.name)
        inspect(read(report.read_text(errors="replace"), folder))
        run(folder)


def read(report: str, folder: Path) -> dict:
    """The wizard's report, its lines by name."""
    try:
        facts = json.loads(report)
        lines = {line["what"]: line["value"] for line in facts["lines"]}
        sizes = float(lines["size"]), float(lines["size_before"])
        metric = float(lines["metric"]) if "metric" in lines else None
        kinds = {key: facts[key] for key in ("target", "precision")}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Failed("deploy_your_own.report", folder=folder.name) from None
    return kinds | {"sizes": sizes, "metric": metric}


def inspect(facts: dict) -> None:
    if facts["target"] not in ("cpp-cpu", "openvino"):
        raise Failed("deploy_your_own.target", got=facts["target"])
    if facts["precision"] != "int8":
        raise Failed("deploy_your_own.precision", got=facts["precision"])
    size, before = facts["sizes"]
    if size > 0.5 * before:
        raise Failed("deploy_your_own.size")
    if facts["metric"] is None:
        raise Failed("deploy_your_own.metric")
    if not facts["metric"] >= LEAST:
        raise Failed("deploy_your_own.trained", got=facts["metric"], least=LEAST)


def run(folder: Path) -> None:
    """`verify.sh`, moved to another place, without this process's environment."""
    moved = folder.with_name("elsewhere")
    os.rename(folder, moved)
    command = ["bash", str(moved / "verify.sh")]
    facts = {"stdin": subprocess.DEVNULL, "capture_output": True, "cwd": "/"}
    try:
        done = subprocess.run(command, env=CLEAN, timeout=SECONDS, **facts)
    except subprocess.TimeoutExpired:
        raise Failed("deploy_your_own.slow", seconds=f"{SECONDS:g}") from None
    said, why = (each.decode(errors="replace") for each in (done.stdout, done.stderr))
    if done.returncode:
        why = (why.strip() or "?").splitlines()[-1]
        raise Failed("deploy_your_own.run", said=why)
    try:
        selfcheck = json.loads(said)["selfcheck"]
        passed, samples = selfcheck["passed"] is True, int(selfcheck["samples"])
    except (ValueError, TypeError, KeyError):
        said = said.strip()[-200:] or "—"
        raise Failed("deploy_your_own.output", said=said) from None
    if not passed or samples < 2:
        raise Failed("deploy_your_own.check", samples=samples)


IMPORTS = """import torch
from torch import nn

from deepseek_learn import DeploymentWizard, data
from deepseek_learn.deploy import BuildError

"""
HEAD = "\ndef deploy(folder):\n"
NETWORK = """
digits = data.digits()
x, y = digits.train.batch()
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1),
    nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10),
)
optimizer = torch.optim.Adam(model.parameters(), 3e-3)
for rows in torch.randperm(len(x)).split(64):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
    optimizer.step()


def metric(predict):
    pictures, labels = digits.validation.batch()
    return 100 * (predict(pictures).argmax(1) == labels).float().mean().item()

"""
BODY = """    calibration = x[:64].split(16)
    wizard = DeploymentWizard(model.eval(), x[:1], calibration, metric)
    for target in ("cpp-cpu", "openvino"):
        try:
            return wizard.to(target, folder, loss=0.9, progress=False)
        except BuildError as reason:
            print(reason)
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return IMPORTS + NETWORK + HEAD + BODY.replace(old, new)


def forged(verify: str | None = None) -> str:
    """A folder with a made-up report, and with this `verify.sh`."""
    values = {"size": 1, "size_before": 9, "metric": 90}
    lines = [{"what": what, "value": value} for what, value in values.items()]
    report = {"target": "cpp-cpu", "precision": "int8", "lines": lines}
    files = {"report.json": json.dumps(report), "verify.sh": verify}
    written = [
        f"    (folder / {name!r}).write_text({text!r})\n"
        for name, text in files.items()
        if text is not None
    ]
    return IMPORTS + HEAD + "    folder.mkdir()\n" + "".join(written)


problem = Problem(
    id="deploy_your_own",
    version=2,
    lesson="deploy",
    stage="practical",
    title={"en": "Deploy a model of your own", "zh": "部署你自己的模型"},
    prompt={
        "en": """Take a model that *you* trained: on digits (`data.digits()`), Fashion-MNIST, pictures of your own. Write `deploy(folder)`,
which deploys it into `folder` in **INT8** for a processor (`"cpp-cpu"`; where its headers are missing, `"openvino"`), guarded by a
metric on held-out data, in points of 100, by which the deployed model must have at least 60.

The check calls it, *moves* the folder and runs its `verify.sh` in a process that knows nothing of Python, the course or your
variables. The stored answers must come out again, at least two of them. A model of some 10,000 weights or more, please: the file
must be at most half as large as PyTorch's. You need a C++ compiler and cmake.""",
        "zh": """请用一个*你自己*训练的模型：数字（`data.digits()`）、Fashion-MNIST 或你自己的图片都行。编写 `deploy(folder)`，把它以 **INT8** 精度部署到
`folder`，目标是处理器（`"cpp-cpu"`；缺少其头文件时用 `"openvino"`），并由留出数据上的指标（百分制）把关；按这个指标，部署后的模型至少要得 60 分。

检查会调用它，把文件夹*移走*，再在一个不知道 Python、课程和你的变量的进程里运行其中的 `verify.sh`。保存的答案必须原样重现，至少两个。
模型请至少有约一万个权重：文件大小最多为 PyTorch 的一半。你需要 C++ 编译器和 cmake。""",
    },
    starter="import torch\n\nfrom deepseek_learn import DeploymentWizard, data\n\n"
    + HEAD.lstrip("\n")
    + "    ...\n",
    answer="deploy",
    hints=(
        {
            "en": "`DeploymentWizard(model, example, calibration, metric)`: an example is a batch of one; calibration is a "
            "list of batches; `metric(predict)` gives points of 100.",
            "zh": "`DeploymentWizard(model, example, calibration, metric)`：example 是只含一个样本的批；calibration 是若干批的列表；"
            "`metric(predict)` 给出百分制的分数。",
        },
        {
            "en": '`wizard.to("cpp-cpu", folder, progress=False)` writes the folder. It refuses a loss of a point: then '
            "calibrate with more pictures.",
            "zh": '`wizard.to("cpp-cpu", folder, progress=False)` 会写出文件夹。损失达到一分时它会拒绝：那就用更多图片校准。',
        },
    ),
    check=check,
    solution=IMPORTS + NETWORK + HEAD + BODY,
    wrong={
        "in float32": changed("folder, loss=0.9,", 'folder, precision="fp32",'),
        "for a graphics card": changed(
            '("cpp-cpu", "openvino")', '("nvidia-a100",)'
        ).replace("loss=0.9,", 'loss=0.9, precision="int8",'),
        "into another folder": changed("folder, loss", 'folder / "inside", loss'),
        "not trained": changed("", "").replace(".split(64):", ".split(64)[:0]:"),
        "without a metric": changed("calibration, metric)", "calibration)"),
        "nothing but a report": forged(),
        "a check that checks nothing": forged("exit 0"),
        "a check that prints something else": forged("echo '[]'"),
        "one answer": forged(
            """echo '{"selfcheck": {"passed": true, "samples": 1}}'"""
        ),
        "a report of one's own": IMPORTS
        + HEAD
        + '    folder.mkdir()\n    (folder / "report.json").write_text("int8, cpp-cpu")\n',
    },
    points=3,
    minutes=30,
    needs=("deploy",),
    seconds=600,  # on a busy machine, building the engine alone takes minutes
)
