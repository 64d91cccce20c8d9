"""Answers to `deploy_your_own`: the starter, right ones and wrong ones."""

# %% starter
import torch

from deepseek_learn import DeploymentWizard, data

def deploy(folder):
    ...

# %% solution
import torch
from torch import nn

from deepseek_learn import DeploymentWizard, data
from deepseek_learn.deploy import BuildError


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


def deploy(folder):
    calibration = x[:64].split(16)
    wizard = DeploymentWizard(model.eval(), x[:1], calibration, metric)
    for target in ("cpp-cpu", "openvino"):
        try:
            return wizard.to(target, folder, loss=0.9, progress=False)
        except BuildError as reason:
            print(reason)

# %% wrong: in float32
import torch
from torch import nn

from deepseek_learn import DeploymentWizard, data
from deepseek_learn.deploy import BuildError


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


def deploy(folder):
    calibration = x[:64].split(16)
    wizard = DeploymentWizard(model.eval(), x[:1], calibration, metric)
    for target in ("cpp-cpu", "openvino"):
        try:
            return wizard.to(target, folder, precision="fp32", progress=False)
        except BuildError as reason:
            print(reason)

# %% wrong: for a GPU
import torch
from torch import nn

from deepseek_learn import DeploymentWizard, data
from deepseek_learn.deploy import BuildError


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


def deploy(folder):
    calibration = x[:64].split(16)
    wizard = DeploymentWizard(model.eval(), x[:1], calibration, metric)
    for target in ("nvidia-a100",):
        try:
            return wizard.to(target, folder, loss=0.9, precision="int8", progress=False)
        except BuildError as reason:
            print(reason)

# %% wrong: into another folder
import torch
from torch import nn

from deepseek_learn import DeploymentWizard, data
from deepseek_learn.deploy import BuildError


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


def deploy(folder):
    calibration = x[:64].split(16)
    wizard = DeploymentWizard(model.eval(), x[:1], calibration, metric)
    for target in ("cpp-cpu", "openvino"):
        try:
            return wizard.to(target, folder / "inside", loss=0.9, progress=False)
        except BuildError as reason:
            print(reason)

# %% wrong: not trained
import torch
from torch import nn

from deepseek_learn import DeploymentWizard, data
from deepseek_learn.deploy import BuildError


digits = data.digits()
x, y = digits.train.batch()
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1),
    nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10),
)
optimizer = torch.optim.Adam(model.parameters(), 3e-3)
for rows in torch.randperm(len(x)).split(64)[:0]:
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
    optimizer.step()


def metric(predict):
    pictures, labels = digits.validation.batch()
    return 100 * (predict(pictures).argmax(1) == labels).float().mean().item()


def deploy(folder):
    calibration = x[:64].split(16)
    wizard = DeploymentWizard(model.eval(), x[:1], calibration, metric)
    for target in ("cpp-cpu", "openvino"):
        try:
            return wizard.to(target, folder, loss=0.9, progress=False)
        except BuildError as reason:
            print(reason)

# %% wrong: without a metric
import torch
from torch import nn

from deepseek_learn import DeploymentWizard, data
from deepseek_learn.deploy import BuildError


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


def deploy(folder):
    calibration = x[:64].split(16)
    wizard = DeploymentWizard(model.eval(), x[:1], calibration)
    for target in ("cpp-cpu", "openvino"):
        try:
            return wizard.to(target, folder, loss=0.9, progress=False)
        except BuildError as reason:
            print(reason)

# %% wrong: only a report
import json


def deploy(folder):
    folder.mkdir()
    sizes = [{"what": "size", "value": 1}, {"what": "size_before", "value": 9}]
    facts = {"target": "cpp-cpu", "precision": "int8"}
    facts["lines"] = [*sizes, {"what": "metric", "value": 90}]
    (folder / "report.json").write_text(json.dumps(facts))

# %% wrong: a check that checks nothing
import json


def deploy(folder):
    folder.mkdir()
    sizes = [{"what": "size", "value": 1}, {"what": "size_before", "value": 9}]
    facts = {"target": "cpp-cpu", "precision": "int8"}
    facts["lines"] = [*sizes, {"what": "metric", "value": 90}]
    (folder / "report.json").write_text(json.dumps(facts))
    (folder / "verify.sh").write_text("exit 0")

# %% wrong: a check that prints something else
import json


def deploy(folder):
    folder.mkdir()
    sizes = [{"what": "size", "value": 1}, {"what": "size_before", "value": 9}]
    facts = {"target": "cpp-cpu", "precision": "int8"}
    facts["lines"] = [*sizes, {"what": "metric", "value": 90}]
    (folder / "report.json").write_text(json.dumps(facts))
    (folder / "verify.sh").write_text("echo '[]'")

# %% wrong: a single stored answer
import json


def deploy(folder):
    folder.mkdir()
    sizes = [{"what": "size", "value": 1}, {"what": "size_before", "value": 9}]
    facts = {"target": "cpp-cpu", "precision": "int8"}
    facts["lines"] = [*sizes, {"what": "metric", "value": 90}]
    (folder / "report.json").write_text(json.dumps(facts))
    said = json.dumps({"selfcheck": {"passed": True, "samples": 1}})
    (folder / "verify.sh").write_text(f"echo '{said}'")

# %% wrong: a hand-written report
import torch
from torch import nn

from deepseek_learn import DeploymentWizard, data
from deepseek_learn.deploy import BuildError


def deploy(folder):
    folder.mkdir()
    (folder / "report.json").write_text("int8, cpp-cpu")
