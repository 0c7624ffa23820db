"""What docs/results.md says around its tables."""

__all__ = [
    "BEHIND",
    "COST",
    "FEW_DATA",
    "FINETUNING",
    "GROUPS_SAID",
    "INTRODUCTION",
    "LARGE",
    "LEGAL",
    "MEASURED",
    "NEARNESS",
    "NO_DATA",
    "PEERS",
    "PREDICTED",
    "SAMPLES",
    "STRATEGIES_SAID",
    "SUMMARY",
]

INTRODUCTION = """
These tables say how much of real networks' scores `domino-onnx compress` keeps, without finetuning. Neither search nor
refit has seen the data that judge. All scores are times 100. `benchmarks/README.md` says how to measure again. Its
`results/` hold every row, with schemes and seconds. Empty cells weren't measured.
"""

MEASURED = """
Measured on {machine}, one thread, with other work on the machine at the same time. So seconds are rough, and ratios
less so. Commits: {commits}. Each row of `results/` names its own. {checked} written files were checked by code that
shares nothing with the package. It counts every group and the zeros, runs `onnx.checker` with full checks, and
compares the rest byte for byte. Since 8bb53ce an eighth of the calibration data is set apart to judge by. Since then
only `sensitivity` with refit on the two CIFAR networks was measured again. All other rows learned from all samples, on
a machine with AVX-512.
"""

STRATEGIES_SAID = """
Budgets are zeros over all Conv, Gemm and MatMul weights. A strategy chooses the schemes. `uniform` and `erk` go by
density. `domino` goes by the weights alone, and `domino-gradients` by gradients too. `measured-domino` and
`sensitivity` go by [measured losses](search.md#measured-losses). `uniform` has to make up for weights that can't be
pruned. So a weight may get a sparser scheme than the others: on ResNet-20 at 50 % the classifier gets 2:16.
`magnitude`, `sparsegpt` and `refit` say how the weights are found ([method](method.md)).
"""

SUMMARY = """
The figures are the score over the dense score, in percent, with `solver.method = "refit"`. Each is the mean over the
networks that have `uniform`, `domino` and `sensitivity` at that budget. Where a network is scored on two sets, the mean
of both counts. A cell is empty if one of these networks lacks the strategy.
"""

BEHIND = """
At 75 %, `domino` without data is worse than `uniform` because of two networks. Magika has few weights to choose from:
`domino` overshoots to 78.6 % zeros, and `uniform` has 75.2. In the text recogniser, magnitudes make the wide layers
after the middle sparse, and later layers don't make up for it.
"""

FINETUNING = """
The networks learn from the calibration data alone, unlabelled. The learning rate is chosen on the way. Where there are
several seeds, each has a search and a refit of its own, and the mean is shown. Seconds are those of finetuning on one
thread, with other work on the machine. Checking the torch model against ONNX Runtime isn't counted.
"""

NO_DATA = """
This is `compress` without `--data` and without other options, with the extra `photographs`. Images are crops of its
seven photographs, or lines of text, and their preparation is guessed. Sentences and files are random tokens. Search and
refit use them. Lines that say `finetuned` had finetuning with its default of ten minutes, on one thread, with other
work on the machine. Lines that name steps had so many. All others had no finetuning. The judges of finetuning were
drawn as well. Scores are of real samples, as above. They vary with the seed.
"""

NEARNESS = """
These are runs of the table above, judged against the dense network on the same real samples. Where little was lost,
the top-1 of 500 images moves by chance: a wrong answer may become a right one. The share of equal answers and the mean
Kullback-Leibler divergence see each change. Each is given for the refitted weights, then for the finetuned ones.
"""

FEW_DATA = """
Each network was refitted on so many real samples: alone, and together with 512 drawn images. The plan is that of a
search on the whole calibration set. Nothing was finetuned. The real samples are repeated, so that both kinds count
alike. MobileNet had 222 drawn images, because no more are kept in memory.
"""

LARGE = """
This is `compress --no-finetune` on matrices of random normal numbers in an external file, on one thread. It had
`--data none`, or a few samples of 8 positions, to which the weights are refitted. The speed is relative to `cp` and
fsync of the same bytes. Memory is the process's own at its peak, read every 20 ms. Pages of mapped files come on top,
and the system takes them back when it needs them. Random groups of each weight were compared with the source.
"""

PREDICTED = """
A run predicts the score of its refitted weights from samples that nothing learned from. The last column is the score on
other data. The run prints no prediction if its standard error is above 1.7 points, or if fewer than 32 samples were set
apart. Three standard errors are 5 points.
"""

SAMPLES = """
These are rows of ResNet-20 at 87.5 % zeros (dense 86.1), with unlabelled samples of cifar10_train10k. Options are the
defaults, without a limit of time. Finetuning takes 2,000 steps of 32 samples at most, the same for both kinds of
schemes. The defaults take more steps where samples and time allow: 9,000 images come to 82.4 in a quarter of an hour.
The refit takes 4,000 samples at most. Some samples judge, and nothing learns from them. Where finetuning gains nothing
on them, the refitted weights are kept.
"""

LEGAL = """
A mask for TensorRT keeps at most two of each four weights wherever its [sparse kernels](tensorrt.md) can run. The table
says what that costs. Schemes go by measured losses, weights are refitted, and nothing is finetuned.
"""

COST = """
The figures are of search and refit, the median over the budgets. Seconds are also compared with ten forward passes of
ONNX Runtime over the same calibration data, measured right after, with the same thread. Memory is the whole process's
peak.
"""

PEERS = """
onnxsim prunes ONNX files as well, by one scheme everywhere. It has no budgets. NVIDIA's Model Optimizer prunes torch
modules, to 2:4 only. It got ResNet-20 as a torch class with the file's weights, and the weights that it made went back
into the file. All tools have the same calibration data, and nothing is finetuned. "Groups with more than N" are counted
along the input channels of Conv weights, as sparse tensor cores want them. Seconds of onnxsim are those of its call,
with as many threads as it takes. ModelOpt's and our refit had one thread.
"""

GROUPS_SAID = """
onnxsim's groups run over input channels and kernel positions together. So it also prunes first and depthwise
convolutions, which this package leaves dense. The zeros say how much that is. In ModelOpt 0.47 the groups of
`magnitude` run along input channels. Those of `sparsegpt` run as onnxsim's do, so that its zeros don't make a
convolution faster on sparse tensor cores. `magnitude` wants inputs in sixteens and outputs in eights. `sparsegpt` wants
both in fours. So both leave the first convolution (3 inputs) and the classifier (10 outputs) dense. ModelOpt's
`sparsegpt` keeps the mask alone. It drops the weights that SparseGPT refits on the way, and the kept ones are bit for
bit the dense ones.
"""
