"""Answers to `inspect_your_pictures`: the starter, right ones and wrong ones."""

# %% starter
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    ...

# %% solution
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    model.eval()
    rows = []
    for path in Path(folder).iterdir():
        if path.suffix.lower() not in (".png", ".jpg"):
            continue
        gray = Image.open(path).convert("L")
        gray = gray.resize((288, 288), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(gray)).float()[None, None] / 255
        with torch.no_grad():
            p = torch.softmax(model(x), dim=1)[0, 1].item()
        rows.append({"file": path.name, "probability": p})
    return pd.DataFrame(rows).sort_values("probability", ascending=False)

# %% right: one batch, converted to gray after resizing
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    names, pictures = [], []
    for path in sorted(Path(folder).glob("*.*")):
        if str(path).lower().endswith((".png", ".jpg")):
            small = Image.open(path).resize((288, 288), Image.BILINEAR).convert("L")
            names.append(path.name)
            pictures.append(np.asarray(small, dtype=np.float32)[None] / 255)
    with torch.inference_mode():
        p = model.eval()(torch.tensor(np.stack(pictures))).softmax(1)[:, 1].numpy()
    table = pd.DataFrame({"probability": p, "file": names})
    return table.sort_values("probability", ascending=False, ignore_index=True)

# %% right: one tensor reused for all images, sorted by hand
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    model.eval()
    rows, x = [], torch.empty(1, 1, 288, 288)
    for path in Path(folder).iterdir():
        if path.suffix.lower() not in (".png", ".jpg"):
            continue
        gray = Image.open(path).convert("L")
        gray = gray.resize((288, 288), Image.Resampling.BILINEAR)
        x[:] = torch.from_numpy(np.array(gray)).float()[None, None] / 255
        with torch.no_grad():
            p = torch.softmax(model.forward(x), dim=1)[0, 1].item()
        rows.append({"file": path.name, "probability": p})
    return pd.DataFrame(sorted(rows, key=lambda row: -row["probability"]))

# %% wrong: model left in training mode
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    model.train()
    rows = []
    for path in Path(folder).iterdir():
        if path.suffix.lower() not in (".png", ".jpg"):
            continue
        gray = Image.open(path).convert("L")
        gray = gray.resize((288, 288), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(gray)).float()[None, None] / 255
        with torch.no_grad():
            p = torch.softmax(model(x), dim=1)[0, 1].item()
        rows.append({"file": path.name, "probability": p})
    return pd.DataFrame(rows).sort_values("probability", ascending=False)

# %% wrong: not scaled to 0..1
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    model.eval()
    rows = []
    for path in Path(folder).iterdir():
        if path.suffix.lower() not in (".png", ".jpg"):
            continue
        gray = Image.open(path).convert("L")
        gray = gray.resize((288, 288), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(gray)).float()[None, None]
        with torch.no_grad():
            p = torch.softmax(model(x), dim=1)[0, 1].item()
        rows.append({"file": path.name, "probability": p})
    return pd.DataFrame(rows).sort_values("probability", ascending=False)

# %% wrong: the probability of the other class
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    model.eval()
    rows = []
    for path in Path(folder).iterdir():
        if path.suffix.lower() not in (".png", ".jpg"):
            continue
        gray = Image.open(path).convert("L")
        gray = gray.resize((288, 288), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(gray)).float()[None, None] / 255
        with torch.no_grad():
            p = torch.softmax(model(x), dim=1)[0, 0].item()
        rows.append({"file": path.name, "probability": p})
    return pd.DataFrame(rows).sort_values("probability", ascending=False)

# %% wrong: least suspicious first
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    model.eval()
    rows = []
    for path in Path(folder).iterdir():
        if path.suffix.lower() not in (".png", ".jpg"):
            continue
        gray = Image.open(path).convert("L")
        gray = gray.resize((288, 288), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(gray)).float()[None, None] / 255
        with torch.no_grad():
            p = torch.softmax(model(x), dim=1)[0, 1].item()
        rows.append({"file": path.name, "probability": p})
    return pd.DataFrame(rows).sort_values("probability", ascending=True)

# %% wrong: not resized
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    model.eval()
    rows = []
    for path in Path(folder).iterdir():
        if path.suffix.lower() not in (".png", ".jpg"):
            continue
        gray = Image.open(path).convert("L")
        x = torch.from_numpy(np.array(gray)).float()[None, None] / 255
        with torch.no_grad():
            p = torch.softmax(model(x), dim=1)[0, 1].item()
        rows.append({"file": path.name, "probability": p})
    return pd.DataFrame(rows).sort_values("probability", ascending=False)

# %% wrong: resized to a different size
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    model.eval()
    rows = []
    for path in Path(folder).iterdir():
        if path.suffix.lower() not in (".png", ".jpg"):
            continue
        gray = Image.open(path).convert("L")
        gray = gray.resize((224, 224), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(gray)).float()[None, None] / 255
        with torch.no_grad():
            p = torch.softmax(model(x), dim=1)[0, 1].item()
        rows.append({"file": path.name, "probability": p})
    return pd.DataFrame(rows).sort_values("probability", ascending=False)

# %% wrong: nearest-neighbor resizing
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    model.eval()
    rows = []
    for path in Path(folder).iterdir():
        if path.suffix.lower() not in (".png", ".jpg"):
            continue
        gray = Image.open(path).convert("L")
        gray = gray.resize((288, 288), Image.Resampling.NEAREST)
        x = torch.from_numpy(np.array(gray)).float()[None, None] / 255
        with torch.no_grad():
            p = torch.softmax(model(x), dim=1)[0, 1].item()
        rows.append({"file": path.name, "probability": p})
    return pd.DataFrame(rows).sort_values("probability", ascending=False)

# %% wrong: resized with PIL's default
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    model.eval()
    rows = []
    for path in Path(folder).iterdir():
        if path.suffix.lower() not in (".png", ".jpg"):
            continue
        gray = Image.open(path).convert("L")
        gray = gray.resize((288, 288))
        x = torch.from_numpy(np.array(gray)).float()[None, None] / 255
        with torch.no_grad():
            p = torch.softmax(model(x), dim=1)[0, 1].item()
        rows.append({"file": path.name, "probability": p})
    return pd.DataFrame(rows).sort_values("probability", ascending=False)

# %% wrong: gray as the mean of the colors
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    model.eval()
    rows = []
    for path in Path(folder).iterdir():
        if path.suffix.lower() not in (".png", ".jpg"):
            continue
        gray = Image.open(path).convert("RGB")
        gray = Image.fromarray(np.array(gray).mean(2).astype("uint8"))
        gray = gray.resize((288, 288), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(gray)).float()[None, None] / 255
        with torch.no_grad():
            p = torch.softmax(model(x), dim=1)[0, 1].item()
        rows.append({"file": path.name, "probability": p})
    return pd.DataFrame(rows).sort_values("probability", ascending=False)

# %% wrong: capital suffixes left out
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    model.eval()
    rows = []
    for path in Path(folder).iterdir():
        if path.suffix not in (".png", ".jpg"):
            continue
        gray = Image.open(path).convert("L")
        gray = gray.resize((288, 288), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(gray)).float()[None, None] / 255
        with torch.no_grad():
            p = torch.softmax(model(x), dim=1)[0, 1].item()
        rows.append({"file": path.name, "probability": p})
    return pd.DataFrame(rows).sort_values("probability", ascending=False)

# %% wrong: uppercase recognized for .JPG only
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    model.eval()
    rows = []
    for path in Path(folder).iterdir():
        if path.suffix not in (".png", ".jpg", ".JPG"):
            continue
        gray = Image.open(path).convert("L")
        gray = gray.resize((288, 288), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(gray)).float()[None, None] / 255
        with torch.no_grad():
            p = torch.softmax(model(x), dim=1)[0, 1].item()
        rows.append({"file": path.name, "probability": p})
    return pd.DataFrame(rows).sort_values("probability", ascending=False)

# %% wrong: suffix taken from the first dot
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    model.eval()
    rows = []
    for path in Path(folder).iterdir():
        if "." + path.name.lower().split(".")[1] not in (".png", ".jpg"):
            continue
        gray = Image.open(path).convert("L")
        gray = gray.resize((288, 288), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(gray)).float()[None, None] / 255
        with torch.no_grad():
            p = torch.softmax(model(x), dim=1)[0, 1].item()
        rows.append({"file": path.name, "probability": p})
    return pd.DataFrame(rows).sort_values("probability", ascending=False)

# %% wrong: every file with a suffix in its name
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    model.eval()
    rows = []
    for path in Path(folder).iterdir():
        if not {"png", "jpg"} & set(path.name.lower().split(".")):
            continue
        gray = Image.open(path).convert("L")
        gray = gray.resize((288, 288), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(gray)).float()[None, None] / 255
        with torch.no_grad():
            p = torch.softmax(model(x), dim=1)[0, 1].item()
        rows.append({"file": path.name, "probability": p})
    return pd.DataFrame(rows).sort_values("probability", ascending=False)

# %% wrong: a sigmoid of the second logit
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    model.eval()
    rows = []
    for path in Path(folder).iterdir():
        if path.suffix.lower() not in (".png", ".jpg"):
            continue
        gray = Image.open(path).convert("L")
        gray = gray.resize((288, 288), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(gray)).float()[None, None] / 255
        with torch.no_grad():
            p = torch.sigmoid(model(x))[0, 1].item()
        rows.append({"file": path.name, "probability": p})
    return pd.DataFrame(rows).sort_values("probability", ascending=False)

# %% wrong: full path instead of the file name
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
    model.eval()
    rows = []
    for path in Path(folder).iterdir():
        if path.suffix.lower() not in (".png", ".jpg"):
            continue
        gray = Image.open(path).convert("L")
        gray = gray.resize((288, 288), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(gray)).float()[None, None] / 255
        with torch.no_grad():
            p = torch.softmax(model(x), dim=1)[0, 1].item()
        rows.append({"file": str(path), "probability": p})
    return pd.DataFrame(rows).sort_values("probability", ascending=False)
