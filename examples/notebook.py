# ruff: noqa: B018, D100 - the last line of a cell is what it shows
# %% [markdown]
# # semret in a notebook
#
# Embed pictures, compare them, search them, see why a picture is a hit, and search features of your own.
# Opens as a notebook in VS Code and in Jupyter with jupytext, and runs as a script: `python examples/notebook.py`.
# It needs no network: pictures are rendered, and the default model's weights come with the installation.

# %%
from pathlib import Path

import numpy as np

import semret
from semret.eval.scenes.collection import render_collection

folder = Path("notebook")
if not folder.exists():
    render_collection(folder / "pictures", 70, seed=0)
pictures = sorted((folder / "pictures").glob("*.jpg"))

# %% [markdown]
# ## Embed
# Paths, PIL images, arrays, bytes and file objects: one or many. Nothing is written.

# %%
embedded = semret.embed(pictures[:12], progress=True)
embedded

# %%
embedded.tokens.shape, embedded.pooled.shape, embedded.grid

# %% [markdown]
# ## Compare
# `rsm` matches the patches of each picture one to one with those of each other. Nothing is subtracted unless `center`
# says so.

# %%
similarity = semret.rsm(embedded, center="channel")
similarity[:3].round(2)

# %%
one, other = embedded.tokens[:2]
matched = semret.matched_similarity(one, other)
in_place = semret.matched_similarity(one, other, invariance="none")
f"{matched.score:.3f} with patches matched, {in_place.score:.3f} position by position"

# %%
# Do the pooled embeddings see the same likenesses as the matched patches?
vectors = embedded.pooled - embedded.pooled.mean(axis=0)
semret.cka(similarity, vectors @ vectors.T)

# %% [markdown]
# ## Search
# An index of the folder. The same call brings it up to date.

# %%
semret.build(folder / "pictures", index=folder / "index", progress=True).images

# %%
engine = semret.open_index(folder / "index")
result = engine.query(pictures[4], k=6, exclude_self=True)
result

# %%
# Scores are of tokens less the channel mean of the index, which `rsm` subtracts only if it is told to.
result.paths, result.scores.round(3)

# %%
result[0].image.size

# %% [markdown]
# ## See why
# Which patch met which, and how much each pair adds to the score.

# %%
why = engine.explain(pictures[4], result[0])
why

# %%
f"{sum(pair.share for pair in why):.6f} is {why.score:.6f}"

# %%
# Every hit with its explanation.
engine.query(pictures[4], k=3, exclude_self=True, explain=True)

# %% [markdown]
# ## As a table
# If pandas is installed.

# %%
try:
    table = result.to_pandas()
except semret.SemretError as error:
    table = str(error)
table

# %% [markdown]
# ## Features of your own
# Maps of any network, with names and ids of your choice: here every second channel of the network above.

# %%
features = semret.embed(pictures, model=engine.backbone()).tokens[:, :, ::2]
semret.build(pictures, features=features, ids=range(1001, 1001 + len(pictures)), index=folder / "own").images

# %%
with semret.open_index(folder / "own") as own:
    by_id = own.query(1005, k=6, exclude_self=True)
    by_features = own.query(tokens=features[4] + 0.01, k=6)
by_id

# %%
# What both indexes find.
sorted(Path(path).name for path in set(by_id.paths) & set(result.paths))

# %%
# The maps of an index as an array, by path, id or hit; `semret tokens` writes them for other programs.
maps = engine.tokens([pictures[4], *result[:2]])
np.round(semret.rsm(maps), 2)
