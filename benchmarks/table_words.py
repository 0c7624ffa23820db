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
    "NO_DATA",
    "PEERS",
    "PREDICTED",
    "SAMPLES",
    "STRATEGIES_SAID",
    "SUMMARY",
]

INTRODUCTION = """
What `domino-onnx compress` leaves of real networks' scores, without finetuning, on data that neither search nor refit
has seen. All scores are times 100. `benchmarks/README.md` says how to measure again; its `results/`
hold every row, with schemes and seconds. Empty cells weren't measured.
"""

MEASURED = """
Measured on {machine}, one thread, with other work on the machine at the same time. So seconds are rough, ratios less
so. Commits: {commits}; each row names its own. {checked} written files were checked by code that shares nothing with
the package. It counts every group and the zeros, runs `onnx.checker` with full checks, and compares the rest byte for
byte. Since 8bb53ce an eighth of the calibration data is set apart to judge by. Only `sensitivity` with refit on the two
CIFAR networks was measured again since then. All other rows learned from all samples, on a machine with AVX-512.
"""

STRATEGIES_SAID = """
Budgets are zeros over all Conv, Gemm and MatMul weights. `uniform` and `erk` choose by density. `domino` chooses by the
weights alone, and `domino-gradients` by gradients too. `measured-domino` and `sensitivity` choose by [measured
losses](search.md#measured-losses). `uniform` has to make up for weights that can't be pruned. So one may get a sparser
scheme than the others: on ResNet-20 at 50 % the classifier gets 2:16.
"""

SUMMARY = """
The score over the dense score, in percent, with `solver.method = "refit"`. It is the mean over the networks that have
`uniform`, `domino` and `sensitivity` at that budget. Where a network is scored on two sets, the mean of both counts. A
cell is empty if one of these networks lacks the strategy.
"""

BEHIND = """
`domino` without data falls behind `uniform` at 75 % by two networks. Magika has few weights to choose from. It
overshoots to 78.6 % zeros, where `uniform` has 75.2. In the text recogniser magnitudes make the wide layers behind the
middle sparse, and nothing behind them mends that.
"""

FINETUNING = """
On the calibration data alone, unlabelled, at the rate that is chosen on the way. Where there are several seeds, each
has a search and a refit of its own, and the mean is shown. Seconds are of the finetuning without its proof of the
bridge, on one thread, with other work on the machine.
"""

NO_DATA = """
`compress` without `--data` and without other options, with the extra `photographs`. Images are crops of its seven
photographs or lines of text, and their preparation is guessed. Sentences and files are random tokens. Search and refit
use them. Lines that say `finetuned` had finetuning as by default, ten minutes of one thread, with other work on the
machine; others had the steps that they name. Its judges were drawn as well. Scores are of real samples, as above; they
vary with the seed.
"""

FEW_DATA = """
Refitted on so many real samples, alone and together with 512 drawn images, under the plan of a search on the whole
calibration set; nothing finetuned. The real ones are repeated, so that both kinds count alike. MobileNet had 222 drawn
images: no more are kept in memory.
"""

LARGE = """
`compress --no-finetune` on matrices of random normal numbers in an external file, one thread, with `--data none` or a
few samples of 8 positions, which the weights are refitted to. The speed is relative to
`cp` and fsync of the same bytes. Memory is the process's own at its peak, read every 20 ms. Pages of mapped files come
on top, and the system takes them back when it needs them. Random groups of each weight were compared with the source.
"""

PREDICTED = """
What a run predicts of its refitted weights, from samples that nothing learned from, against other data. No prediction
is printed where its standard error is above 1.7 points, or where fewer than 32 samples were set apart. Three standard
errors are 5 points.
"""

SAMPLES = """
ResNet-20 at 87.5 % zeros (dense 86.1), unlabelled samples of cifar10_train10k, default options without a limit of time.
Finetuning takes 2,000 steps of 32 samples at most, the same for both kinds of schemes. Default options take more steps
where samples and time allow: 9,000 images come to 82.4 in a quarter of an hour. The refit takes 4,000 samples at most.
Some samples judge, and teach nothing. Where finetuning wins nothing on them, the refitted weights are kept.
"""

LEGAL = """
What it costs to keep at most two of each four wherever [sparse kernels](tensorrt.md) can run. Measured losses and
refit, no finetuning.
"""

COST = """
Search and refit, the median over the budgets. Seconds are also compared with ten forward passes of ONNX Runtime over
the same calibration data, measured right after, with the same thread. Memory is the whole process's peak.
"""

PEERS = """
onnxsim prunes ONNX files as well, by one scheme everywhere. It has no budgets. NVIDIA's Model Optimizer prunes torch
modules, to 2:4 only. It got ResNet-20 as a torch class with the file's weights, and its weights went back into the
file. All have the same calibration data, and nothing is finetuned. "Groups with more than N" are counted along the
input channels of Conv weights, as sparse tensor cores want them. Seconds are of onnxsim's call, with as many threads as
it takes, and of ModelOpt's and our refit with one.
"""

GROUPS_SAID = """
onnxsim's groups run over input channels and kernel positions together. So it prunes first and depthwise convolutions
too, which this package leaves dense. The zeros say how much that is. In ModelOpt 0.47 the groups of `magnitude` run
along input channels. Those of `sparsegpt` run as onnxsim's do, so that its zeros don't make a convolution faster on
sparse tensor cores. `magnitude` wants inputs in sixteens and outputs in eights, `sparsegpt` both in fours. So both
leave the first convolution (3 inputs) and the classifier (10 outputs) dense. `sparsegpt` keeps the mask alone. The
weights that SparseGPT refits on the way are dropped, and the kept ones are bit for bit the dense ones.
"""
